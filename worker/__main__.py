"""`lead-resolver`, and `python -m worker`: where both begin."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit. Ctrl-C while it is still being loaded is a Ctrl-C, not a traceback."""
    try:
        from worker.cli.app import run

        run()
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()

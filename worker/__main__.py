"""`python -m worker` is `lead-resolver`."""

from worker.cli.app import run

run()

"""How many of LeadByte's replies one CPU-second decodes and classifies, beside bare `json.loads` as the floor.

    .venv/bin/python tests/benchmarks/reading_replies.py [--json]

Three replies: approved with every block, queued, and a big one of a lead with a hundred buyers and deliveries. Each
figure is the median of rounds in which reader and floor take turns, in CPU time of this process.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from worker.domain.classify import Meaning, classify_reply
from worker.leadbyte.wire import decode_body

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
ROUND_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class Pace:
    """One reply's figures: replies a CPU-second, and what is left of the floor's pace."""

    reply: str
    bytes: int
    json_loads: float
    decode: float
    decode_and_classify: float

    @property
    def share_of_floor(self) -> float:
        """1.0 would be as fast as parsing the JSON and doing nothing with it."""
        return self.decode_and_classify / self.json_loads


def make_replies() -> dict[str, bytes]:
    """The replies, by what they are."""
    return {
        "approved, all blocks": _write(_approve(buyers=1, deliveries=2)),
        "queued": _write({"queueId": QUEUE_ID, "status": "Queued", "processed": None, "response": None}),
        "approved, 100 buyers and deliveries": _write(_approve(buyers=100, deliveries=100)),
    }


def _write(record: dict[str, Any]) -> bytes:
    return json.dumps({"status": "Success", "code": 1, "message": "OK", "records": [record]}).encode()


def _approve(buyers: int, deliveries: int) -> dict[str, Any]:
    response = {
        "code": 1, "response": "OK", "info": [], "leadId": 7185867, "rejectionId": None, "processTime": 0.43,
        "timestamp": "2022-11-17T16:03:04Z", "payout": "2.00",
        "buyers": [
            {"id": 12 + n, "bid": f"B{n}", "name": f"Acme {n}", "status": "Sold", "revenue": "12.50", "currency": "GBP"}
            for n in range(buyers)
        ],
        "deliveries": [
            {"id": 40 + n, "name": f"Acme {n} API", "buyerId": 12, "status": "Unsold", "reason": "Rule mismatch"}
            for n in range(deliveries)
        ],
        "campaign": {"id": 565, "name": "Life", "reference": "LIFE"}, "supplier": {"id": 3, "name": "Hill", "sid": 3},
        "lead": {"email": "someone@example.org", "phone1": "07000000000", "postcode": "TN25 6QD", "title": ""},
    }  # fmt: skip
    return {"queueId": QUEUE_ID, "status": "Approved", "processed": "2022-11-17T16:03:04Z", "response": response}


def measure_pace(name: str, body: bytes, rounds: int) -> Pace:
    """Measure one reply, all three ways in turn."""
    ways: tuple[Callable[[bytes], object], ...] = (json.loads, decode_body, _read)
    paces = [[_count_a_second(way, body) for way in ways] for _ in range(rounds)]
    floor, decoded, read = (median(column) for column in zip(*paces, strict=True))
    return Pace(name, len(body), floor, decoded, read)


def _read(body: bytes) -> None:
    decoded = decode_body(body)
    reading = classify_reply(QUEUE_ID, 200, decoded.document, decoded.text)
    assert reading.meaning is Meaning.TOLD


def _count_a_second(way: Callable[[bytes], object], body: bytes) -> float:
    started, count = time.process_time(), 0
    while (spent := time.process_time() - started) < ROUND_SECONDS:
        for _ in range(20):
            way(body)
        count += 20
    return count / spent


def main() -> int:
    """Measure all replies and print them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="figures for machines")
    options = parser.parse_args()
    paces = [measure_pace(name, body, options.rounds) for name, body in make_replies().items()]
    if options.json:
        rows = [asdict(pace) | {"share_of_floor": round(pace.share_of_floor, 3)} for pace in paces]
        sys.stdout.write(json.dumps(rows, indent=2) + "\n")
    else:
        _print_table(paces)
    return 0


def _print_table(paces: list[Pace]) -> None:
    table = Table(title="replies per CPU-second, medians")
    for heading in ("reply", "bytes", "json.loads", "decode", "decode + classify", "share of floor"):
        table.add_column(heading, justify="left" if heading == "reply" else "right")
    for pace in paces:
        figures = (f"{figure:,.0f}" for figure in (pace.bytes, pace.json_loads, pace.decode, pace.decode_and_classify))
        table.add_row(pace.reply, *figures, f"{pace.share_of_floor:.0%}")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())

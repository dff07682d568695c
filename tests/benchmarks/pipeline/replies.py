"""What the benchmark's LeadByte says, and what must be stored of it: one truth for the upstream and all contestants.

The last hex digit of a queue ID decides its story, so upstream, contestants and the final check need not talk.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

PLACE = "QUEUE-ID"  # stands in a body where the queue ID goes
_STAMP = "2022-11-17T16:03:04Z"


@dataclass(frozen=True, slots=True)
class Expected:
    """Rows that a set of leads must have led to."""

    approved: int = 0
    rejected: int = 0
    buyers: int = 0
    deliveries: int = 0


def name_leads(run: int, count: int) -> list[str]:
    """Queue IDs in LeadByte's form, of a run of its own."""
    return [f"ac1e0206-{run:08x}-63765b37-{n >> 16:04x}-{n & 0xFFFF:04x}{n * 40503 & 0xFFFF:04x}" for n in range(count)]


def list_stories() -> list[dict[str, Any]]:
    """The record of each last hex digit: eleven approved, three accepted and unsold, two refused by the campaign."""
    return [_approved(n) if n < 11 else _unsold(n) if n < 14 else _refused(n) for n in range(16)]


def write_body(record: dict[str, Any]) -> str:
    """The whole answer to a poll, with PLACE for the queue ID."""
    envelope = {"status": "Success", "code": 1, "message": "OK", "records": [{"queueId": PLACE, **record}]}
    return json.dumps(envelope, separators=(",", ":"))


def write_queued_body() -> str:
    """The answer while there is no verdict."""
    return write_body({"status": "Queued", "processed": None, "response": None})


def count_expected(queue_ids: Sequence[str]) -> Expected:
    """What must be in the database when all these leads are final."""
    records = list_stories()
    told = [records[int(queue_id[-1], 16)] for queue_id in queue_ids]
    approved = sum(record["status"] == "Approved" for record in told)
    return Expected(
        approved=approved,
        rejected=len(told) - approved,
        buyers=sum(len(record["response"].get("buyers", ())) for record in told),
        deliveries=sum(len(record["response"].get("deliveries", ())) for record in told),
    )


def _approved(n: int) -> dict[str, Any]:
    buyers = [_buyer(n, "Sold", "12.50"), *([_buyer(n + 1, "Unsold", "0.00")] if n % 2 else [])]
    deliveries = [_delivery(n, "Sold", ""), _delivery(n + 1, "Unsold", "Rule mismatch")]
    return _record("Approved", n, "2.00", {**_blocks(n), "buyers": buyers, "deliveries": deliveries})


def _unsold(n: int) -> dict[str, Any]:
    deliveries = [_delivery(n + i, "Unsold", "Delivery not in adv distro") for i in range(2)]
    return _record("Rejected", n, "0.00", {**_blocks(n), "buyers": [], "deliveries": deliveries})


def _refused(n: int) -> dict[str, Any]:
    info = {"status": "UNDELIV", "code": "EC_UNKNOWN_SUBSCRIBER"}
    words = {"code": -8, "response": "HLR rejection", "info": info, "leadId": None, "rejectionId": 918_200 + n}
    timing = {"processTime": 0.77, "timestamp": _STAMP}
    return {"status": "Rejected", "processed": _STAMP, "response": {**words, **timing, **_blocks(n)}}


def _record(status: str, n: int, payout: str, blocks: dict[str, Any]) -> dict[str, Any]:
    words = {"code": 1, "response": "OK", "info": [], "leadId": 7_185_867 + n, "rejectionId": None}
    timing = {"processTime": 0.43, "timestamp": _STAMP, "payout": payout}
    return {"status": status, "processed": _STAMP, "response": {**words, **timing, **blocks}}


def _blocks(n: int) -> dict[str, Any]:
    return {
        "campaign": {"id": 560 + n % 5, "name": f"Solar panels {n % 5}", "reference": f"SOLAR-{n % 5}"},
        "supplier": {"id": 40 + n % 3, "name": "Northern Leads Ltd", "sid": f"NL{n % 3}"},
    }


def _buyer(n: int, status: str, revenue: str) -> dict[str, Any]:
    names = {"id": 300 + n, "bid": f"BUYER{n}", "name": f"Bright Homes {n} Ltd"}
    return {**names, "status": status, "revenue": revenue, "currency": "GBP"}


def _delivery(n: int, status: str, reason: str) -> dict[str, Any]:
    names = {"id": 8800 + n, "name": f"Direct post {n}"}
    return {**names, "status": status, "reason": reason, "buyerId": 300 + n, "bid": f"BUYER{n}"}

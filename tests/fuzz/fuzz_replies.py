"""Feeds a million damaged replies to the reader of LeadByte's answers, and checks what must hold for every one.

    .venv/bin/python tests/fuzz/fuzz_replies.py --bodies 1000000 --seed 1

Each body is a published or plausible reply, damaged as JSON (a node replaced, moved, doubled, nested) or as bytes (cut,
flipped, spliced). A body that breaks a law is printed with the seed that makes it again. Exit code 1 if there was one.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from copy import deepcopy
from datetime import datetime
from decimal import Decimal
from multiprocessing import get_context
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.facts import Buyer, Delivery
from worker.leadbyte.wire import decode_body, decode_text, prepare_for_journal

QUEUE_ID = "ac1e0206-12eaee18-63765b37-471b-f60cd31d"
OTHER_ID = "ac1e0206-6d6fd2fa-62ce91e7-ba33-5cc458e6"
SLOWEST_SECONDS = 2.0  # of CPU for one body, whatever is in it
CHUNK = 5_000

_RESPONSE = {
    "code": 1, "response": "OK", "info": [], "leadId": 7185867, "rejectionId": None, "processTime": 0.43,
    "timestamp": "2022-11-17T16:03:04Z", "payout": "2.00",
    "buyers": [{"id": 12, "bid": "B1", "name": "Acme", "status": "Sold", "revenue": "12.50", "currency": "GBP"}],
    "deliveries": [{"id": 40, "name": "Acme (UK)", "buyerId": 12, "status": "Sold", "reason": None}],
    "campaign": {"id": 565, "name": "Life", "reference": "LIFE"}, "supplier": {"id": 3, "name": "Hill", "sid": 3},
    "lead": {"email": "someone@example.org", "phone1": "07000000000"},
}  # fmt: skip


def _envelope(status: str, **response: Any) -> dict[str, Any]:
    record = {"queueId": QUEUE_ID, "status": status, "processed": "2022-11-17T16:03:04Z"}
    return {"status": "Success", "code": 1, "message": "OK", "records": [{**record, "response": _RESPONSE | response}]}


CORPUS: list[Any] = [
    _envelope("Approved"),
    _envelope("Rejected", code=-8, response="HLR rejection", leadId=None, rejectionId=5, payout=None),
    _envelope("Pending", payout="Pending"),
    _envelope("Quarantined", quarantineId="2932682"),
    _envelope("Returned"),
    {"status": "Success", "code": 1, "message": "", "results": [{"queueId": QUEUE_ID, "status": "Queued", "code": 1}]},
    {"status": "Success", "records": [{"queueRef": QUEUE_ID, "status": "Not Found"}]},
    {"status": "Error", "message": "Invalid API key", "errors": [{"message": "key"}]},
    {"records": [{"queueId": OTHER_ID, "status": "Approved"}, {"queueId": QUEUE_ID, "status": "Queued"}]},
    {"records": [], "results": [{"queueId": QUEUE_ID.upper(), "status": "Approved", "response": _RESPONSE}]},
    [{"queueId": QUEUE_ID, "status": ["Processed"], "response": [_RESPONSE]}],
    {"data": {"records": [{"queueId": QUEUE_ID, "status": "Approved", "data": {"email": "someone@example.org"}}]}},
    {"records": {QUEUE_ID: {"status": "Approved", "response": _RESPONSE}, OTHER_ID: "Rejected"}},
    {
        "record": {
            "queueId": QUEUE_ID,
            "status": {"name": "Approved"},
            "buyers": {
                "items": [
                    {
                        "id": 9,
                        "buyer": {"id": 12, "name": "Acme"},
                        "sold": "Yes",
                        "revenue": {"amount": "12.50", "currency": "GBP"},
                    }
                ]
            },
            "deliveries": {"40": {"name": "Acme (UK)", "buyer": {"id": 12}, "status": "Sold"}},
        }
    },
    {"error": {"code": 401, "message": "Unauthorized"}},
    {"success": False, "message": "Too many requests"},
]
NASTY: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, -0.0, 1e308, 0.1, "", "-", "null", "N/A", "{payout}", "Pending",
    "Sold", "Approved", "0", "12.50", "1,234.56", "£9.99", "\u0000", "\ud800", "\ufeff", "\u202e", "x" * 5_000,
    "9" * 5_000, "0000-00-00 00:00:00", "99999-01-01", "2022-02-30T25:61:61Z", "1668700984", QUEUE_ID, OTHER_ID,
    QUEUE_ID.upper(), [], {}, [[]], [{}], {"id": {}}, {"": ""}, [None], {"7": {"status": "Sold", "revenue": "1"}},
]  # fmt: skip
SPLICES = [
    b"\x00", b"\xff\xfe", b"\xed\xa0\x80", b"\\u0000", b"\\ud800", b"NaN", b"-Infinity", b"1" * 400, b"[" * 200_000,
    b'{"a":' * 5_000, b"<html>", b'"', b"}", b"]", b",", b"\xef\xbb\xbf", b'"queueId":"' + OTHER_ID.encode() + b'",',
    b"<br /><b>Warning</b>: login.php on line <b>3</b><br />\n",
]  # fmt: skip


def make_body(chance: random.Random) -> bytes:
    """One damaged reply."""
    document = deepcopy(chance.choice(CORPUS))
    for _ in range(chance.choice((0, 1, 1, 2, 3, 6))):
        document = _damage_document(document, chance)
    body = json.dumps(document, ensure_ascii=chance.random() < 0.5).encode("utf-8", "surrogatepass")
    for _ in range(chance.choice((0, 0, 0, 1, 2))):
        body = _damage_bytes(body, chance)
    return body


def _damage_document(document: Any, chance: random.Random) -> Any:
    places = list(_walk(document))
    if not places:
        return deepcopy(chance.choice(NASTY))
    holder, key = chance.choice(places)
    kind = chance.randrange(6)
    if kind == 0:
        del holder[key]
    elif kind == 1:
        holder[key] = [holder[key]]
    elif kind == 2:
        holder[key] = {str(chance.randrange(9)): holder[key]}
    elif kind == 3:
        other, name = chance.choice(places)
        _put(other, name, deepcopy(holder[key]))
    elif kind == 4 and isinstance(holder, dict):
        holder[chance.choice((key.upper(), key + "s", key.rstrip("s"), f"{key}_", "QueueID"))] = holder.pop(key)
    else:
        holder[key] = deepcopy(chance.choice(NASTY))
    return document


def _walk(value: Any) -> list[tuple[Any, Any]]:
    found, stack = [], [value]
    while stack:
        holder = stack.pop()
        keys = list(holder) if isinstance(holder, dict) else range(len(holder)) if isinstance(holder, list) else ()
        for key in keys:
            found.append((holder, key))
            stack.append(holder[key])
    return found


def _put(holder: Any, key: Any, value: Any) -> None:
    if isinstance(holder, dict) or (isinstance(key, int) and key < len(holder)):
        holder[key] = value


def _damage_bytes(body: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(body) + 1)
    kind = chance.randrange(4)
    if kind == 0:
        return body[:at]
    if kind == 1:
        return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]
    if kind == 2:
        return body[:at] + chance.choice(SPLICES) + body[at:]
    return body[at:] + body[:at]


def check_body(body: bytes, http_status: int) -> str:
    """Which meaning the body has; AssertionError names the law it breaks."""
    decoded = decode_body(body)
    reading = classify_reply(QUEUE_ID, http_status, decoded.document, decoded.text)
    journalled, _ = prepare_for_journal(decoded, keep_lead_data=False)
    journalled.encode("utf-8")
    assert "\x00" not in journalled, "the journal holds what Postgres cannot"
    assert "someone@example.org" not in journalled or not decoded.is_json or _is_elsewhere(decoded.document), "leak"
    if reading.meaning in {Meaning.TOLD, Meaning.UNKNOWN_STATUS}:
        assert _carries_our_id(decoded.document), "facts of a lead that the reply does not name"
        _check_storable(reading)
        again = decode_text(journalled)
        replayed = classify_reply(QUEUE_ID, http_status, again.document, again.text)
        assert replayed == reading, "the journal tells something else than the reply did"
    return reading.meaning


def _is_elsewhere(document: Any) -> bool:
    """Whether the planted address stands where no lead data does (a fault moved it, or cut away all around it)."""
    return isinstance(document, str) or any(
        key not in {"lead", "data", "email"} and "someone@" in str(holder[key]) for holder, key in _walk(document)
    )


def _carries_our_id(document: Any) -> bool:
    """As a value or, in a map by queue ID, as a key; in any case, since queue IDs are hex."""
    return any(
        QUEUE_ID in {str(key).casefold(), str(holder[key]).strip().casefold()} for holder, key in _walk(document)
    )


def _check_storable(reading: Reading) -> None:
    facts = reading.facts
    code = facts.result_code
    assert code is None or abs(code) < 2**31, "a result code that Postgres cannot hold"
    rows: list[Buyer | Delivery] = [*(facts.buyers or ()), *(facts.deliveries or ())]
    amounts = [facts.revenue, facts.payout, *(row.revenue for row in rows)]
    assert all(amount is None or abs(amount) < Decimal(10) ** 12 for amount in amounts), "a sum that is none"
    assert all(amount is None or amount.is_finite() for amount in amounts), "a sum without an end"
    assert facts.processed_at is None or isinstance(facts.processed_at, datetime)
    keys = [row.key for row in facts.buyers or ()]
    assert len(keys) == len(set(keys)), "two buyers under one key"
    keys = [row.key for row in facts.deliveries or ()]
    assert len(keys) == len(set(keys)), "two deliveries under one key"
    repr(facts).encode("utf-8")


def run_chunk(seed: int, first: int, count: int) -> tuple[Counter[str], list[str], float]:
    """Check `count` bodies; returns meanings, broken laws, and the slowest body in seconds."""
    meanings: Counter[str] = Counter()
    broken: list[str] = []
    slowest = 0.0
    for number in range(first, first + count):
        chance = random.Random(f"{seed}:{number}")
        body, status = make_body(chance), chance.choice((200, 200, 200, 200, 404, 500, 401))
        started = time.process_time()
        try:
            meanings[check_body(body, status)] += 1
        except Exception as error:  # noqa: BLE001 - any exception at all is a finding
            broken.append(f"body {number} (HTTP {status}): {type(error).__name__}: {error}: {body[:300]!r}")
        slowest = max(slowest, time.process_time() - started)
    return meanings, broken, slowest


def main() -> int:
    """Run all bodies over all cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--bodies", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    meanings: Counter[str] = Counter()
    broken: list[str] = []
    slowest = 0.0
    chunks = [(first, min(CHUNK, options.bodies - first)) for first in range(0, options.bodies, CHUNK)]
    columns = (TextColumn("reading"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Spawned, not forked: the progress bar has a thread.
    processes = ProcessPoolExecutor(os.cpu_count(), mp_context=get_context("spawn"))
    with Progress(*columns, console=Console(stderr=True)) as progress, processes as pool:
        task = progress.add_task("", total=options.bodies)
        seeds, firsts, counts = [options.seed] * len(chunks), [c[0] for c in chunks], [c[1] for c in chunks]
        for (found, bad, slow), size in zip(pool.map(run_chunk, seeds, firsts, counts), counts, strict=True):
            meanings += found
            broken += bad
            slowest = max(slowest, slow)
            progress.advance(task, size)
    for line in broken[:20]:
        sys.stdout.write(f"{line}\n")
    counts_text = ", ".join(f"{count:,} {meaning}" for meaning, count in meanings.most_common())
    sys.stdout.write(
        f"{options.bodies:,} bodies: {counts_text}\n{len(broken):,} broke a law; slowest {slowest:.3f} s\n"
    )
    return 1 if broken or slowest > SLOWEST_SECONDS else 0


if __name__ == "__main__":
    sys.exit(main())

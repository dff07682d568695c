"""Recording queue IDs: checked one by one, written in batches, idempotent on (account, queue ID).

Never touches Redis: polling finds the leads in Postgres. Neighbour: `worker.submissions` reads them out of files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Any

from sqlalchemy import Engine

from worker.accounts import check_account_name
from worker.domain.classify import Meaning, classify_reply
from worker.domain.lifecycle import State
from worker.domain.queue_id import parse_queue_id
from worker.errors import InvalidQueueId, UsageError
from worker.leadbyte.wire import decode_text, prepare_for_journal
from worker.store.db import transaction
from worker.store.journal import SubmissionAnswer, journal_submission_answers
from worker.store.leads import track_leads

BATCH = 5_000
FIRST_POLL_AFTER = timedelta(seconds=2)  # LeadByte's own verdict takes about a second
LONGEST_REFERENCE = 200


@dataclass(frozen=True, slots=True)
class Submission:
    """A queue ID as somebody handed it over; `line` is where it stood, for messages.

    `answer` is what LeadByte said of it at the submission, if that was handed over too: with Live Buyer Responses on,
    it can be the verdict already.
    """

    queue_id: str
    reference: str | None = None
    line: int | None = None
    answer: Mapping[str, Any] | None = field(default=None, repr=False, compare=False)  # it may hold lead data


@dataclass(frozen=True, slots=True)
class Refusal:
    """What was not recorded, and why."""

    line: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Tracked:
    """What one batch did: queue IDs that were new, that were known already, and those refused."""

    new: int = 0
    known: int = 0
    refused: tuple[Refusal, ...] = ()


def track(
    engine: Engine, account: str, submissions: Iterable[Submission | Refusal], *, requests_per_second: float = 0.0
) -> Iterator[Tracked]:
    """Record submissions, batch by batch; each yielded batch is committed.

    Args:
        engine: Postgres.
        account: LeadByte account that the queue IDs belong to.
        submissions: any number, consumed lazily; refusals found while reading are passed through.
        requests_per_second: spreads first polls at this rate, so that a large file does not stand in the way of leads
            submitted meanwhile. 0: all at once.

    Raises:
        UsageError: the account's name is none.
        DatabaseUnavailable: the current batch was not recorded (or its confirmation was lost: trying again is safe).
    """
    check_account_name(account, "the account")
    gap = timedelta(seconds=1 / requests_per_second) if requests_per_second else timedelta(0)
    remaining = iter(submissions)
    position = 0
    while batch := list(islice(remaining, BATCH)):
        accepted, refused = _sort_out(batch)
        yield _record(engine, account, accepted, refused, FIRST_POLL_AFTER + position * gap, gap)
        position += len(accepted)


def _record(
    engine: Engine, account: str, accepted: list[Submission], refused: list[Refusal], after: timedelta, gap: timedelta
) -> Tracked:
    if not accepted:
        return Tracked(refused=tuple(refused))
    verdicts = [verdict for submission in accepted if (verdict := _read_verdict(submission)) is not None]
    with transaction(engine) as connection:
        new = track_leads(
            connection,
            account,
            [submission.queue_id for submission in accepted],
            [submission.reference for submission in accepted],
            first_poll_after=after,
            gap=gap,
        )
        journal_submission_answers(connection, account, verdicts)
    return Tracked(len(new), len(accepted) - len(new), tuple(refused))


def _read_verdict(submission: Submission) -> SubmissionAnswer | None:
    """The answer as the journal keeps it, if it tells more than "queued"."""
    if submission.answer is None:
        return None
    decoded = decode_text(json.dumps({"status": "Success", **submission.answer}))
    reading = classify_reply(submission.queue_id, 200, decoded.document, decoded.text)
    if reading.meaning is not Meaning.TOLD or reading.state in {None, State.QUEUED}:
        return None
    return SubmissionAnswer(submission.queue_id, *prepare_for_journal(decoded, keep_lead_data=False))


def _sort_out(batch: Iterable[Submission | Refusal]) -> tuple[list[Submission], list[Refusal]]:
    accepted: list[Submission] = []
    refused: list[Refusal] = []
    for item in batch:
        if isinstance(item, Refusal):
            refused.append(item)
            continue
        try:
            accepted.append(check_submission(item))
        except UsageError as error:
            refused.append(Refusal(item.line, str(error)))
    return accepted, refused


def check_submission(submission: Submission) -> Submission:
    """The submission unchanged; UsageError says what is wrong with it."""
    parse_queue_id(submission.queue_id)
    reference = submission.reference
    if reference is not None and (len(reference) > LONGEST_REFERENCE or not reference.isprintable()):
        raise InvalidQueueId(f"the reference of {submission.queue_id} is not plain text of at most 200 characters")
    return submission

"""What the answers to the questions of one claim mean. No transaction is open meanwhile.

Neighbours: `worker.polling` claims and asks, `worker.settlement` writes down; `worker.leadbyte.client` sends.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus

from msgspec import Struct
from msgspec.structs import replace

from worker.accounts import Account
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.domain.classify import Meaning, Reading, classify_reply
from worker.domain.lifecycle import FINAL
from worker.domain.manners import BREAKS_AFTER
from worker.domain.ordinary import glance_at_reply, read_ordinary
from worker.leadbyte.client import Question
from worker.leadbyte.wire import Decoded, decode_body, keep_ordinary
from worker.store.budget import PACE_HORIZON
from worker.store.claims import Claim, ClaimedLead

ACCOUNT_TROUBLE = frozenset({Meaning.THROTTLED, Meaning.REFUSED})
# Looked up once: a member of HTTPStatus costs as much as reading half an answer.
_OK, _TOO_MANY = int(HTTPStatus.OK), int(HTTPStatus.TOO_MANY_REQUESTS)
_SERVER_ERROR, _UNAVAILABLE = int(HTTPStatus.INTERNAL_SERVER_ERROR), int(HTTPStatus.SERVICE_UNAVAILABLE)
ANSWERS = frozenset({Meaning.TOLD, Meaning.UNKNOWN_STATUS, Meaning.NOT_FOUND})  # LeadByte let us in, and spoke

# A LeadByte that is well can't be known from these; the others are of one answer alone (too large, odd encoding).
_STRAINED_SILENCES = frozenset({Silence.TIMEOUT, Silence.CONNECTION, Silence.TLS, Silence.BROKEN})

# Answers wait at most this long for others to be settled with: a statement costs the same for one as for hundreds.
SETTLE_WITHIN_SECONDS = 0.25
SETTLE_SOON_SECONDS = 0.05
# Of answers settled at once: a transaction has a bound in time, and a worker one in memory.
SETTLE_BYTES = 16 * 1024 * 1024
# A lead that could not be sent for so long is handed back: its lease must outlast the request.
LONGEST_WAIT_SECONDS = PACE_HORIZON.total_seconds() + 10


class Reply(Struct, frozen=True, gc=False):
    """An answer's content, and when it came by the database's clock."""

    received_at: datetime
    http_status: int
    decoded: Decoded


class Told(Struct, frozen=True, gc=False):
    """One lead's answer and what it means; no reply: there was none, or none was asked for.

    `is_strained`: a sign that LeadByte is down or asked too much, whatever it means for the lead.
    """

    lead: ClaimedLead
    reading: Reading
    reply: Reply | None = None
    retry_after: str | None = None
    is_strained: bool = False


@dataclass(slots=True)
class Batch:
    """A claim under way: leads that wait for a moment, leads that are not answered yet, answers not settled yet.

    `claimed_at` is the database's clock, read at the monotonic moment `read_at`.
    """

    account: Account
    claim: Claim
    claimed_at: datetime
    read_at: float
    reads_facts: bool = True  # False: of an ordinary verdict only that it is one
    unanswered: dict[int, ClaimedLead] = field(init=False)
    waiting: deque[ClaimedLead] = field(init=False)
    permits: int = field(init=False)  # of the account's concurrency, as Postgres has them, see `worker.lane`
    told: list[Told] = field(init=False, default_factory=list)
    told_bytes: int = field(init=False, default=0)
    first_told_at: float = field(init=False, default=0.0)
    was_let_in: bool = field(init=False, default=False)  # LeadByte spoke of one of these leads
    troubles: set[Meaning] = field(init=False, default_factory=set)  # of the account, in answers not settled yet
    strained: int = field(init=False, default=0)  # of those answers
    _last_date: tuple[float, datetime] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """All leads of the claim are still to be answered."""
        self.permits = self.claim.permits
        self.unanswered = {lead.lead_id: lead for lead in self.claim.leads}
        self.waiting = deque(lead for lead in self.claim.leads if lead.send_after is None)

    def list_questions(self) -> list[Question]:
        """One a lead that has its moment by the claim, which counts from when the database's clock was read."""
        return [
            self._make_question(lead, self.read_at + lead.send_after.total_seconds())
            for lead in self.claim.leads
            if lead.send_after is not None
        ]

    def take_waiting(self, moments: Sequence[float]) -> list[Question]:
        """One question for each of these moments of `time.monotonic()`, as far as leads wait."""
        leads = [self.waiting.popleft() for _ in moments[: len(self.waiting)]]
        return [self._make_question(lead, at) for lead, at in zip(leads, moments, strict=False)]

    def _make_question(self, lead: ClaimedLead, send_at: float) -> Question:
        return Question(lead.lead_id, lead.queue_id, send_at, self.claim.id)

    def put_back(self, question: Question) -> None:
        """It could not be sent: the lead waits again."""
        self.waiting.append(self.unanswered[question.tag])

    def is_overdue(self) -> bool:
        """Whether leads that still wait have waited too long to be asked about this time."""
        return time.monotonic() - self.read_at > LONGEST_WAIT_SECONDS

    def give_up_waiting(self) -> None:
        """Those that wait are not asked about this time."""
        now = time.monotonic()
        while self.waiting:
            self.take_answer(self.waiting.popleft().lead_id, NoAnswer(Silence.UNSENT), now)

    def take_answer(self, lead_id: int, asked: Asked, now: float) -> Told:
        """Read one answer, which came at `now` (`time.monotonic()`), and keep it until it is settled."""
        told = _read_answer(self.unanswered.pop(lead_id), asked, self._date(now), reads_facts=self.reads_facts)
        if not self.told:
            self.first_told_at = now
        self.told.append(told)
        self.told_bytes += len(asked.body) if isinstance(asked, Answer) else 0
        self.strained += told.is_strained
        if told.reading.meaning in ANSWERS:
            self.was_let_in = True
        elif told.reading.meaning in ACCOUNT_TROUBLE:
            self.troubles.add(told.reading.meaning)
            if told.reading.meaning is Meaning.REFUSED:
                self.give_up_waiting()
        return told

    def _date(self, now: float) -> datetime:
        """A moment of `time.monotonic()` by the database's clock; many answers have the same."""
        if self._last_date is None or self._last_date[0] != now:
            self._last_date = now, self.claimed_at + timedelta(seconds=now - self.read_at)
        return self._last_date[1]

    def hand_over(self) -> list[Told]:
        """The answers to settle now.

        Where the key opened the door for one lead of the batch, a refusal of another is that lead's own trouble.
        """
        told, self.told, self.told_bytes, self.strained = self.told, [], 0, 0
        troubles, self.troubles = self.troubles, set()
        if not self.was_let_in or Meaning.REFUSED not in troubles:
            return told
        return [
            replace(t, reading=Reading(Meaning.FAILED, t.reading.reason)) if t.reading.meaning is Meaning.REFUSED else t
            for t in told
        ]

    def is_ripe(self, *, is_awaited: bool = False) -> bool:
        """Whether its answers are settled now: all are there, or one has waited, or they are large or bring trouble.

        `is_awaited`: somebody waits for what they free.
        """
        if not self.unanswered:
            return True
        # A refusal may still turn out to be of one lead alone, while requests are under way.
        if not self.told or Meaning.REFUSED in self.troubles:
            return False
        return (
            self.told_bytes >= SETTLE_BYTES
            or self.strained >= BREAKS_AFTER  # it may be down: that is not to be found out by a thousand requests
            or Meaning.THROTTLED in self.troubles
            or time.monotonic() - self.first_told_at >= (SETTLE_SOON_SECONDS if is_awaited else SETTLE_WITHIN_SECONDS)
        )


def tell_of_account(told: Sequence[Told]) -> bool:
    """Whether any of these says something of the account rather than of its lead."""
    return any(t.is_strained or t.reading.meaning in ACCOUNT_TROUBLE for t in told)


def ends_the_lane(asked: Asked) -> bool:
    """Whether the account is asked to wait, or refused: every further request would be one too many."""
    if not isinstance(asked, Answer):
        return False
    if asked.http_status == _OK and b'"records"' in asked.body:
        return False  # the ordinary answer need not be read twice
    if _asks_to_wait(asked):
        return True
    decoded = decode_body(asked.body)
    return classify_reply("", asked.http_status, decoded.document, decoded.text).meaning in ACCOUNT_TROUBLE


def _asks_to_wait(answer: Answer) -> bool:
    return answer.http_status == _TOO_MANY or (answer.http_status == _UNAVAILABLE and answer.retry_after is not None)


def _read_answer(lead: ClaimedLead, asked: Asked, received_at: datetime, *, reads_facts: bool) -> Told:
    if not isinstance(asked, Answer):
        meaning = Meaning.UNASKED if asked.why is Silence.UNSENT else Meaning.FAILED
        return Told(lead, Reading(meaning, asked.why), is_strained=asked.why in _STRAINED_SILENCES)
    reading = glance_at_reply(lead.queue_id, asked.http_status, asked.body)
    if reading is not None and reads_facts and reading.state in FINAL:  # "Queued" has no facts
        reading = read_ordinary(lead.queue_id, asked.http_status, asked.body.decode("ascii"))
    if reading is not None:
        return Told(lead, reading, Reply(received_at, asked.http_status, keep_ordinary(asked.body)))
    decoded = decode_body(asked.body)
    reading = classify_reply(lead.queue_id, asked.http_status, decoded.document, decoded.text)
    return Told(
        lead,
        reading,
        Reply(received_at, asked.http_status, decoded),
        asked.retry_after if _asks_to_wait(asked) else None,
        # Silently empty answers are how LeadByte was seen to meet too many calls at once.
        is_strained=asked.http_status >= _SERVER_ERROR or not asked.body.strip(),
    )

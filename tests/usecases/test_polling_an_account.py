"""Polling end to end: Postgres, HTTP, and what each kind of answer does to a lead and its account."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from worker import operations, settlement
from worker.accounts import Account
from worker.asking import Batch, Told
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import Policy
from worker.errors import DatabaseUnavailable
from worker.leadbyte.client import LeadByteClient
from worker.leadbyte.requests_transport import RequestsTransport
from worker.poller import Poller
from worker.polling import poll_account
from worker.results import persist_replies
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled
from worker.store.accounts import PauseKind, pause_account
from worker.store.db import read_clock, transaction
from worker.store.leads import watch_leads
from worker.store.settling import settle_polls

Sql = Callable[..., list[tuple[Any, ...]]]
Poll = Callable[..., Polled | None]

COUNTERS = "polls, failures, failure_streak"
UNTOUCHED = (0, 0, 0)


@pytest.fixture(scope="module")
def box() -> Iterator[SandboxClient]:
    with running_sandbox(SandboxSettings(median_seconds=0.01, sigma=0.1)) as client:
        yield client


@pytest.fixture
def account(box: SandboxClient) -> Account:
    return Account("sandbox", box.base_url, "query", 1000.0, 8, SecretStr("sandbox-key"))


@pytest.fixture
def poller(engine: Engine, account: Account) -> Iterator[Poller]:
    client = LeadByteClient(RequestsTransport(), timeout_seconds=30.0)
    policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
    yield Poller(engine, client, {"sandbox": account}, policy, batch_size=50)
    client.close()


@pytest.fixture
def poll(poller: Poller, account: Account, sql: Sql) -> Poll:
    """Track these leads, or take up those there are, and poll them now."""

    def step(*queue_ids: str, key: str | None = None, timeout: float | None = None) -> Polled | None:
        for queue_id in queue_ids:
            sql("select track_lead('sandbox', %s)", queue_id)
        sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s'")
        asking = account if key is None else replace(account, api_key=SecretStr(key))
        if timeout is None:
            return poll_account(poller, asking)
        hasty = LeadByteClient(RequestsTransport(), timeout_seconds=timeout)
        try:
            return poll_account(replace(poller, client=hasty), asking)
        finally:
            hasty.close()

    return step


def seconds_until_next(sql: Sql) -> float:
    ((seconds,),) = sql("select extract(epoch from next_poll_at - clock_timestamp()) from resolver.watches")
    return float(seconds)


def pause_of(sql: Sql) -> tuple[str | None, float | None, str | None]:
    ((kind, seconds, reason),) = sql(
        "select pause_kind, extract(epoch from paused_until - clock_timestamp())::float, pause_reason"
        " from resolver.accounts"
    )
    return kind, seconds, reason


def end_pause(sql: Sql) -> None:
    """As if its time had passed."""
    sql("update resolver.accounts set paused_until = clock_timestamp() - interval '1 s'")


@pytest.mark.parametrize(
    ("queue_id", "state", "accepted"),
    [
        ("sandbox-approved-1", "approved", True),
        ("sandbox-rejected-8-1", "rejected", False),
        ("sandbox-unsold-1", "rejected", True),
        ("sandbox-returned-1", "returned", True),
    ],
)
def test_a_lead_with_a_verdict_is_resolved(
    engine: Engine, poll: Poll, sql: Sql, queue_id: str, state: str, accepted: bool
) -> None:
    for _ in range(20):  # a hundredth of a second is what a step of its story takes
        poll(queue_id)
        persist_replies(engine)
        if sql("select state from reporting.leads") == [(state,)]:
            break
        # A return comes after the verdict that ends the watch: somebody looks once more.
        with transaction(engine) as connection:
            lead_ids = [lead_id for (lead_id,) in sql("select id from resolver.leads")]
            watch_leads(connection, lead_ids, read_clock(connection))
    assert sql("select state, campaign_accepted from reporting.leads") == [(state, accepted)]
    assert sql("select count(*) from resolver.watches") == [(0,)]


def test_until_it_is_persisted_a_verdict_is_asked_about_again_later(poll: Poll, sql: Sql) -> None:
    assert poll("sandbox-approved-1") == Polled(polled=1, final=1, journalled=1)
    assert sql(f"select {COUNTERS} from resolver.watches") == [(1, 0, 0)]
    assert 200 < seconds_until_next(sql) < 310


@pytest.mark.parametrize(
    ("queue_id", "state", "soonest", "latest"),
    [
        ("sandbox-queued-1", "queued", 1, 30),
        ("sandbox-pending-after600-1", "queued", 1, 30),
        ("sandbox-quarantined-1", "quarantined", 200, 400),
        ("sandbox-unknownstatus-1", "queued", 700, 1100),
    ],
)
def test_not_yet_is_snoozed_and_no_failure(
    engine: Engine, poll: Poll, sql: Sql, queue_id: str, state: str, soonest: float, latest: float
) -> None:
    poll(queue_id)
    assert sql(f"select {COUNTERS} from resolver.watches") == [(1, 0, 0)]
    assert soonest < seconds_until_next(sql) < latest
    persist_replies(engine)
    assert sql("select state from reporting.leads") == [(state,)]
    assert pause_of(sql)[0] is None


def test_news_is_journalled_once_however_often_it_is_told(poll: Poll, sql: Sql) -> None:
    assert poll("sandbox-quarantined-1") == Polled(polled=1, waiting=1, journalled=1)
    assert poll() == Polled(polled=1, waiting=1)
    assert sql("select count(*) from resolver.replies") == [(1,)]


FAILING = (
    "empty null list truncated other none contradiction error200 redirect cut reset lostreply 500 502 503 504 endless"
)


UNREADABLE = 4  # truncated, other, none, contradiction


def test_an_unusable_answer_is_a_failure_of_its_lead_and_nothing_else(engine: Engine, poll: Poll, sql: Sql) -> None:
    faults = FAILING.split()
    done = poll(*(f"sandbox-{fault}-1" for fault in faults))
    assert done == Polled(polled=len(faults), failed=len(faults), journalled=UNREADABLE)
    assert pause_of(sql) == (None, None, None)
    assert sql(f"select distinct {COUNTERS} from resolver.watches") == [(1, 1, 1)]
    assert sql("select distinct state from reporting.leads") == [("queued",)]
    ((in_range,),) = sql(
        "select bool_and(next_poll_at - last_poll_at between interval '2 s' and interval '5.1 s') from resolver.watches"
    )
    assert in_range
    # What came with success and can't be read is kept for a better reader, and changes nothing.
    assert sql("select count(*) from resolver.replies") == [(UNREADABLE,)]
    persist_replies(engine)
    assert sql("select distinct state from reporting.leads") == [("queued",)]
    assert sql("select count(*) from resolver.unpersisted") == [(0,)]


def test_failures_in_a_row_wait_longer_each_time(poll: Poll, sql: Sql) -> None:
    waits = []
    for _ in range(5):
        poll("sandbox-empty-1")
        waits.append(seconds_until_next(sql))
    assert sql(f"select {COUNTERS} from resolver.watches") == [(5, 5, 5)]
    assert waits[-1] > 35


def test_a_hanging_request_ends_at_its_deadline_as_a_failure(poll: Poll, sql: Sql) -> None:
    done = poll("sandbox-hang-1", "sandbox-approved-1", timeout=3.0)
    assert done == Polled(polled=2, final=1, journalled=1, failed=1)
    assert sql("select last_note from resolver.watches where queue_id like %s", "sandbox-hang%") == [
        ("no complete answer within the deadline",)
    ]


def test_throttling_pauses_the_account_and_costs_no_lead_anything(poll: Poll, sql: Sql) -> None:
    poll("sandbox-429-wait30-1")
    kind, seconds, reason = pause_of(sql)
    assert kind == "throttled"
    assert seconds is not None
    assert 25 < seconds <= 30
    assert reason == "LeadByte asked us to wait 30 s"
    assert sql(f"select {COUNTERS}, last_poll_at from resolver.watches") == [(*UNTOUCHED, None)]
    assert poll() is None  # nothing before Retry-After


class Unavailable(BaseHTTPRequestHandler):
    """A server that asks for seven seconds of peace."""

    def do_GET(self) -> None:
        self.send_response(503)
        self.send_header("Retry-After", "7")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def test_a_server_that_names_a_time_is_left_alone_for_it_and_the_lead_has_failed(
    poller: Poller, account: Account, sql: Sql
) -> None:
    sql("select track_lead('sandbox', 'lead-00001')")
    sql("update resolver.watches set next_poll_at = now()")
    with ThreadingHTTPServer(("127.0.0.1", 0), Unavailable) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        poll_account(poller, replace(account, base_url=f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()
        thread.join()
    kind, seconds, reason = pause_of(sql)
    assert (kind, reason) == ("throttled", "LeadByte asked us to wait 7 s")
    assert seconds is not None
    assert 5 < seconds <= 7
    assert sql(f"select {COUNTERS} from resolver.watches") == [(1, 1, 1)]


@pytest.mark.parametrize("fault", ["429bare", "429negative", "429junk", "429date", "429future", "429absurd"])
def test_an_odd_retry_after_is_a_bounded_wait(poll: Poll, sql: Sql, fault: str) -> None:
    poll(f"sandbox-{fault}-1")
    kind, seconds, _ = pause_of(sql)
    assert kind == "throttled"
    assert seconds is not None
    assert 0 < seconds <= 15 * 60


def test_a_probe_after_throttling_ends_the_pause_when_it_is_answered(box: SandboxClient, poll: Poll, sql: Sql) -> None:
    box.script("sandbox-queued", "429-wait30", times=1)
    poll("sandbox-queued-1", "sandbox-approved-2")
    end_pause(sql)
    probe = poll()
    assert probe is not None
    assert probe.polled == 1
    assert pause_of(sql) == (None, None, None)


def test_a_server_error_does_not_end_a_pause(poll: Poll, sql: Sql) -> None:
    poll("sandbox-429-times1-1")
    end_pause(sql)
    sql("update resolver.leads set queue_id = 'sandbox-500-1'")
    sql("update resolver.watches set queue_id = 'sandbox-500-1'")
    poll()
    kind, seconds, _ = pause_of(sql)
    assert kind == "throttled"
    assert seconds is not None
    assert seconds > 15


@pytest.mark.parametrize("fault", ["401", "403", "login", "suspended"])
def test_a_refused_key_pauses_the_account_and_costs_no_lead_anything(poll: Poll, sql: Sql, fault: str) -> None:
    poll(f"sandbox-{fault}-1")
    kind, seconds, reason = pause_of(sql)
    assert kind == "key"
    assert seconds is not None
    assert 50 < seconds <= 60
    assert reason is not None
    assert reason.startswith("LeadByte refuses this account")
    assert sql(f"select {COUNTERS}, last_poll_at from resolver.watches") == [(*UNTOUCHED, None)]


def test_an_account_goes_on_once_its_key_is_right(engine: Engine, poll: Poll, sql: Sql) -> None:
    leads = [f"sandbox-approved-{n}" for n in range(5)]
    poll(*leads, key="wrong-key")
    assert pause_of(sql)[0] == "key"
    assert poll(key="wrong-key") is None
    end_pause(sql)
    probe = poll(key="wrong-key")
    assert probe is not None
    assert probe.polled == 1
    assert sql(f"select distinct {COUNTERS} from resolver.watches") == [UNTOUCHED]
    end_pause(sql)
    poll()  # the probe with the right key
    assert pause_of(sql) == (None, None, None)
    poll()
    persist_replies(engine)
    assert sql("select count(*) from reporting.leads where state = 'approved'") == [(5,)]


def test_a_key_file_that_cannot_be_read_pauses_the_account_and_hands_the_leads_back(
    poller: Poller, account: Account, poll: Poll, sql: Sql, tmp_path: Path
) -> None:
    poll("sandbox-queued-1")
    sql("update resolver.watches set next_poll_at = now(), polls = 0")
    keyless = replace(account, api_key=None, api_key_file=tmp_path / "missing")
    assert poll_account(poller, keyless) is None
    kind, _, reason = pause_of(sql)
    assert kind == "key"
    assert reason is not None
    assert "cannot be read" in reason
    assert sql("select polls, failures, claim_id, last_note from resolver.watches") == [
        (0, 0, None, "LeadByte says: Queued")
    ]
    assert sql("select count(*) from resolver.claims") == [(0,)]


def test_not_found_is_tolerated_for_the_grace_and_then_abandoned_and_can_be_redriven(
    engine: Engine, poll: Poll, sql: Sql
) -> None:
    poll("sandbox-notfound-1")
    assert sql(f"select {COUNTERS}, not_found_since is not null from resolver.watches") == [(1, 0, 0, True)]
    assert sql("select state from reporting.leads") == [("queued",)]
    sql("update resolver.watches set not_found_since = not_found_since - interval '61 min'")
    done = poll()
    assert done is not None
    assert done.abandoned == 1
    assert sql("select state, state_reason, polls from reporting.leads") == [
        ("abandoned", "LeadByte does not know this queue ID (not found for 61 min)", 2)
    ]
    assert sql("select from_state, cause like 'abandoned: %%' from reporting.events offset 1") == [("queued", True)]
    assert sql("select count(*) from resolver.watches") == [(0,)]
    assert operations.redrive(engine, None, ["sandbox-notfound-1"]) == 1
    assert sql("select not_found_since from resolver.watches") == [(None,)]


def test_a_lead_past_the_deadline_is_abandoned_redriven_and_resolved(engine: Engine, poll: Poll, sql: Sql) -> None:
    poll("sandbox-empty-times1-1")
    sql("update resolver.watches set watched_since = watched_since - interval '8 days'")
    sql("update resolver.leads set queue_id = 'sandbox-queued-9'")
    sql("update resolver.watches set queue_id = 'sandbox-queued-9'")
    done = poll()
    assert done is not None
    assert done.abandoned == 1
    assert sql("select state, state_reason from reporting.leads") == [
        ("abandoned", "no verdict within 7 days; LeadByte says: Queued")
    ]
    sql("update resolver.leads set queue_id = 'sandbox-approved-9'")
    operations.redrive(engine, "sandbox", None)
    assert sql("select state, state_reason from reporting.leads") == [("queued", None)]
    poll()
    persist_replies(engine)
    assert sql("select state, polls from reporting.leads") == [("approved", 3)]
    assert [row[0] for row in sql("select to_state from reporting.events")] == [
        "queued", "abandoned", "queued", "approved",
    ]  # fmt: skip


def test_one_bad_lead_does_not_spoil_its_batch(engine: Engine, poll: Poll, sql: Sql) -> None:
    bad = ("deep", "nul", "hugeint", "surrogate", "badutf8", "nan", "errornul", "gzipbomb", "hugeheaders", "dupkeys")
    done = poll(*(f"sandbox-{fault}-1" for fault in bad), "sandbox-approved-3")
    assert done is not None
    assert done.polled == len(bad) + 1
    persist_replies(engine)
    assert sql("select state from reporting.leads where queue_id = 'sandbox-approved-3'") == [("approved",)]
    assert sql("select count(*) from resolver.watches where claim_id is not null") == [(0,)]
    assert sql("select count(*) from resolver.unpersisted") == [(0,)]


def test_requests_are_counted_for_the_account(poll: Poll, sql: Sql) -> None:
    poll("sandbox-queued-1", "sandbox-empty-1", "sandbox-approved-4")
    assert sql("select sum(polls), sum(failures) from resolver.poll_counts") == [(3, 1)]
    assert sql("select polls_last_minute from reporting.pipeline") == [(3,)]
    assert sql("select count(*) from resolver.claims") == [(0,)]


def test_a_worker_that_lost_its_leads_writes_nothing_about_lead_or_account(
    poll: Poll, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = Batch.hand_over

    def hand_over_too_late(batch: Batch) -> list[Told]:
        sql("update resolver.watches set lease_until = clock_timestamp()")
        return hand_over(batch)

    monkeypatch.setattr(Batch, "hand_over", hand_over_too_late)
    done = poll("sandbox-401-1")
    assert done is not None
    assert done.lost == 1
    assert pause_of(sql) == (None, None, None)
    assert sql("select count(*) from resolver.poll_counts") == [(0,)]
    assert sql(f"select {COUNTERS}, claim_id is not null from resolver.watches") == [(*UNTOUCHED, True)]


def test_answers_outlive_a_postgres_that_is_away_for_a_moment(
    poll: Poll, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    away = iter([True, False])

    def settle(*arguments: Any) -> set[int]:
        if next(away):
            raise DatabaseUnavailable("gone")
        return settle_polls(*arguments)

    monkeypatch.setattr(settlement, "settle_polls", settle)
    assert poll("sandbox-approved-1") == Polled(polled=1, final=1, journalled=1)
    assert sql("select polls, crashes from resolver.watches") == [(1, 0)]


def test_an_unknown_word_is_reported_once_with_the_shape_of_its_reply(poll: Poll, sql: Sql) -> None:
    poll("sandbox-unknownstatus-1", "sandbox-unknownstatus-2")
    sql("update resolver.watches set next_poll_at = now()")
    poll()
    ((word, shape, times),) = sql("select word, shape, times from resolver.unknown_words")
    assert word in shape
    assert times == 2  # a batch counts once
    assert "sandbox-unknownstatus" not in shape


def test_nothing_more_is_sent_once_the_account_is_asked_to_wait(
    poll: Poll, sql: Sql, box: SandboxClient, account: Account
) -> None:
    box.script("*", "429-wait30")
    done = poll(*(f"sandbox-approved-{n}" for n in range(30)))
    box.clear_script()
    assert done is not None
    assert done.polled <= account.concurrency  # those that were under way when the first answer came
    assert sql("select sum(polls), sum(failures) from resolver.watches") == [(0, 0)]
    assert sql("select count(*) from resolver.watches where claim_id is not null") == [(0,)]


def test_an_older_good_answer_does_not_end_a_fresh_pause(
    poll: Poll, engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    hand_over = Batch.hand_over

    def hand_over_while_another_worker_is_told_to_wait(batch: Batch) -> list[Told]:
        with transaction(engine) as connection:
            until = read_clock(connection) + timedelta(minutes=1)
            pause_account(connection, "sandbox", PauseKind.THROTTLED, "wait", until)
        return hand_over(batch)

    monkeypatch.setattr(Batch, "hand_over", hand_over_while_another_worker_is_told_to_wait)
    assert poll("sandbox-approved-1") == Polled(polled=1, final=1, journalled=1)
    assert pause_of(sql)[0] == "throttled"


def test_a_probes_good_answer_does_not_end_a_pause_that_was_set_meanwhile(
    poll: Poll, engine: Engine, sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    poll("sandbox-429-times1-2")
    end_pause(sql)
    hand_over = Batch.hand_over

    def hand_over_while_another_worker_is_told_to_wait(batch: Batch) -> list[Told]:
        with transaction(engine) as connection:
            until = read_clock(connection) + timedelta(minutes=1)
            pause_account(connection, "sandbox", PauseKind.THROTTLED, "wait", until)
        return hand_over(batch)

    monkeypatch.setattr(Batch, "hand_over", hand_over_while_another_worker_is_told_to_wait)
    poll()
    assert pause_of(sql)[0] == "throttled"


def test_a_refusal_of_one_lead_among_answered_ones_is_its_own_trouble(
    poller: Poller, kept_door: Account, sql: Sql
) -> None:
    sql("select track_lead('sandbox', id) from unnest(array['refused-1', 'queued-01']) id")
    sql("update resolver.watches set next_poll_at = clock_timestamp()")
    assert poll_account(poller, kept_door) == Polled(polled=2, waiting=1, failed=1)
    assert pause_of(sql)[0] is None
    assert dict(sql("select queue_id, failures from resolver.watches")) == {"refused-1": 1, "queued-01": 0}


def test_a_lead_that_was_refused_makes_room_for_the_next_probe(poller: Poller, kept_door: Account, sql: Sql) -> None:
    sql("select track_lead('sandbox', 'refused-1')")
    sql("update resolver.watches set next_poll_at = clock_timestamp()")
    poll_account(poller, kept_door)
    assert pause_of(sql)[0] == "key"
    assert sql("select next_poll_at > clock_timestamp() + interval '20 s', polls, failures from resolver.watches") == [
        (True, 0, 0)
    ]


class Doorkeeper(BaseHTTPRequestHandler):
    """LeadByte that lets in whoever is not called refused."""

    def do_GET(self) -> None:
        queue_id = self.path.rsplit("/", 1)[1].split("?")[0]
        is_refused = queue_id.startswith("refused")
        record = {"queueId": queue_id, "status": "Queued"}
        body = b"" if is_refused else json.dumps({"status": "Success", "records": [record]}).encode()
        self.send_response(401 if is_refused else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def kept_door(account: Account) -> Iterator[Account]:
    """The account at a LeadByte with a doorkeeper."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Doorkeeper) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield replace(account, base_url=f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
        thread.join()

"""Several accounts and batches under way at once: who is held up by whom, and what a LeadByte in trouble is spared."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import Engine

from worker import asking
from worker.accounts import Account
from worker.domain.backoff import LadderSchedule
from worker.domain.decide import Policy
from worker.domain.manners import BREAKS_AFTER, RESTART_SHARE
from worker.leadbyte.client import LeadByteClient
from worker.leadbyte.requests_transport import RequestsTransport
from worker.poller import Poller
from worker.polling import poll_while_due
from worker.sandbox import SandboxClient, SandboxSettings, running_sandbox
from worker.settlement import Polled

Sql = Callable[..., list[tuple[Any, ...]]]
PATIENCE = 30.0  # whoever is held up by what hangs comes after it, or never


@pytest.fixture(scope="module")
def box() -> Iterator[SandboxClient]:
    with running_sandbox(
        SandboxSettings(median_seconds=0.01, sigma=0.1, other_accounts={"other": "its-key"})
    ) as client:
        yield client


@pytest.fixture
def accounts(box: SandboxClient) -> dict[str, Account]:
    ours = Account("sandbox", box.base_url, "query", 1000.0, 8, SecretStr("sandbox-key"))
    return {"sandbox": ours, "other": replace(ours, name="other", api_key=SecretStr("its-key"))}


@pytest.fixture
def poller(engine: Engine, accounts: dict[str, Account]) -> Iterator[Poller]:
    client = LeadByteClient(RequestsTransport(), timeout_seconds=PATIENCE)
    policy = Policy(timedelta(days=7), timedelta(hours=1), LadderSchedule())
    yield Poller(engine, client, accounts, policy, batch_size=20)
    client.close()


@pytest.fixture
def make_due(sql: Sql) -> Callable[..., None]:
    def track(account: str, pattern: str, count: int) -> None:
        sql("select track_lead(%s, replace(%s, '#', n::text)) from generate_series(1, %s) n", account, pattern, count)
        sql("update resolver.watches set next_poll_at = clock_timestamp() - interval '1 s'")

    return track


def take_until_final(run: Iterator[Polled], count: int) -> list[Polled]:
    """What was settled until so many leads were final; what still hangs then is dropped."""
    settled = []
    for polled in run:
        settled.append(polled)
        if sum(one.final for one in settled) == count:
            break
    run.close()  # type: ignore[attr-defined]  # of a generator
    return settled


def poll_for(poller: Poller, seconds: float = 60.0) -> list[Polled]:
    until = time.monotonic() + seconds
    return list(poll_while_due(poller, lambda: time.monotonic() < until))


def test_an_account_that_hangs_holds_up_no_other(poller: Poller, make_due: Callable[..., None]) -> None:
    make_due("sandbox", "sandbox-hang-#", 8)
    make_due("other", "sandbox-approved-#", 60)
    settled = take_until_final(poll_while_due(poller, lambda: True), 60)
    assert sum(settled, start=Polled()) == Polled(polled=60, final=60, journalled=60)


def test_an_account_that_hangs_holds_up_no_other_beyond_the_turns_end(
    poller: Poller, make_due: Callable[..., None]
) -> None:
    make_due("sandbox", "sandbox-hang-#", 8)
    make_due("other", "sandbox-approved-#", 60)
    looks = iter([True])
    settled = take_until_final(poll_while_due(poller, lambda: next(looks, False)), 60)
    assert sum(settled, start=Polled()) == Polled(polled=60, final=60, journalled=60)


def test_a_slow_answer_holds_up_nobody_of_its_own_batch(poller: Poller, make_due: Callable[..., None]) -> None:
    make_due("sandbox", "sandbox-hang-#", 1)
    make_due("sandbox", "sandbox-approved-#", 60)
    settled = take_until_final(poll_while_due(poller, lambda: True), 60)
    assert sum(settled, start=Polled()) == Polled(polled=60, final=60, journalled=60)


def test_batches_follow_each_other_until_nothing_is_due(
    poller: Poller, make_due: Callable[..., None], sql: Sql
) -> None:
    make_due("sandbox", "sandbox-approved-#", 150)
    make_due("other", "sandbox-rejected-5-#", 50)
    assert sum(poll_for(poller), start=Polled()) == Polled(polled=200, final=200, journalled=200)
    assert sql("select count(*) from resolver.claims") == [(0,)]
    assert sql("select count(*) from resolver.watches where claim_id is not null") == [(0,)]


def test_suspects_are_polled_one_by_one_after_the_others(
    poller: Poller, make_due: Callable[..., None], sql: Sql, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "SETTLE_WITHIN_SECONDS", PATIENCE)  # a batch is settled as one, however slowly it came
    make_due("sandbox", "sandbox-approved-#", 5)
    sql("update resolver.watches set crashes = 2 where queue_id in ('sandbox-approved-1', 'sandbox-approved-2')")
    assert [polled.final for polled in poll_for(poller)] == [3, 1, 1]


class Ailing(BaseHTTPRequestHandler):
    """A LeadByte that is down, or silently empty; `answers` counts, `status` is what it says."""

    protocol_version = "HTTP/1.1"
    status = 503
    answers = 0

    def do_GET(self) -> None:
        type(self).answers += 1
        self.send_response(self.status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def ailing(poller: Poller, accounts: dict[str, Account]) -> Iterator[tuple[Poller, type[Ailing]]]:
    """A poller of one account whose LeadByte is down."""
    handler = type("Patient", (Ailing,), {})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        account = replace(accounts["sandbox"], base_url=f"http://127.0.0.1:{server.server_port}")
        yield replace(poller, accounts={"sandbox": account}), handler
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("status", [200, 500, 503])
def test_a_leadbyte_that_is_down_or_silent_is_spared_after_a_few_requests(
    ailing: tuple[Poller, type[Ailing]], make_due: Callable[..., None], sql: Sql, status: int
) -> None:
    poller, leadbyte = ailing
    leadbyte.status = status
    make_due("sandbox", "sandbox-approved-#", 100)
    poll_for(poller)
    assert BREAKS_AFTER <= leadbyte.answers <= 2 * 20  # a batch or two, of a hundred leads
    ((kind, seconds, reason),) = sql(
        "select pause_kind, extract(epoch from paused_until - clock_timestamp()), pause_reason from resolver.accounts"
    )
    assert kind == "trouble"
    assert 0 < seconds <= 10
    assert "LeadByte does not answer" in reason
    assert sql("select count(*) from resolver.watches where failures = 0")[0][0] >= 60
    assert sql("select pause_reason from reporting.pipeline") == [(reason,)]


def test_one_probe_at_a_time_finds_out_whether_leadbyte_is_back(
    ailing: tuple[Poller, type[Ailing]], make_due: Callable[..., None], sql: Sql, accounts: dict[str, Account]
) -> None:
    poller, leadbyte = ailing
    make_due("sandbox", "sandbox-approved-#", 100)
    poll_for(poller)
    for _ in range(2):
        sql("update resolver.accounts set paused_until = clock_timestamp() - interval '1 s'")
        asked = leadbyte.answers
        poll_for(poller)
        assert leadbyte.answers == asked + 1
    sql("update resolver.accounts set paused_until = clock_timestamp() - interval '1 s'")
    sql("update resolver.watches set next_poll_at = clock_timestamp()")
    done = sum(poll_for(replace(poller, accounts=accounts)), start=Polled())
    assert done.final == 100
    ((kind, share),) = sql("select pause_kind, rate_share from resolver.accounts")
    assert kind is None
    assert share >= RESTART_SHARE


def test_no_more_is_sent_once_another_worker_was_told_to_wait(
    poller: Poller, make_due: Callable[..., None], sql: Sql, accounts: dict[str, Account]
) -> None:
    make_due("sandbox", "sandbox-approved-#", 60)
    slow = replace(accounts["sandbox"], requests_per_second=10.0)
    run = poll_while_due(replace(poller, accounts={"sandbox": slow}), lambda: True)
    first = next(run)
    sql(
        "update resolver.accounts set pause_kind = 'throttled', paused_until = clock_timestamp() + interval '1 h',"
        " pause_reason = 'told to wait'"
    )
    done = sum(run, start=first)
    assert done.polled < 60
    assert sql("select count(*) from resolver.watches where claim_id is not null") == [(0,)]

"""The client: where the key goes, and that it comes back in nothing."""

from __future__ import annotations

import html
import json
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from tests.leadbyte.raw_server import JSON_OK, Conversation, always, encode, serve
from worker.accounts import Account
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.errors import SettingsError
from worker.leadbyte.client import LeadByteClient, PollWindow, Question
from worker.leadbyte.transport import Transport
from worker.sandbox import SandboxSettings, running_sandbox
from worker.settings import AuthPlace

_ODD_KEY = "a&b=c#d%25+e/f?\"g'\\h~%zz"
_keys = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=8, max_size=40)


def make_account(url: str, key: str = "key-1", auth: AuthPlace = "query", key_file: Path | None = None) -> Account:
    return Account("acme", url, auth, 5.0, 4, None if key_file else SecretStr(key), key_file)


@pytest.fixture
def client(transport: Transport) -> LeadByteClient:
    return LeadByteClient(transport, timeout_seconds=60)


@pytest.fixture
def poll(client: LeadByteClient) -> Callable[[Account], Asked]:
    def ask(account: Account) -> Asked:
        ((_, asked),) = client.poll(account, [Question(1, "ac1e0206-1")], 1)
        return asked

    return ask


def test_the_key_goes_into_the_query_or_the_header_and_nowhere_else(poll: Callable[[Account], Asked]) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server:
        poll(make_account(server.url, _ODD_KEY, "query"))
        poll(make_account(server.url, _ODD_KEY, "header"))
    in_query, in_header = (head.decode() for head in server.requests)
    target = urlsplit(in_query.split()[1])
    assert target.path == "/apiqueue/ac1e0206-1"
    assert parse_qs(target.query) == {"key": [_ODD_KEY]}
    assert "x_key" not in in_query.lower()
    assert in_header.startswith("GET /apiqueue/ac1e0206-1 HTTP/1.1\r\n")
    assert f"\r\nX_KEY: {_ODD_KEY}\r\n" in in_header


@pytest.mark.parametrize("auth", ["query", "header"])
def test_any_key_reaches_leadbyte_as_it_is(client: LeadByteClient, auth: AuthPlace) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server:

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
        @given(_keys)
        def check(key: str) -> None:
            list(client.poll(make_account(server.url, key, auth), [Question(1, "ac1e0206-1")], 1))
            head = server.requests[-1].decode()
            told = parse_qs(urlsplit(head.split()[1]).query).get("key") if auth == "query" else [read_x_key(head)]
            assert told == [key]

        check()


def read_x_key(head: str) -> str:
    return next(line for line in head.split("\r\n") if line.startswith("X_KEY: ")).removeprefix("X_KEY: ")


@pytest.mark.parametrize("auth", ["query", "header"])
@pytest.mark.parametrize("key", ["sandbox-key", _ODD_KEY])
def test_the_sandbox_takes_either_form(poll: Callable[[Account], Asked], auth: AuthPlace, key: str) -> None:
    with running_sandbox(SandboxSettings(key=key, auth_accepted=frozenset({auth}))) as box:
        asked = poll(make_account(box.base_url, key, auth))
    assert isinstance(asked, Answer)
    assert asked.http_status == 200


@pytest.mark.parametrize("key", ["plain-key-123", _ODD_KEY])
def test_the_key_is_taken_out_of_what_comes_back(poll: Callable[[Account], Asked], key: str) -> None:
    quoted = quote(key, safe="")
    spellings = [key, quoted, json.dumps(key)[1:-1], json.dumps(key)[1:-1].replace("/", "\\/"), html.escape(key)]
    with serve(always(encode(" | ".join([*spellings, "kept"]).encode()))) as server:
        asked = poll(make_account(server.url, key))
    assert asked == Answer(200, b"*** | *** | *** | *** | *** | kept")


def test_each_answer_is_of_the_lead_that_was_asked_about(client: LeadByteClient) -> None:
    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            queue_id = urlsplit(head.split()[1].decode()).path.rpartition("/")[2]
            conversation.send(encode(queue_id.encode()))

    with serve(speak) as server:
        questions = [Question(n, f"lead-{n}", time.monotonic() + n % 7 / 1000) for n in range(100)]
        answers = dict(client.poll(make_account(server.url), questions, 6))
    assert answers == {n: Answer(200, b"lead-%d" % n) for n in range(100)}


def test_lanes_of_several_accounts_share_a_window_and_each_keeps_its_key(client: LeadByteClient) -> None:
    def speak(conversation: Conversation) -> None:
        while head := conversation.read_request():
            conversation.send(encode(head.split()[1]))

    with serve(speak) as server, closing(client.open_window()) as window:
        for lane in (1, 2):
            questions = [Question(n, f"lead-{lane}-{n}") for n in range(20)]
            window.add(make_account(server.url, f"planted-{lane}"), lane, questions, 3)
        window.add(make_account(server.url, "rotated-1"), 1, [Question(20, "lead-1-20")], 3)
        taken = take_all(window)
    expected = {(1, n): Answer(200, b"/apiqueue/lead-1-%d?key=***" % n) for n in range(21)}
    expected |= {(2, n): Answer(200, b"/apiqueue/lead-2-%d?key=***" % n) for n in range(20)}
    assert {(lane, tag): asked for lane, tag, asked in taken} == expected


def test_a_lane_that_was_stopped_asks_nothing_more(client: LeadByteClient) -> None:
    with serve(always(encode(JSON_OK), keeps=True)) as server, closing(client.open_window()) as window:
        account = make_account(server.url)
        window.add(account, 1, [Question(n, f"lead-{n}", time.monotonic() + 600) for n in range(3)], 1)
        window.stop(1)
        assert [asked for _, _, asked in take_all(window)] == [NoAnswer(Silence.UNSENT)] * 3
        window.stop(1)
        window.forget(1)
        window.add(account, 1, [Question(7, "lead-7")], 1)
        assert take_all(window) == [(1, 7, Answer(200, JSON_OK))]


def take_all(window: PollWindow) -> list[tuple[int, int, Asked]]:
    taken = []
    while len(window):
        taken += [(lane, question.tag, asked) for lane, question, asked in window.take(60)]
    return taken


def test_a_rotated_key_file_is_used_at_the_next_poll(poll: Callable[[Account], Asked], tmp_path: Path) -> None:
    path = tmp_path / "key"
    with serve(always(encode(JSON_OK), keeps=True)) as server:
        for key in ("first-key", "second-key\n"):
            path.write_text(key, encoding="utf-8")
            poll(make_account(server.url, key_file=path))
    assert [b"key=first-key " in server.requests[0], b"key=second-key " in server.requests[1]] == [True, True]


@pytest.mark.parametrize("content", [None, b"", b"two words", b"\xff\xfe"])
def test_an_unreadable_key_file_is_a_settings_error_and_nothing_is_asked(
    poll: Callable[[Account], Asked], tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)
    with serve(always(encode(JSON_OK))) as server:
        with pytest.raises(SettingsError, match="account acme"):
            poll(make_account(server.url, key_file=path))
        assert server.requests == []


def test_an_account_does_not_show_its_key() -> None:
    assert _ODD_KEY not in repr(make_account("http://127.0.0.1", _ODD_KEY))

"""Faults that answer in LeadByte's place before anything happens: HTTP errors, limits, logins, redirects."""

from __future__ import annotations

import functools
import json

from worker.sandbox.faults.kinds import Circumstances, Fault, Refuse
from worker.sandbox.protocol import HTML_TYPE, JSON_TYPE, Reply
from worker.sandbox.shapes import shape_error

_LOGIN_PAGE = b"<!DOCTYPE html><html><title>LeadByte - Log in</title><form action=/login>Password</form></html>"
_SUSPENDED_PAGE = b"<!DOCTYPE html><html><title>Account suspended</title><p>This account is suspended.</html>"


def _encode(message: str) -> bytes:
    return json.dumps(shape_error(message)).encode()


def _limit(retry_after: str | None, by: Circumstances) -> Reply:
    value = retry_after if by.wait is None else str(by.wait)
    headers = (JSON_TYPE,) if value is None else (JSON_TYPE, ("Retry-After", value))
    return Reply(429, _encode("Too many requests"), headers)


def _limit_with(retry_after: str | None) -> Refuse:
    return functools.partial(_limit, retry_after)


def _break_with(status: int) -> Refuse:
    page = f"<html><h1>{status}</h1><p>nginx</html>".encode()
    return lambda _by: Reply(status, page, (HTML_TYPE,))


def _answer_with(status: int, body: bytes, content_type: tuple[str, str] = JSON_TYPE) -> Refuse:
    return lambda _by: Reply(status, body, (content_type,))


def _redirect(by: Circumstances) -> Reply:
    # Another host name, so that a client which follows also shows whether it carries the key to strangers.
    elsewhere = by.root_url.replace("127.0.0.1", "localhost")
    return Reply(302, b"", (("Location", f"{elsewhere}/sandbox/trap"),))


REFUSING_FAULTS = (
    Fault("401", "key refused", refuse=_answer_with(401, _encode("Invalid API key"))),
    Fault("403", "permission refused", refuse=_answer_with(403, _encode("API key lacks permission: API queue"))),
    Fault("404", "an HTML 404 page", refuse=_break_with(404)),
    Fault("429", "too many requests, Retry-After: 2 (or waitN)", refuse=_limit_with("2")),
    Fault("429date", "429, Retry-After is a date long past", refuse=_limit_with("Wed, 21 Oct 2015 07:28:00 GMT")),
    Fault("429future", "429, Retry-After is a date far ahead", refuse=_limit_with("Fri, 31 Dec 2099 23:59:59 GMT")),
    Fault("429negative", "429, Retry-After: -5", refuse=_limit_with("-5")),
    Fault("429absurd", "429, Retry-After: 99999999999", refuse=_limit_with("9" * 11)),
    Fault("429junk", "429, Retry-After: soon", refuse=_limit_with("soon")),
    Fault("429bare", "429 without Retry-After", refuse=_limit_with(None)),
    *(Fault(str(status), f"HTTP {status}, HTML body", refuse=_break_with(status)) for status in (500, 502, 503, 504)),
    Fault("login", "an HTML login page with 200", refuse=_answer_with(200, _LOGIN_PAGE, HTML_TYPE)),
    Fault("suspended", 'HTML "account suspended" with 200', refuse=_answer_with(200, _SUSPENDED_PAGE, HTML_TYPE)),
    Fault("redirect", "302 to another host, where a trap counts who comes", refuse=_redirect),
    Fault("error200", '{"status":"Error"} with 200', refuse=_answer_with(200, _encode("System busy"))),
    Fault(
        "denied200",
        '{"status":"Error"} with 200 that denies what was asked for',
        refuse=_answer_with(200, _encode("Lead cannot be processed: campaign not active")),
    ),
    Fault(
        "errornul",
        "an error whose message holds NUL and a lone surrogate, with 200",
        refuse=_answer_with(200, _encode("bad \x00 and \ud800")),
    ),
    Fault("empty", "200 without a body (seen when asked in parallel)", refuse=_answer_with(200, b"")),
    Fault("null", "null with 200", refuse=_answer_with(200, b"null")),
    Fault("list", "[] with 200", refuse=_answer_with(200, b"[]")),
)

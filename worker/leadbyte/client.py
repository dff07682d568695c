"""Asks LeadByte about queue IDs: builds the request, keeps the key to itself.

The only module that handles the key: it goes into the request and is taken out of whatever comes back.
"""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from urllib.parse import quote

from pydantic import SecretStr

from worker.accounts import Account
from worker.domain.answers import Answer, Asked
from worker.leadbyte.transport import Request, Transport, never_stop


@dataclass(frozen=True, slots=True)
class Question:
    """One queue ID to ask about; `tag` comes back with the answer."""

    tag: int
    queue_id: str
    send_after: timedelta = timedelta(0)


class LeadByteClient:
    """Polls queue IDs over a transport, under one total deadline a request."""

    def __init__(self, transport: Transport, timeout_seconds: float) -> None:
        self._transport = transport
        self._timeout_seconds = timeout_seconds

    def poll(
        self,
        account: Account,
        questions: Sequence[Question],
        parallel: int,
        stop_after: Callable[[Asked], bool] = never_stop,
    ) -> Iterator[tuple[int, Asked]]:
        """Ask `GET /apiqueue/{queueId}` for each question; yields (tag, answer) as they come.

        Once `stop_after` holds for an answer, no further question is sent.

        The documented place of the key is the query; whether the header works too is unknown (LeadByte, "API Queue").
        SettingsError if the account's key can't be read.
        """
        key = account.read_key()
        requests = [_build_request(account, key, question) for question in questions]
        answers = self._transport.fetch_many(
            requests, parallel=parallel, timeout_seconds=self._timeout_seconds, stop_after=stop_after
        )
        for tag, asked in answers:
            yield tag, _take_key_out(asked, key)

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()


def _build_request(account: Account, key: SecretStr, question: Question) -> Request:
    url = f"{account.base_url}/apiqueue/{quote(question.queue_id, safe='')}"
    secret = key.get_secret_value()
    return Request(
        tag=question.tag,
        url=f"{url}?key={quote(secret, safe='')}" if account.auth == "query" else url,
        headers={"X_KEY": secret} if account.auth == "header" else {},
        send_after_seconds=question.send_after.total_seconds(),
    )


def _take_key_out(asked: Asked, key: SecretStr) -> Asked:
    """An error page may quote the request, and the journal keeps what was answered."""
    if not isinstance(asked, Answer):
        return asked
    body = asked.body
    for spelling in _list_spellings(key.get_secret_value()):
        body = body.replace(spelling.encode(), b"***")
    return replace(asked, body=body)


def _list_spellings(secret: str) -> set[str]:
    """The key as it is, and as URLs, JSON and HTML write it."""
    in_url = quote(secret, safe="")
    lower = re.sub("%..", lambda found: found[0].lower(), in_url)
    in_json = json.dumps(secret)[1:-1]
    return {secret, in_url, lower, in_json, in_json.replace("/", "\\/"), html.escape(secret)}

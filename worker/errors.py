"""Everything that can go wrong, as one tree; what each means is decided here and nowhere else.

LeadResolverError                exit 1
├── UsageError                   exit 2   what a person typed or configured
│   ├── SettingsError                     a setting is missing or malformed
│   └── InvalidQueueId                    not something LeadByte could have given out
├── NotFoundError                exit 4   asked for something that is not there
├── DatabaseUnavailable          exit 5   Postgres did not answer within its bound
│   └── DatabaseContended                 it is there, but somebody holds what is needed
├── LocalServerError             exit 6   an embedded server or child process did not start or died
├── DisagreementError            exit 7   the demo's database differs from the sandbox's truth
└── NotConfirmedError            exit 8   actions on held leads were refused, wait for a person, or take longer

What LeadByte or the network between does wrong is not raised: it is the ordinary business of polling, and
travels as a value (`worker.domain.answers`).
"""

from __future__ import annotations

from typing import ClassVar


class LeadResolverError(Exception):
    """Base of all; its text is one line for a person: what happened, to what, what to do."""

    exit_code: ClassVar[int] = 1


class UsageError(LeadResolverError):
    """The person at the keyboard can mend this."""

    exit_code = 2


class SettingsError(UsageError):
    """A setting is missing or malformed; the text names it."""


class InvalidQueueId(UsageError):
    """The text is no queue ID; nothing was stored."""


class NotFoundError(LeadResolverError):
    """What was asked for does not exist here."""

    exit_code = 4


class DatabaseUnavailable(LeadResolverError):
    """Postgres refused, hung or vanished; nothing was half-written."""

    exit_code = 5


class DatabaseContended(DatabaseUnavailable):
    """Postgres is there, but somebody else holds what is needed: other work can go on."""


class LocalServerError(LeadResolverError):
    """A server or process of ours on this machine did not start, or died."""

    exit_code = 6


class DisagreementError(LeadResolverError):
    """What we recorded is not what LeadByte says."""

    exit_code = 7


class NotConfirmedError(LeadResolverError):
    """Of the actions that were waited for, not all are confirmed: some were refused, wait for a person, or go on."""

    exit_code = 8

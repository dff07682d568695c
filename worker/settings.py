"""Every setting, read once from the environment: name, default, meaning.

Neighbours: `worker.accounts` turns the LEADBYTE_* part into the accounts we ask as; `lead-resolver config` prints all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import timedelta
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from worker.errors import SettingsError

AuthPlace = Literal["query", "header"]
AcceptanceName = Literal["told", "system", "buyer"]  # their meaning: worker/domain/acceptance.py
FIELD_NAME = r"^[0-9A-Za-z_][0-9A-Za-z_ .-]{0,79}$"  # of the consumer's data
DEFAULT_BASE_URL = "https://{account}.leadbyte.com/restapi/v1.3"
MOST_REQUESTS_PER_SECOND = 100_000  # above what one machine resolves
_PREFIXES = ("LEADBYTE_", "LEAD_RESOLVER_")
_UNPREFIXED = ("WORKER_PROCESSES",)  # not DATABASE_URL and REDIS_URL, which others have much like it
_FOR_TESTS = "LEAD_RESOLVER_FAILPOINTS"  # read by worker.failpoints, and nobody's business in production


class Settings(BaseSettings):
    """The environment, validated. Field names are the variables' names in lower case."""

    model_config = SettingsConfigDict(
        case_sensitive=False,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,  # `REDIS_URL=` in a .env file means unset, not "the empty URL"
        hide_input_in_errors=True,  # a malformed secret must not be echoed
    )

    database_url: SecretStr | None = Field(None, description="Postgres, postgresql://user:password@host/name")
    redis_url: SecretStr | None = Field(None, description="Redis that carries Celery's hints, redis://…")

    leadbyte_account: str | None = Field(None, description="your account's name, as in https://NAME.leadbyte.com")
    leadbyte_api_key: SecretStr | None = Field(None, description="its API key, with the permission 'API queue'")
    leadbyte_api_key_file: Path | None = Field(None, description="file with the key; read again when it changes")
    leadbyte_base_url: str = Field(DEFAULT_BASE_URL, description="REST API address; {account} is filled in")
    leadbyte_auth: AuthPlace = Field(
        "query", description="where a poll carries the key: query (as documented) or header"
    )
    leadbyte_requests_per_second: float = Field(
        5.0, gt=0, le=MOST_REQUESTS_PER_SECOND, description="budget of one account, all workers"
    )
    leadbyte_concurrency: int = Field(4, ge=1, le=1_000, description="parallel requests of one account, all workers")
    leadbyte_requests_per_day: int = Field(
        0, ge=0, le=1_000_000_000, description="most requests of one account a day (UTC); 0: any number"
    )
    leadbyte_acceptance: AcceptanceName = Field(
        "told", description="who accepts leads at LeadByte: system or buyer; told: only what replies show"
    )
    leadbyte_release_when_fields: str | None = Field(
        None, description="fields, separated by commas: a held lead is released once all of them are there"
    )
    leadbyte_reject_after_days: float = Field(
        0.0, ge=0, le=3_650, description="reject a lead that was held for so long; 0: never"
    )
    leadbyte_accounts_file: Path | None = Field(None, description="TOML file with several accounts")
    leadbyte_allow_plain_http: bool = Field(False, description="allow http:// to hosts other than this machine")
    leadbyte_timeout_seconds: float = Field(15.0, gt=0, le=30, description="total deadline of one request")

    lead_resolver_abandon_after_hours: float = Field(
        168.0, gt=0, le=87_600, description="stop asking after this; redrive asks again"
    )
    lead_resolver_not_found_grace_minutes: float = Field(
        60.0, ge=0, le=525_600, description="how long 'Not Found' is tolerated"
    )
    lead_resolver_action_settle_seconds: float = Field(
        60.0, ge=0, le=3_600, description="how long LeadByte may take to show what an action did"
    )
    lead_resolver_action_follow_minutes: float = Field(
        60.0, gt=0, le=10_080, description="how long an acknowledged action is followed before it is reported"
    )
    lead_resolver_batch_size: int = Field(2_000, ge=1, le=5_000, description="leads a claim takes at most")
    worker_processes: int = Field(0, ge=0, le=256, description="processes of one worker; 0: one a core, 2 to 8")
    lead_resolver_transport: Literal["auto", "curl", "requests"] = Field(
        "auto", description="HTTP by libcurl (needs pycurl) or requests; auto: curl where it is installed"
    )
    lead_resolver_keep_lead_data: bool = Field(False, description="keep the lead-data block in the journal")
    lead_resolver_recheck_days: float = Field(
        0.0, ge=0, le=3_650, description="look again at final leads for so long after their verdict; 0: never"
    )
    lead_resolver_recheck_every_hours: float = Field(24.0, gt=0, le=8_760, description="time between two such looks")
    lead_resolver_recheck_share: float = Field(
        0.1, gt=0, le=1, description="of an account's requests per second, at most, for such looks"
    )
    lead_resolver_keep_replies_days: float = Field(
        400.0, ge=0, le=36_500, description="forget replies of final and abandoned leads after so long; 0: never"
    )
    lead_resolver_learn: bool = Field(True, description="poll by what was learned of how long leads take")
    lead_resolver_poll_price_seconds: float = Field(
        5.0, gt=0, le=1e6, description="what a poll is worth in seconds of waiting; higher: fewer polls"
    )
    lead_resolver_first_minute_gap_seconds: float = Field(
        10.0, ge=1, le=60, description="longest gap between polls while a lead is younger than a minute"
    )
    lead_resolver_longest_gap_minutes: float = Field(60.0, ge=1, le=10_080, description="longest gap later on")
    lead_resolver_learn_half_life_leads: int = Field(
        5_000, ge=100, le=10_000_000, description="after so many new leads an old one counts half in learning"
    )
    lead_resolver_log_format: Literal["text", "json"] = Field("text", description="log lines for people or machines")
    lead_resolver_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="log level")
    lead_resolver_data: Path = Field(Path(".lead-resolver"), description="folder of `up`: embedded servers and logs")

    @field_validator("database_url")
    @classmethod
    def _database_url_is_postgres(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            _postgres_url(value.get_secret_value())
        return value

    @field_validator("redis_url")
    @classmethod
    def _redis_url_is_redis(cls, value: SecretStr | None) -> SecretStr | None:
        schemes = ("redis://", "rediss://", "redis+socket://", "unix://")
        if value is not None and not value.get_secret_value().startswith(schemes):
            raise ValueError("must begin with redis:// or rediss://")
        if value is not None:
            _parse_url(value.get_secret_value(), "redis://:password@host:6379/0")
        return value

    @field_validator("leadbyte_api_key_file")
    @classmethod
    def _key_has_one_place(cls, value: Path | None, info: ValidationInfo) -> Path | None:
        if value is not None and info.data.get("leadbyte_api_key") is not None:
            raise ValueError("cannot be set together with LEADBYTE_API_KEY: unset one of the two")
        return value

    @field_validator("leadbyte_release_when_fields")
    @classmethod
    def _fields_have_names(cls, value: str | None) -> str | None:
        for name in _split_names(value):
            if not re.fullmatch(FIELD_NAME, name, re.ASCII):
                raise ValueError(f"{name[:80]!a} is no name of a field; expected names separated by commas")
        return value

    @property
    def release_when_fields(self) -> tuple[str, ...]:
        """The fields that release a held lead once all are there; none: it is not released."""
        return _split_names(self.leadbyte_release_when_fields)

    @property
    def abandon_after(self) -> timedelta:
        """The deadline after which a lead without a verdict is abandoned."""
        return timedelta(hours=self.lead_resolver_abandon_after_hours)

    @property
    def longest_gap(self) -> timedelta:
        """The longest that a learned schedule leaves a lead unasked."""
        return timedelta(minutes=self.lead_resolver_longest_gap_minutes)

    @property
    def not_found_grace(self) -> timedelta:
        """How long LeadByte may say 'Not Found' before the lead is abandoned."""
        return timedelta(minutes=self.lead_resolver_not_found_grace_minutes)

    @property
    def keep_replies(self) -> timedelta | None:
        """How long the replies of closed leads are kept; None: for ever."""
        days = self.lead_resolver_keep_replies_days
        return timedelta(days=days) if days else None

    @property
    def action_settle(self) -> timedelta:
        """How long LeadByte may take to show what it has done about an action."""
        return timedelta(seconds=self.lead_resolver_action_settle_seconds)

    @property
    def action_follow(self) -> timedelta:
        """How long an action that LeadByte acknowledged may stay undone before it is reported."""
        return timedelta(minutes=self.lead_resolver_action_follow_minutes)

    def required_database_url(self) -> URL:
        """`DATABASE_URL` for SQLAlchemy; SettingsError when unset."""
        if self.database_url is None:
            raise SettingsError("DATABASE_URL is not set: name your Postgres, postgresql://user:password@host/name")
        return _postgres_url(self.database_url.get_secret_value())

    def required_redis_url(self) -> str:
        """`REDIS_URL`; SettingsError when unset."""
        if self.redis_url is None:
            raise SettingsError("REDIS_URL is not set: name your Redis, redis://:password@host:6379/0")
        return self.redis_url.get_secret_value()


def _split_names(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _parse_url(text: str, expected: str) -> URL:
    try:
        return make_url(text)
    except (ArgumentError, ValueError):  # the text of either may quote a part of the password
        raise ValueError(f"is no URL; expected {expected}") from None


def _postgres_url(text: str) -> URL:
    url = _parse_url(text, "postgresql://user:password@host/name")
    if url.drivername not in {"postgresql", "postgres", "postgresql+psycopg"}:
        raise ValueError("must begin with postgresql://")
    if "@" in (url.host or ""):
        raise ValueError("has an '@' in its user or password: write it as %40 there")
    return url.set(drivername="postgresql+psycopg")


@cache
def load_settings() -> Settings:
    """The process's settings, read from the environment once; SettingsError names the first one that is wrong."""
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "the environment"
        reason = first["msg"].removeprefix("Value error, ")
        raise SettingsError(f"{name}: {reason[:1].lower()}{reason[1:]}") from None


def list_unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """A sentence for each variable that is named like a setting and is none: most likely it is misspelt."""
    known = {name.upper() for name in Settings.model_fields}
    for name in sorted(environment):
        # As Settings reads them: in whatever case.
        is_like_ours = name.upper().startswith(_PREFIXES) or get_close_matches(name.upper(), _UNPREFIXED, 1, 0.9)
        if is_like_ours and name.upper() not in {*known, _FOR_TESTS}:
            meant = get_close_matches(name.upper(), known, n=1, cutoff=0.8)
            hint = f"did you mean {meant[0]}?" if meant else "`lead-resolver config` lists them all"
            yield f"{name} is no setting; {hint}"

"""LEADBYTE_ACCOUNTS_FILE: what its tables may hold, and what is wrong with one. Neighbour: `worker.accounts`."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from worker.domain.acceptance import Acceptance
from worker.errors import SettingsError
from worker.settings import FIELD_NAME, MOST_REQUESTS_PER_SECOND, AuthPlace

_FieldName = Annotated[str, StringConstraints(pattern=FIELD_NAME)]


class CampaignTable(BaseModel):
    """One `[accounts.NAME.campaigns.CAMPAIGN]` table, by the campaign's id or name; what it leaves out is as above."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    acceptance: Acceptance | None = None
    release_when_fields: list[_FieldName] | None = None
    reject_after_days: float | None = Field(None, ge=0, le=3_650)


class AccountTable(BaseModel):
    """One `[accounts.NAME]` table of LEADBYTE_ACCOUNTS_FILE; what it leaves out comes from LEADBYTE_*."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    base_url: str | None = None
    auth: AuthPlace | None = None
    requests_per_second: float | None = Field(None, gt=0, le=MOST_REQUESTS_PER_SECOND)
    concurrency: int | None = Field(None, ge=1, le=1_000)
    requests_per_day: int | None = Field(None, ge=0, le=1_000_000_000)
    acceptance: Acceptance | None = None
    release_when_fields: list[_FieldName] | None = None
    reject_after_days: float | None = Field(None, ge=0, le=3_650)
    campaigns: dict[str, CampaignTable] = Field(default_factory=dict)


def read_tables(path: Path) -> dict[str, Any]:
    """The tables of the accounts, by name, not looked into yet; SettingsError if the file holds none."""
    tables = _read_toml(path).get("accounts")
    if not isinstance(tables, dict) or not tables:
        raise SettingsError(f"LEADBYTE_ACCOUNTS_FILE {path}: expected at least one table [accounts.NAME]")
    return tables


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"LEADBYTE_ACCOUNTS_FILE {path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError):
        raise SettingsError(f"LEADBYTE_ACCOUNTS_FILE {path} is no TOML") from None


def parse_table(name: str, table: object) -> AccountTable:
    """One of them, checked; SettingsError names what is wrong, and quotes no value."""
    try:
        parsed = AccountTable.model_validate(table)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(["accounts", name, *(str(part) for part in first["loc"])])
        # Of something that is no table pydantic says which of our classes it is no instance of.
        what = first["msg"] if first["loc"] else "expected a table"
        raise SettingsError(f"LEADBYTE_ACCOUNTS_FILE: {where}: {what[:1].lower()}{what[1:]}") from None
    if parsed.api_key is None and parsed.api_key_file is None:
        raise SettingsError(f"LEADBYTE_ACCOUNTS_FILE: accounts.{name} has neither api_key nor api_key_file")
    if parsed.api_key is not None and parsed.api_key_file is not None:
        raise SettingsError(f"LEADBYTE_ACCOUNTS_FILE: accounts.{name} has both api_key and api_key_file: keep one")
    return parsed

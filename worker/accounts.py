"""The LeadByte accounts we ask as: address, key, budget; from LEADBYTE_* or the file of several accounts.

Neighbours: `worker.settings` and `worker.accounts_file` (where the values come from), `worker.leadbyte.client` (which
asks).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from pydantic import SecretStr

from worker.accounts_file import AccountTable, parse_table, read_tables
from worker.base_url import check_base_url
from worker.domain.acceptance import Acceptance, CampaignRules, find_rules
from worker.domain.facts import Named
from worker.domain.holds import HoldRules
from worker.errors import SettingsError
from worker.settings import AuthPlace, Settings

# The name becomes a host label and a key in Postgres, so it must be plain in both.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}", re.ASCII)
_KEY = re.compile(r"[\x21-\x7e]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Account:
    """One LeadByte account. `repr` never shows the key."""

    name: str
    base_url: str
    auth: AuthPlace
    requests_per_second: float
    concurrency: int
    api_key: SecretStr | None = None
    api_key_file: Path | None = None
    requests_per_day: int | None = None  # None: any number
    acceptance: Acceptance = Acceptance.TOLD
    campaigns: Mapping[str, CampaignRules] = field(default_factory=dict)
    hold_rules: HoldRules = field(default_factory=HoldRules)

    def choose_acceptance(self, campaign: Named | None) -> Acceptance:
        """Who accepts the leads of a campaign: its own setting, else the account's."""
        return find_rules(self.campaigns, campaign).acceptance or self.acceptance

    def choose_hold_rules(self, campaign: Named | None) -> HoldRules:
        """What becomes of a campaign's held leads by rule: each by its own setting, else by the account's."""
        own, common = find_rules(self.campaigns, campaign), self.hold_rules
        return HoldRules(
            common.release_when_fields if own.release_when_fields is None else tuple(own.release_when_fields),
            common.reject_after if own.reject_after_days is None else _read_days(own.reject_after_days),
        )

    @property
    def has_hold_rules(self) -> bool:
        """Whether any held lead of the account can be acted upon by rule."""
        own = (rules.release_when_fields or rules.reject_after_days for rules in self.campaigns.values())
        return self.hold_rules.is_any_on or any(own)

    @property
    def mean_requests_per_second(self) -> float:
        """What the account may be asked in the long run."""
        a_day = self.requests_per_day
        return self.requests_per_second if a_day is None else min(self.requests_per_second, a_day / 86_400)

    def read_key(self) -> SecretStr:
        """The key as it is now: a key file is read each time, so that a rotated key is picked up at once."""
        key = self.api_key if self.api_key_file is None else _read_key_file(self.name, self.api_key_file)
        if key is None or not _KEY.fullmatch(key.get_secret_value()):
            raise SettingsError(f"account {self.name}: the API key is empty or holds characters no key has")
        return key


def load_accounts(settings: Settings, *, with_keys: bool = True) -> Mapping[str, Account]:
    """All configured accounts by name; empty when none is configured; SettingsError names what is wrong.

    Without keys, they need not be there to be read: what else is configured of an account counts in a replay as well.
    """
    accounts = dict(_accounts_of_file(settings, with_keys=with_keys))
    if settings.leadbyte_account is not None:
        table = _table_of_environment(settings, with_keys=with_keys)
        name = settings.leadbyte_account
        accounts[name] = _build(name, table, settings, "LEADBYTE_ACCOUNT", with_key=with_keys)
    elif settings.leadbyte_api_key is not None or settings.leadbyte_api_key_file is not None:
        raise SettingsError("LEADBYTE_ACCOUNT is not set: name the account that LEADBYTE_API_KEY belongs to")
    return accounts


def require_accounts(settings: Settings) -> Mapping[str, Account]:
    """As `load_accounts`, but none at all is an error."""
    accounts = load_accounts(settings)
    if not accounts:
        raise SettingsError("LEADBYTE_ACCOUNT is not set: name your LeadByte account, and its key in LEADBYTE_API_KEY")
    return accounts


def choose_account(settings: Settings, wanted: str | None) -> str:
    """The account a command means: the one it names, else the only one there is."""
    if wanted is not None:
        return check_account_name(wanted, "the account")
    names = list_account_names(settings)
    if len(names) == 1:
        return names[0]
    if not names:
        raise SettingsError("LEADBYTE_ACCOUNT is not set: name your LeadByte account, or give --account")
    raise SettingsError(f"several accounts are configured ({', '.join(names)}): say which with --account")


def list_account_names(settings: Settings) -> list[str]:
    """The configured accounts, without a look at their keys: recording queue IDs needs none."""
    named = {settings.leadbyte_account} if settings.leadbyte_account is not None else set()
    path = settings.leadbyte_accounts_file
    return sorted(named | (set(read_tables(path)) if path is not None else set()))


def check_account_name(name: str, setting: str) -> str:
    """The name unchanged, or SettingsError."""
    if not _NAME.fullmatch(name):
        raise SettingsError(
            f"{setting} {name[:80]!r} is no account name: letters, digits, '-', '_' and '.', at most 63"
        )
    return name


def check_base_url_setting(settings: Settings) -> None:
    """SettingsError if no account could be asked under LEADBYTE_BASE_URL, whether or not one is configured yet."""
    name = check_account_name(settings.leadbyte_account or "account", "LEADBYTE_ACCOUNT")
    url = settings.leadbyte_base_url.replace("{account}", name)
    check_base_url(url, "LEADBYTE_BASE_URL", settings.leadbyte_allow_plain_http)


def _table_of_environment(settings: Settings, *, with_keys: bool) -> AccountTable:
    if with_keys and settings.leadbyte_api_key is None and settings.leadbyte_api_key_file is None:
        raise SettingsError("LEADBYTE_API_KEY is not set: give the key, or its file in LEADBYTE_API_KEY_FILE")
    return AccountTable(api_key=settings.leadbyte_api_key, api_key_file=settings.leadbyte_api_key_file)


def _accounts_of_file(settings: Settings, *, with_keys: bool) -> Mapping[str, Account]:
    path = settings.leadbyte_accounts_file
    where = "LEADBYTE_ACCOUNTS_FILE: accounts."
    return {
        name: _build(name, parse_table(name, table), settings, where + name, with_key=with_keys)
        for name, table in (read_tables(path) if path is not None else {}).items()
    }


def _build(name: str, table: AccountTable, settings: Settings, source: str, *, with_key: bool) -> Account:
    check_account_name(name, source)
    template = table.base_url or settings.leadbyte_base_url
    setting = f"{source}.base_url" if table.base_url else "LEADBYTE_BASE_URL"
    account = Account(
        name=name,
        base_url=check_base_url(template.replace("{account}", name), setting, settings.leadbyte_allow_plain_http),
        auth=table.auth or settings.leadbyte_auth,
        requests_per_second=table.requests_per_second or settings.leadbyte_requests_per_second,
        concurrency=table.concurrency or settings.leadbyte_concurrency,
        api_key=table.api_key,
        api_key_file=table.api_key_file,
        requests_per_day=_choose_day(table.requests_per_day, settings.leadbyte_requests_per_day),
        acceptance=table.acceptance or Acceptance(settings.leadbyte_acceptance),
        campaigns={name: CampaignRules(**campaign.model_dump()) for name, campaign in table.campaigns.items()},
        hold_rules=_choose_hold_rules(table, settings),
    )
    if with_key:
        account.read_key()
    return account


def _choose_hold_rules(table: AccountTable, settings: Settings) -> HoldRules:
    fields, days = table.release_when_fields, table.reject_after_days
    return HoldRules(
        settings.release_when_fields if fields is None else tuple(fields),
        _read_days(settings.leadbyte_reject_after_days if days is None else days),
    )


def _read_days(days: float) -> timedelta | None:
    return timedelta(days=days) if days else None


def _choose_day(own: int | None, common: int) -> int | None:
    most = common if own is None else own
    return most or None


def _read_key_file(name: str, path: Path) -> SecretStr:
    try:
        return SecretStr(path.read_text(encoding="utf-8-sig").strip())
    except OSError as error:
        raise SettingsError(f"account {name}: key file {path} cannot be read: {error.strerror}") from None
    except ValueError:
        raise SettingsError(f"account {name}: key file {str(path)!r} is no text, or no name of a file") from None

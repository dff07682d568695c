"""Accounts: where keys come from, where they may be sent, and that nothing shows them."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from worker.accounts import Account, check_account_name, choose_account, load_accounts, require_accounts
from worker.domain.acceptance import Acceptance
from worker.domain.facts import Named
from worker.errors import SettingsError
from worker.leadbyte.transport import Request
from worker.settings import load_settings

SECRET = "s3cr3t-key-123"
ONE = {"LEADBYTE_ACCOUNT": "acme", "LEADBYTE_API_KEY": SECRET}
KEY_IN_FILE = {"LEADBYTE_ACCOUNT": "acme"}  # LEADBYTE_API_KEY_FILE is the test's

Configure = Callable[..., Mapping[str, Account]]


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Sets environment variables, and loads the accounts they name."""

    def set_and_load(**values: str) -> Mapping[str, Account]:
        load_settings.cache_clear()
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return load_accounts(load_settings())

    return set_and_load


def write(path: Path, text: str) -> str:
    path.write_text(text, encoding="utf-8")
    return str(path)


def test_one_account_comes_from_the_environment(configure: Configure) -> None:
    assert configure() == {}
    (account,) = configure(**ONE, LEADBYTE_AUTH="header", LEADBYTE_CONCURRENCY="7").values()
    assert (account.name, account.base_url) == ("acme", "https://acme.leadbyte.com/restapi/v1.3")
    assert (account.auth, account.requests_per_second, account.concurrency) == ("header", 5.0, 7)
    assert account.read_key().get_secret_value() == SECRET


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({}, "LEADBYTE_ACCOUNT is not set: name your LeadByte account"),
        ({"LEADBYTE_API_KEY": SECRET}, "LEADBYTE_ACCOUNT is not set: name the account that LEADBYTE_API_KEY"),
        ({"LEADBYTE_API_KEY_FILE": "/nowhere"}, "LEADBYTE_ACCOUNT is not set"),
        ({"LEADBYTE_ACCOUNT": "acme"}, "LEADBYTE_API_KEY is not set"),
        ({**ONE, "LEADBYTE_ACCOUNT": "a b"}, "LEADBYTE_ACCOUNT 'a b' is no account name"),
        ({**ONE, "LEADBYTE_ACCOUNT": "a/../b"}, "LEADBYTE_ACCOUNT 'a/../b' is no account name"),
        ({**ONE, "LEADBYTE_API_KEY": f"{SECRET} x"}, "account acme: the API key is empty or holds characters"),
        ({**ONE, "LEADBYTE_API_KEY": f"{SECRET}\r\nX: y"}, "account acme: the API key"),
        (
            {**KEY_IN_FILE, "LEADBYTE_API_KEY_FILE": "/nowhere"},
            "account acme: key file /nowhere cannot be read: No such",
        ),
        ({**KEY_IN_FILE, "LEADBYTE_API_KEY_FILE": "/"}, "account acme: key file / cannot be read"),
        ({**ONE, "LEADBYTE_ACCOUNTS_FILE": "/nowhere"}, "LEADBYTE_ACCOUNTS_FILE /nowhere cannot be read"),
    ],
)
def test_what_is_missing_or_malformed_is_named(
    monkeypatch: pytest.MonkeyPatch, values: dict[str, str], said: str
) -> None:
    for name, value in values.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    with pytest.raises(SettingsError) as caught:
        require_accounts(settings)
    assert str(caught.value).startswith(said)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "is_allowed"),
    [
        ("https://{account}.leadbyte.co.uk/restapi/v1.3/", True),
        ("HTTPS://host:8443/path", True),
        ("http://127.0.0.1:8080", True),
        ("http://127.9.9.9/x", True),
        ("http://[::1]:8080/x", True),
        ("http://localhost/x", True),
        ("http://acme.leadbyte.com", False),
        ("http://127.0.0.1.evil.com", False),
        ("http://localhost.evil.com", False),
        ("http://10.0.0.1", False),
        ("http://0.0.0.0", False),
    ],
)
def test_a_key_goes_over_plain_http_only_to_this_machine(configure: Configure, url: str, is_allowed: bool) -> None:
    if is_allowed:
        assert configure(**ONE, LEADBYTE_BASE_URL=url)["acme"].base_url == url.replace("{account}", "acme").rstrip("/")
        return
    with pytest.raises(SettingsError, match=r"LEADBYTE_BASE_URL: http:// would send the key to .* unencrypted"):
        configure(**ONE, LEADBYTE_BASE_URL=url)
    assert configure(**ONE, LEADBYTE_BASE_URL=url, LEADBYTE_ALLOW_PLAIN_HTTP="true")["acme"].base_url == url


@pytest.mark.parametrize(
    "url",
    ["ftp://host", "host/path", "https://", "https:///path", "https://[bad", "https://host:port", "https://host:0",
     f"https://u:{SECRET}@host", f"https://:{SECRET}@host", f"https://host/?key={SECRET}", "https://host/#here",
     "https://ho st", "https://host/a b", "https://host\\@evil.com", "https://host:99999"],
)  # fmt: skip
def test_an_address_that_no_path_can_be_appended_to_is_refused(configure: Configure, url: str) -> None:
    with pytest.raises(SettingsError, match="LEADBYTE_BASE_URL: expected https://host/path") as caught:
        configure(**ONE, LEADBYTE_BASE_URL=url)
    assert SECRET not in str(caught.value)


def test_a_rotated_key_is_picked_up_at_once(configure: Configure, key_file: Path) -> None:
    account = configure(**KEY_IN_FILE, LEADBYTE_API_KEY_FILE=str(key_file))["acme"]
    assert account.read_key().get_secret_value() == "key-from-a-file"
    write(key_file, "\ufeffrotated\r\n")
    assert account.read_key().get_secret_value() == "rotated"
    write(key_file, " \n")
    with pytest.raises(SettingsError, match="account acme: the API key is empty"):
        account.read_key()
    key_file.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is no text"):
        account.read_key()
    key_file.unlink()
    with pytest.raises(SettingsError, match="cannot be read"):
        account.read_key()


def test_nothing_that_holds_a_key_shows_it(configure: Configure) -> None:
    accounts = configure(**ONE)
    account = accounts["acme"]
    shown: list[object] = [account, accounts, account.read_key(), load_settings(), replace(account, name="b")]
    shown.append(Request(1, f"https://host/apiqueue/q?key={SECRET}", {"X_KEY": SECRET}))
    for thing in shown:
        assert SECRET not in f"{thing} {thing!r} {[thing]}"
    assert SECRET.encode() in pickle.dumps(account.read_key()), "the key is there all the same"


FILE = f"""
[accounts.acme]
api_key = "{SECRET}"
base_url = "https://{{account}}.leadbyte.co.uk/restapi/v1.3"
requests_per_second = 2.5

[accounts.zenith]
api_key_file = "KEY_FILE"
auth = "header"
concurrency = 9
"""


def test_several_accounts_come_from_a_file(configure: Configure, tmp_path: Path, key_file: Path) -> None:
    path = write(tmp_path / "accounts.toml", FILE.replace("KEY_FILE", str(key_file)))
    accounts = configure(LEADBYTE_ACCOUNTS_FILE=path, LEADBYTE_CONCURRENCY="3")
    acme, zenith = accounts["acme"], accounts["zenith"]
    assert (acme.base_url, acme.requests_per_second) == ("https://acme.leadbyte.co.uk/restapi/v1.3", 2.5)
    assert (acme.auth, acme.concurrency, zenith.auth, zenith.concurrency) == ("query", 3, "header", 9)
    assert zenith.read_key().get_secret_value() == "key-from-a-file"
    assert SECRET not in repr(accounts)
    assert set(configure(LEADBYTE_ACCOUNT="third", LEADBYTE_API_KEY=SECRET)) == {"acme", "zenith", "third"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", " PATH: expected at least one table [accounts.NAME]"),
        ("accounts = 7", " PATH: expected at least one table"),
        ("[accounts]", " PATH: expected at least one table"),
        (f"api_key = {SECRET}", " PATH is no TOML"),
        ("[accounts.a]", ": accounts.a has neither api_key nor api_key_file"),
        (
            "[accounts.a]\napi_key = 'k'\napi_key_file = '/f'",
            ": accounts.a has both api_key and api_key_file: keep one",
        ),
        (f'accounts.a = "{SECRET}"', ": accounts.a: expected a table"),
        (f'[accounts.a]\napikey = "{SECRET}"', ": accounts.a.apikey: extra inputs are not permitted"),
        ("[accounts.a]\napi_key = 7", ": accounts.a.api_key: input should be a valid string"),
        (f'[accounts.a]\nauth = "{SECRET}"', ": accounts.a.auth: input should be 'query' or 'header'"),
        ("[accounts.a]\nconcurrency = 0", ": accounts.a.concurrency: input should be greater than or equal to 1"),
        ("[accounts.a]\nrequests_per_second = nan", ": accounts.a.requests_per_second: input should be"),
        (f'[accounts."a b"]\napi_key = "{SECRET}"', ": accounts.a b 'a b' is no account name"),
        (f'[accounts.a]\napi_key = "{SECRET}"\nbase_url = "http://x"', ": accounts.a.base_url: http:// would send"),
        (f'[accounts.a]\napi_key = "{SECRET}"\nbase_url = "nonsense"', ": accounts.a.base_url: expected https://"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(configure: Configure, tmp_path: Path, text: str, said: str) -> None:
    path = write(tmp_path / "accounts.toml", text)
    with pytest.raises(SettingsError) as caught:
        configure(LEADBYTE_ACCOUNTS_FILE=path)
    assert str(caught.value).startswith("LEADBYTE_ACCOUNTS_FILE" + said.replace("PATH", path))
    assert SECRET not in str(caught.value)


def test_a_key_file_that_can_be_no_file_is_named(configure: Configure, tmp_path: Path) -> None:
    path = write(tmp_path / "accounts.toml", '[accounts.a]\napi_key_file = "a\\u0000b"')
    with pytest.raises(SettingsError, match=r"account a: key file 'a\\x00b'"):
        configure(LEADBYTE_ACCOUNTS_FILE=path)


def test_the_file_must_be_text(configure: Configure, tmp_path: Path) -> None:
    path = tmp_path / "accounts.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(SettingsError, match="is no TOML"):
        configure(LEADBYTE_ACCOUNTS_FILE=str(path))


def test_a_command_means_the_account_it_names_or_the_only_one(configure: Configure, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="or give --account"):
        choose_account(load_settings(), None)
    assert choose_account(load_settings(), "other") == "other"
    with pytest.raises(SettingsError, match="the account 'no such' is no account name"):
        choose_account(load_settings(), "no such")
    configure(**ONE)
    assert choose_account(load_settings(), None) == "acme"
    assert set(require_accounts(load_settings())) == {"acme"}
    path = write(tmp_path / "accounts.toml", f'[accounts.b]\napi_key = "{SECRET}"')
    configure(LEADBYTE_ACCOUNTS_FILE=path)
    with pytest.raises(SettingsError, match=r"several accounts are configured \(acme, b\)"):
        choose_account(load_settings(), None)


@pytest.mark.parametrize("name", ["", "-a", ".a", "a" * 64, "a\n", "a:b", "ä", "a@b"])
def test_a_name_that_is_no_host_label_is_refused(name: str) -> None:
    with pytest.raises(SettingsError):
        check_account_name(name, "X")


def test_acceptance_is_told_per_campaign_per_account_or_for_all(configure: Configure, tmp_path: Path) -> None:
    tables = """
        [accounts.one]
        api_key = "k1"
        acceptance = "buyer"
        [accounts.one.campaigns.565]
        acceptance = "system"
        [accounts.one.campaigns."Solar UK"]
        [accounts.two]
        api_key = "k2"
    """
    file = write(tmp_path / "accounts.toml", tables)
    accounts = configure(LEADBYTE_ACCOUNTS_FILE=file, LEADBYTE_ACCEPTANCE="system")
    one, two = accounts["one"], accounts["two"]
    assert one.choose_acceptance(Named("565", "Solar UK")) is Acceptance.SYSTEM
    assert one.choose_acceptance(Named("7", "Solar UK")) is Acceptance.BUYER
    assert one.choose_acceptance(None) is Acceptance.BUYER
    assert two.choose_acceptance(None) is Acceptance.SYSTEM
    file = write(
        tmp_path / "wrong.toml", '[accounts.one]\napi_key = "k"\n[accounts.one.campaigns.1]\nacceptance = "me"'
    )
    with pytest.raises(SettingsError, match=r"accounts\.one\.campaigns\.1\.acceptance"):
        configure(LEADBYTE_ACCOUNTS_FILE=file)


def test_a_replay_needs_no_key(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEADBYTE_ACCOUNT", "acme")
    monkeypatch.setenv("LEADBYTE_ACCEPTANCE", "buyer")
    with pytest.raises(SettingsError, match="LEADBYTE_API_KEY is not set"):
        configure()
    assert load_accounts(load_settings(), with_keys=False)["acme"].acceptance is Acceptance.BUYER

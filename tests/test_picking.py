"""Picking: of which accounts a run claims next, and that those of hundreds keep no request under way waiting."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from types import SimpleNamespace
from typing import Any, cast

import pytest

from worker import picking
from worker.accounts import Account
from worker.claiming import Claimer
from worker.errors import DatabaseUnavailable
from worker.lane import Lane, Lanes
from worker.picking import PICK_FOR_SECONDS, Picker

ACCOUNTS = [Account(f"account-{n}", "http://127.0.0.1:1", "query", 5.0, 4) for n in range(5)]
NAMES = [account.name for account in ACCOUNTS]


class Claims:
    """Stands in for the claimer: of these accounts there is something to claim."""

    def __init__(self, claimable: Collection[str]) -> None:
        self.claimable = set(claimable)

    def list_claimable(self, accounts: Mapping[str, Account], *, is_idle: bool) -> Collection[str]:
        del is_idle
        return self.claimable & accounts.keys()

    def may_claim(self, account: Account) -> bool:
        return account.name in self.claimable


@pytest.fixture
def pass_time(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    now = [0.0]
    monkeypatch.setattr(picking, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return lambda seconds: now.append(seconds + now.pop())


def make_picker(claims: Claims, lanes: Lanes | None = None, looks: Collection[bool] = ()) -> Picker:
    answers = iter(looks)
    return Picker(ACCOUNTS, lambda: next(answers, True), cast("Claimer", claims), lanes or Lanes())


def pick(picker: Picker, each_takes: Callable[[], object] = lambda: None) -> list[str]:
    picked = []
    for account in picker.pick(picker.list_fillable(), lambda _: None, is_idle=False):
        picked.append(account.name)
        each_takes()
    return picked


def test_accounts_with_something_to_claim_are_picked_once_each(pass_time: Any) -> None:
    del pass_time
    picker = make_picker(Claims(NAMES[1:4]))
    assert pick(picker) == NAMES[1:4]
    assert not picker.has_more


def test_claims_of_many_accounts_are_made_a_few_at_a_time_and_each_has_its_turn(
    pass_time: Callable[[float], None],
) -> None:
    picker = make_picker(Claims(NAMES))
    half = 0.6 * PICK_FOR_SECONDS
    assert pick(picker, lambda: pass_time(half)) == NAMES[:2]
    assert picker.has_more
    assert pick(picker, lambda: pass_time(half)) == NAMES[2:4]
    assert pick(picker, lambda: pass_time(half)) == [NAMES[4], NAMES[0]]


def test_a_pick_that_an_error_ends_leaves_nothing_to_hurry_for(
    pass_time: Callable[[float], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("planted")

    claims = Claims(NAMES)
    picker = make_picker(claims)
    pick(picker, lambda: pass_time(PICK_FOR_SECONDS))
    assert picker.has_more
    monkeypatch.setattr(claims, "list_claimable", fail)
    with pytest.raises(DatabaseUnavailable):
        pick(picker)
    assert not picker.has_more


def test_an_account_whose_lane_wants_no_more_is_not_picked(pass_time: Any) -> None:
    del pass_time
    full = cast("Lane", SimpleNamespace(wants_more=lambda: False))
    picker = make_picker(Claims(NAMES))
    assert list(picker.pick(picker.list_fillable(), lambda _: full, is_idle=False)) == []


def test_after_the_turn_nothing_is_picked_where_nothing_is_awaited() -> None:
    picker = make_picker(Claims(NAMES), looks=[True, False])
    assert pick(picker) == NAMES
    assert pick(picker) == []

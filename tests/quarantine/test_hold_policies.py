"""Acting on held leads by rule: off by default, once a hold, per campaign; and never against the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.quarantine.held_stage import Stage
from worker.accounts import load_accounts
from worker.domain.acceptance import CampaignRules
from worker.domain.facts import Named
from worker.domain.holds import HoldRules
from worker.errors import SettingsError
from worker.policies import apply_policies
from worker.settings import load_settings

LEAD, OTHER = "sandbox-quarantined-0001", "sandbox-quarantined-0002"
DAY = 86_400.0
RELEASE = HoldRules(release_when_fields=("Post-Code",))
REJECT = HoldRules(reject_after=timedelta(days=3))


def run(stage: Stage, rules: HoldRules, **campaigns: CampaignRules) -> dict[str, int]:
    """A round of the rules, as if the last one were long ago."""
    stage.sql("delete from resolver.ticks where duty = 'policies'")
    account = replace(stage.account, hold_rules=rules, campaigns=campaigns)
    return dict(apply_policies(stage.engine, {"sandbox": account}))


def fill(stage: Stage, *names: str) -> None:
    """What LeadByte's replies show as filled."""
    stage.sql("update resolver.outcomes set fields_present = %s", list(names))


def asked(stage: Stage) -> list[tuple[str, str, str, bool]]:
    return [
        (row["action"], row["requested_by"], row["reason"], row["by_policy"]) for row in stage.rows() if row["action"]
    ]


def test_nothing_is_done_by_rule_unless_it_is_configured(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.age(400 * DAY)
    fill(stage, "postcode")
    assert run(stage, HoldRules()) == {}
    assert stage.states() == [None]
    assert stage.sql("select count(*) from resolver.ticks where duty = 'policies'") == [(0,)]


def test_a_lead_is_released_once_its_fields_are_there(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    fill(stage, "email")
    assert run(stage, RELEASE) == {}
    fill(stage, "email", "postcode")  # as it is kept; the rule says Post-Code
    assert run(stage, RELEASE) == {"release": 1}
    assert asked(stage) == [("release", "policy", "LEADBYTE_RELEASE_WHEN_FIELDS: all there: Post-Code", True)]
    stage.send()
    assert stage.effects() == [(held, "process")]


def test_what_we_set_ourselves_is_there_once_that_is_confirmed(stage: Stage) -> None:
    stage.hold(LEAD)
    fill(stage, "email")
    stage.ask("update", LEAD, fields={"POSTCODE": "TN25 6QD"})
    assert run(stage, RELEASE) == {}
    assert stage.send() == {"confirmed": 1}
    assert run(stage, RELEASE) == {"release": 1}


def test_a_lead_is_rejected_after_so_many_days_of_being_held(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.age(3 * DAY - 60)
    assert run(stage, REJECT) == {}
    stage.age(61)
    assert run(stage, REJECT) == {"reject": 1}
    assert asked(stage) == [("reject", "policy", "LEADBYTE_REJECT_AFTER_DAYS: held for 3 days", True)]


def test_a_campaign_has_rules_of_its_own(stage: Stage) -> None:
    stage.hold(LEAD, OTHER)
    fill(stage, "postcode")
    stage.age(10 * DAY)
    stage.sql("update resolver.outcomes o set campaign_id = l.id, campaign_name = null from resolver.leads l"
              " where l.id = o.lead_id")  # fmt: skip
    ((own,),) = stage.sql("select id from resolver.leads where queue_id = %s", LEAD)
    never = CampaignRules(release_when_fields=[], reject_after_days=0)
    assert run(stage, replace(RELEASE, reject_after=REJECT.reject_after), **{str(own): never}) == {"release": 1}
    assert {row["queue_id"]: row["action"] for row in stage.rows()} == {LEAD: None, OTHER: "release"}
    assert run(stage, HoldRules(), **{str(own): CampaignRules(reject_after_days=2)}) == {"reject": 1}


def test_a_rule_asks_once_a_hold_even_if_leadbyte_refused(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    fill(stage, "postcode")
    assert [run(stage, RELEASE) for _ in range(3)] == [{"release": 1}, {}, {}]
    stage.box.script(held, "denied200", 1)
    assert stage.send() == {"refused": 1}
    assert run(stage, RELEASE) == {}
    assert len(stage.rows()) == 1
    assert [one.outcome for one in stage.ask("release", LEAD)] == ["requested"]  # a person may


def test_a_lead_held_again_is_looked_at_anew(stage: Stage) -> None:
    lead = "sandbox-requarantined-0001"
    stage.hold(lead)
    fill(stage, "postcode")
    assert run(stage, RELEASE) == {"release": 1}
    stage.send()
    stage.effects()
    stage.poll()
    stage.look()
    assert stage.states()[0] == "confirmed"
    fill(stage, "postcode")
    assert run(stage, RELEASE) == {"release": 1}
    assert [row["cycle"] for row in stage.rows()] == [1, 2]


@pytest.mark.parametrize(("action", "fields"), [("update", {"a": "b"}), ("release", None), ("reject", None)])
def test_what_a_person_is_doing_is_left_to_them(stage: Stage, action: str, fields: dict[str, Any] | None) -> None:
    stage.hold(LEAD)
    fill(stage, "postcode")
    stage.age(10 * DAY)
    stage.ask(action, LEAD, fields=fields)
    assert run(stage, replace(RELEASE, reject_after=REJECT.reject_after)) == {}


def test_giving_up_in_between_is_no_new_hold(stage: Stage) -> None:
    (held,) = stage.hold(LEAD)
    fill(stage, "postcode")
    run(stage, RELEASE)
    stage.box.script(held, "denied200", 1)
    stage.send()
    moves = "insert into resolver.lead_events (lead_id, at, from_state, to_state, cause) select id, now(), %s, %s, 'x'"
    for old, new in (("quarantined", "abandoned"), ("abandoned", "queued"), ("queued", "quarantined")):
        stage.sql(f"{moves} from resolver.leads", old, new)
    assert run(stage, RELEASE) == {}


def test_the_rules_are_gone_through_once_a_minute(stage: Stage) -> None:
    stage.hold(LEAD)
    account = replace(stage.account, hold_rules=RELEASE)
    assert apply_policies(stage.engine, {"sandbox": account}) == {}
    fill(stage, "postcode")
    assert apply_policies(stage.engine, {"sandbox": account}) == {}
    assert run(stage, RELEASE) == {"release": 1}


def test_many_leads_are_released_page_by_page(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    stage.hold(*(f"sandbox-quarantined-{number:04}" for number in range(7)))
    fill(stage, "postcode")
    monkeypatch.setattr("worker.policies.BATCH", 3)
    monkeypatch.setattr("worker.policies.LONGEST_SECONDS", 0.0)
    assert run(stage, RELEASE) == {}
    monkeypatch.setattr("worker.policies.LONGEST_SECONDS", 60.0)
    assert run(stage, RELEASE) == {"release": 7}


@pytest.fixture
def configure(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Any]:
    """The accounts of a file and of the environment."""

    def load(toml: str, **values: str) -> Any:
        (tmp_path / "accounts.toml").write_text(toml, encoding="utf-8")
        for name, value in {"LEADBYTE_ACCOUNTS_FILE": str(tmp_path / "accounts.toml"), **values}.items():
            monkeypatch.setenv(name, value)
        load_settings.cache_clear()
        return load_accounts(load_settings())

    return load


def test_rules_are_configured_for_all_per_account_and_per_campaign(configure: Callable[..., Any]) -> None:
    accounts = configure(
        """
        [accounts.common]
        api_key = "k"
        [accounts.own]
        api_key = "k"
        release_when_fields = ["email"]
        reject_after_days = 0
        [accounts.own.campaigns.565]
        release_when_fields = []
        reject_after_days = 0.5
        """,
        LEADBYTE_RELEASE_WHEN_FIELDS=" postcode, phone number ,",
        LEADBYTE_REJECT_AFTER_DAYS="3",
    )
    assert accounts["common"].hold_rules == HoldRules(("postcode", "phone number"), timedelta(days=3))
    assert accounts["own"].hold_rules == HoldRules(("email",), None)
    campaign = Named("565", None)
    assert accounts["own"].choose_hold_rules(campaign) == HoldRules((), timedelta(hours=12))
    assert accounts["own"].choose_hold_rules(None) == HoldRules(("email",), None)


@pytest.mark.parametrize(
    ("toml", "values", "named"),
    [
        ('[accounts.a]\napi_key="k"', {"LEADBYTE_RELEASE_WHEN_FIELDS": "a,b\nc"}, "LEADBYTE_RELEASE_WHEN_FIELDS"),
        ('[accounts.a]\napi_key="k"', {"LEADBYTE_REJECT_AFTER_DAYS": "-1"}, "LEADBYTE_REJECT_AFTER_DAYS"),
        ('[accounts.a]\napi_key="k"\nrelease_when_fields=["a;"]', {}, "accounts.a.release_when_fields.0"),
        (
            '[accounts.a]\napi_key="k"\n[accounts.a.campaigns.5]\nreject_after_days=-1',
            {},
            "campaigns.5.reject_after_days",
        ),
    ],
)
def test_a_malformed_rule_is_named(
    configure: Callable[..., Any], toml: str, values: dict[str, str], named: str
) -> None:
    with pytest.raises(SettingsError) as raised:
        configure(toml, **values)
    assert named in str(raised.value)

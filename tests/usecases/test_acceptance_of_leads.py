"""LeadByte's acceptance setting where facts are recorded and replayed; rows that are recognised in a later reply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import SecretStr
from sqlalchemy import Engine

from worker.accounts import Account
from worker.domain.acceptance import Acceptance, CampaignRules
from worker.replaying import replay
from worker.results import Rules, persist_replies
from worker.store.journal import Chosen

Sql = Callable[..., list[tuple[Any, ...]]]
Reply = Callable[..., None]
FactsOf = Callable[..., dict[str, Any]]


def configure(acceptance: Acceptance, **campaigns: Acceptance) -> Rules:
    rules = {name: CampaignRules(of) for name, of in campaigns.items()}
    key = SecretStr("k")
    account = Account("acme", "http://127.0.0.1", "query", 5.0, 4, key, acceptance=acceptance, campaigns=rules)
    return Rules({"acme": account})


def test_the_setting_says_what_a_verdict_does_not_and_a_replay_applies_a_change(
    engine: Engine, reply: Reply, facts_of: FactsOf
) -> None:
    reply("lead-approved", {"status": "Approved", "response": {"leadId": 7, "code": 1}})
    reply("lead-rejected", {"status": "Rejected"})
    persist_replies(engine, configure(Acceptance.BUYER))
    assert facts_of("lead-approved", "sold") == {"sold": True}
    assert facts_of("lead-rejected", "campaign_accepted") == {"campaign_accepted": None}
    (page,) = replay(engine, Chosen(), configure(Acceptance.SYSTEM), dry_run=False)
    assert len(page.changes) == 2
    assert facts_of("lead-approved", "sold", "campaign_accepted") == {"sold": None, "campaign_accepted": True}
    assert facts_of("lead-rejected", "campaign_accepted", "sold") == {"campaign_accepted": False, "sold": False}
    (page,) = replay(engine, Chosen(), dry_run=False)
    assert facts_of("lead-rejected", "campaign_accepted") == {"campaign_accepted": None}


def test_a_campaign_that_any_reply_told_counts(engine: Engine, reply: Reply, facts_of: FactsOf) -> None:
    rules = configure(Acceptance.SYSTEM, Solar=Acceptance.BUYER)
    reply("lead-early", {"status": "Queued", "campaign": {"id": 565, "name": "Solar"}})
    reply("lead-early", {"status": "Rejected"})
    persist_replies(engine, rules)
    assert facts_of("lead-early", "campaign_accepted") == {"campaign_accepted": None}
    reply("lead-late", {"status": "Rejected"})
    persist_replies(engine, rules)
    assert facts_of("lead-late", "campaign_accepted") == {"campaign_accepted": False}
    reply("lead-late", {"status": "Rejected", "campaign": {"id": 565, "name": "Solar"}})
    persist_replies(engine, rules)
    assert facts_of("lead-late", "campaign_accepted") == {"campaign_accepted": None}
    assert [page.changes for page in replay(engine, Chosen(), rules, dry_run=False)] == [()]


def test_a_buyer_told_by_name_and_later_by_id_is_one_row(
    engine: Engine, reply: Reply, facts_of: FactsOf, sql: Sql
) -> None:
    for buyer in ({"name": "Acme"}, {"id": 12, "name": "Acme"}, {"id": 12}):
        row = {**buyer, "status": "Sold", "revenue": "10"}
        delivery = {"name": "API", "status": "Sold"} | ({"id": 40} if "id" in buyer else {})
        response = {"leadId": 7, "buyers": [row], "deliveries": [delivery]}
        reply("lead-names", {"status": "Approved", "response": response})
        persist_replies(engine)
    assert sql("select buyer_id, name, revenue::int from resolver.buyers") == [("12", "Acme", 10)]
    assert sql("select delivery_id, name, last_seen_at > first_seen_at from resolver.deliveries") == [
        ("40", "API", True)
    ]
    assert float(facts_of("lead-names", "revenue")["revenue"]) == 10
    assert [page.changes for page in replay(engine, Chosen(), dry_run=False)] == [()]


def test_names_of_filled_fields_are_recorded_and_stay(engine: Engine, reply: Reply, sql: Sql) -> None:
    reply("lead-fields", {"status": "Queued", "lead": {"email": "jo@example.com", "Post Code": "TN25", "title": ""}})
    reply("lead-fields", {"status": "Approved"})
    persist_replies(engine)
    assert sql("select fields_present from resolver.outcomes") == [(["email", "postcode"],)]
    reply("lead-fields", {"status": "Approved", "lead": {}})
    persist_replies(engine)
    assert sql("select fields_present from resolver.outcomes") == [([],)]

"""`lead-resolver show`, `list` and `report`: all that is known, and why it is so."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.results import persist_replies
from worker.store.claims import Claim
from worker.store.db import read_clock, transaction
from worker.store.settling import JournalEntry, journal_replies

Sql = Callable[..., list[tuple[Any, ...]]]
Cli = Callable[..., Any]
LEAD = "lead-0000-sold"
SOLD = {
    "queueId": LEAD,
    "status": "Approved",
    "response": {
        "code": 1, "response": "OK", "leadId": 7, "payout": "2.00",
        "campaign": {"id": 565, "name": "Life [cover]"}, "supplier": {"id": 9, "name": "Acme"},
        "buyers": [{"id": 4, "name": "Buyer Four", "status": "Sold", "revenue": "12.50", "currency": "GBP"}],
        "deliveries": [{"id": 70, "name": "D70", "status": "Sold", "buyerId": 4}],
    },
}  # fmt: skip
REPORTED = """account queue_id reference state submitted_at resolved_at seconds_to_resolve campaign_accepted lead_id
    rejection_id result_code result_reason campaign_id campaign_name supplier_id supplier_name sold buyers revenue
    payout currency deliveries deliveries_sold polls failures quarantine_id state_reason"""


@pytest.fixture
def told(engine: Engine, cli: Cli, sql: Sql) -> Cli:
    """One lead sold, one refused, one waiting."""
    refused = {
        "queueId": "lead-0000-refused",
        "status": "Rejected",
        "response": {"code": -8, "response": "HLR rejection"},
    }
    assert cli("track", LEAD, "lead-0000-refused", "lead-0000-waiting").code == 0
    for number, record in enumerate((SOLD, refused)):
        ((lead_id,),) = sql("select id from resolver.leads where queue_id = %s", record["queueId"])
        with transaction(engine) as connection:
            entry = JournalEntry(lead_id, read_clock(connection), 200, json.dumps({"records": [record]}), None)
            journal_replies(connection, Claim(number, 1, ()), [entry])
    persist_replies(engine)
    return cli


def test_show_prints_everything_known(told: Cli) -> None:
    said = told("show", LEAD)
    assert (said.code, said.err) == (0, "")
    for part in ("approved", "Life [cover]", "Buyer Four", "12.50", "D70", "LeadByte says: Approved", "queued"):
        assert part in said.out


def test_what_others_wrote_does_not_steer_the_terminal(told: Cli, sql: Sql) -> None:
    sql("update resolver.leads set reference = E'ref\\x1b[2J', state_reason = E'why\\x1b[2J\\u009b2J'")
    sql(r"update resolver.buyers set name = E'\x1b]0;title\x07'")
    for said in (told("show", LEAD), told("list")):
        assert all(character.isprintable() or character == "\n" for character in said.out)


def test_show_as_json_has_every_column_and_everything_beneath(told: Cli) -> None:
    lead = told("show", LEAD, "--json").document
    assert set(REPORTED.split()) | {"why", "events", "replies"} <= lead.keys()
    assert lead["revenue"] == "12.50"
    assert [buyer["buyer_name"] for buyer in lead["buyers"]] == ["Buyer Four"]
    assert [delivery["status"] for delivery in lead["deliveries"]] == ["Sold"]
    assert [event["to_state"] for event in lead["events"]] == ["queued", "approved"]
    assert [reply["persisted"] for reply in lead["replies"]] == ["persisted"]


def test_show_names_the_reply_behind_each_fact(told: Cli) -> None:
    lead = told("show", LEAD, "--json").document
    (reply,) = lead["replies"]
    for fact in ("campaign_accepted", "campaign_name", "sold", "revenue", "payout", "buyer 4", "delivery 70"):
        explained = lead["explained"][fact]
        assert (explained["reply"], explained["said"]) == (reply["id"], "LeadByte says: Approved")
        assert explained["received_at"] == reply["received_at"]
    assert lead["explained"]["revenue"]["value"] == lead["revenue"]
    assert "row_id" not in lead
    assert told("show", "lead-0000-waiting", "--json").document["explained"] == {}


def test_show_prints_the_reply_behind_each_fact_or_that_it_is_no_longer_kept(told: Cli, sql: Sql) -> None:
    (line,) = [line for line in told("show", LEAD).out.splitlines() if line.strip().startswith("revenue")]
    ((reply,),) = sql("select r.id from resolver.replies r join resolver.leads l on l.id = lead_id"
                      " where queue_id = %s", LEAD)  # fmt: skip
    assert line.split()[:4] == ["revenue", "12.50", "reply", f"{reply},"]
    sql("delete from resolver.replies")
    (line,) = [line for line in told("show", LEAD).out.splitlines() if line.strip().startswith("revenue")]
    assert line.split(maxsplit=2)[2].strip() == "from a reply no longer kept"


def test_show_says_when_a_final_lead_is_looked_at_again(told: Cli, sql: Sql) -> None:
    assert "looked at again" not in told("show", LEAD).out
    sql("insert into resolver.rechecks select id, account_id, now() + interval '20 h', now() + interval '3 days'"
        " from resolver.leads where queue_id = %s", LEAD)  # fmt: skip
    assert "It is looked at again in 20 h, and so on until " in " ".join(told("show", LEAD).out.split())


def test_a_recheck_shows_nobody_as_overdue(told: Cli, sql: Sql) -> None:
    sql("insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at, is_recheck)"
        " select id, account_id, queue_id, now(), now() - interval '1 h', true"
        " from resolver.leads where queue_id = %s", LEAD)  # fmt: skip
    assert told("list", "--overdue", "--json").document == []
    assert told("list", "--state", "approved", "--json").document[0]["next_poll_at"] is None
    assert told("show", LEAD, "--json").document["watched"] is False


def test_blocks_nobody_told_are_null_in_json(told: Cli) -> None:
    lead = told("show", "lead-0000-waiting", "--json").document
    assert (lead["buyers"], lead["deliveries"], lead["sold"]) == (None, None, None)


@pytest.mark.parametrize("queue_id", ["lead-nobody-knows", "../x", "", "x" * 5000])
def test_an_unknown_lead_is_not_found(cli: Cli, queue_id: str) -> None:
    said = cli("show", queue_id)
    assert said.code == 4
    assert "never recorded here" in said.complaint


def test_a_lead_of_two_accounts_needs_one_named(cli: Cli) -> None:
    for account in ("acme", "other"):
        cli("track", LEAD, "--account", account)
    said = cli("show", LEAD)
    assert said.code == 2
    assert "--account" in said.complaint
    assert cli("show", LEAD, "--account", "other", "--json").document["account"] == "other"


WAITING = "where lead_id = (select id from resolver.leads where queue_id = 'lead-0000-waiting')"
REASON = "update resolver.leads set state_reason"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ("select 1", "Not asked yet. Next poll in "),
        (f"update resolver.watches set next_poll_at = now() - interval '90 s' {WAITING}", "Due for 90 s"),
        (f"update resolver.watches set claim_id = 1, lease_until = now() {WAITING}", "being asked about right now"),
        (
            f"update resolver.watches set last_poll_at = now(), last_note = 'HTTP 500', failure_streak = 3 {WAITING}",
            "HTTP 500, failure number 3 in a row",
        ),
        (
            "update resolver.accounts set paused_until = '9999-12-31', pause_kind = 'key', pause_reason = 'holiday'",
            "paused until resumed: holiday",
        ),
        (
            f"update resolver.watches set next_poll_at = null {WAITING}; {REASON} = 'parked: cut short'",
            "Nothing is scheduled: parked: cut short",
        ),
        (
            f"delete from resolver.watches {WAITING}; {REASON} = 'not told', state = 'abandoned', resolved_at = null",
            "We stopped asking: not told",
        ),
    ],
    ids=["scheduled", "due", "leased", "failing", "paused", "parked", "abandoned"],
)
def test_show_says_why_a_lead_is_where_it_is(told: Cli, sql: Sql, change: str, why: str) -> None:
    sql(change)
    assert why in told("show", "lead-0000-waiting", "--json").document["why"]


def test_show_says_by_what_a_lead_is_final(told: Cli) -> None:
    why = told("show", "lead-0000-refused", "--json").document["why"]
    assert why.startswith("Rejected")
    assert "HLR rejection" in why


@pytest.mark.parametrize(
    ("options", "found"),
    [
        ([], {"sold", "refused", "waiting"}),
        (["--state", "approved"], {"sold"}),
        (["--state", "quarantined"], set()),
        (["--campaign", "565"], {"sold"}),
        (["--campaign", "Life [cover]"], {"sold"}),
        (["--campaign", "LIFE [COVER]"], {"sold"}),
        (["--account", "acme"], {"sold", "refused", "waiting"}),
        (["--account", "other"], set()),
        (["--overdue"], {"waiting"}),
    ],
)
def test_list_shows_the_leads_asked_for(told: Cli, sql: Sql, options: list[str], found: set[str]) -> None:
    sql("update resolver.watches set next_poll_at = now() - interval '1 min'")
    leads = told("list", *options, "--json").document
    assert {lead["queue_id"].removeprefix("lead-0000-") for lead in leads} == found
    assert told("list", *options).code == 0


def test_list_shows_no_more_than_its_limit_and_says_so(told: Cli) -> None:
    assert len(told("list", "--limit", "2", "--json").document) == 2
    assert "--limit shows more" in told("list", "--limit", "2").out


def test_list_says_that_an_account_is_paused_and_until_when(told: Cli, sql: Sql) -> None:
    told("pause", "acme", "--reason", "holiday")
    assert "account acme is paused until resumed: holiday" in told("list").out
    sql("update resolver.accounts set paused_until = current_date + 1 + time '12:00' at time zone 'UTC'")
    assert "account acme is paused until 12:00:00 UTC: holiday" in told("list").out
    sql("update resolver.accounts set paused_until = clock_timestamp() - interval '1 second'")
    assert "is paused" not in told("list").out


@pytest.mark.parametrize(("by", "key"), [("campaign", "Life [cover]"), ("supplier", "Acme"), ("buyer", "Buyer Four")])
def test_a_report_is_grouped_as_asked(told: Cli, by: str, key: str) -> None:
    document = told("report", "--by", by, "--json").document
    (row,) = [row for row in document[by] if row[by] == key]
    assert (row["sold"], row["revenue"]) == (1, "12.50")
    assert document["refusals"] == [
        {"campaign": "(not told)", "result_code": -8, "result_reason": "HLR rejection", "refused": 1}
    ]
    assert document["deliveries"] == [{"status": "Sold", "reason": None, "deliveries": 1}]
    said = told("report", "--by", by)
    assert (said.code, said.err) == (0, "")
    assert "HLR rejection" in said.out


def test_a_report_by_day_counts_days_of_utc_with_both_ends_included(told: Cli, sql: Sql) -> None:
    sql("update resolver.leads set submitted_at = '2026-03-01T23:59:59Z' where queue_id = %s", LEAD)
    sql("update resolver.leads set submitted_at = '2026-03-02T00:00:00Z' where queue_id <> %s", LEAD)
    rows = told("report", "--by", "day", "--json").document["day"]
    assert [(row["day"], row["submitted"]) for row in rows] == [("2026-03-01", 1), ("2026-03-02", 2)]
    only = told("report", "--by", "day", "--from", "2026-03-02", "--to", "2026-03-02", "--json").document["day"]
    assert [row["submitted"] for row in only] == [2]
    assert told("report", "--to", "2026-02-28", "--json").document["campaign"] == []


def test_an_empty_report_is_no_error(cli: Cli) -> None:
    for by in ("campaign", "buyer", "supplier", "day"):
        assert cli("report", "--by", by).code == 0


@pytest.mark.parametrize(
    "options", [["--from", "2026-03-02", "--to", "2026-03-01"], ["--from", "yesterday"], ["--by", "moon"]]
)
def test_a_report_about_no_period_or_grouping_is_refused(cli: Cli, options: list[str]) -> None:
    said = cli("report", *options)
    assert said.code == 2
    assert said.complaint

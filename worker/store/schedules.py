"""What learning keeps in Postgres: ended watches not yet taken in, fading histograms, and the schedules in force."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, text

from worker.domain.learning.histogram import FINENESS, Histogram, Seen, bound_bin
from worker.domain.learning.schedule import Plan
from worker.domain.learning.survival import OpenLeads

WHOLE_ACCOUNT = ""  # in place of a campaign
Whose = tuple[int, str]  # account and campaign
MOST_TAKEN = 50_000
PROBES = 1_000


@dataclass(frozen=True, slots=True)
class StoredSchedule:
    """A schedule in force; `campaign_id` is WHOLE_ACCOUNT where it is the account's."""

    account: str
    campaign_id: str
    version: int
    computed_at: datetime
    leads: float
    price_seconds: float
    ages: Sequence[float]
    expected_polls: float
    expected_wait_seconds: float


_TAKE = text("""
    delete from resolver.resolutions where id = any(array(
        select id from resolver.resolutions order by id limit :most for update skip locked
    )) returning account_id, campaign_id, open_age, resolved_age
""")
_READ_HISTOGRAM = text("""
    select resolved, gave_up from resolver.histograms
    where account_id = :account and campaign_id = :campaign for update
""")
_SAVE_HISTOGRAM = text("""
    insert into resolver.histograms (account_id, campaign_id, observed_at, resolved, gave_up)
    values (:account, :campaign, :now, cast(:resolved as jsonb), cast(:gave_up as jsonb))
    on conflict (account_id, campaign_id) do update
    set observed_at = excluded.observed_at, resolved = excluded.resolved, gave_up = excluded.gave_up
""")
# The last answer said "not yet" unless it was a failure. A lead that is looked at again after its verdict resolved long
# ago.
_COUNT_OPEN = text("""
    with watched as (
        select watched_since, case when failure_streak = 0 then last_poll_at else open_until end as open_until
        from resolver.watches where account_id = :account and next_poll_at is not null and not is_recheck
    )
    select floor(:fineness * sqrt(extract(epoch from open_until - watched_since)))::int as bin,
        count(*) as leads, avg(extract(epoch from :now - watched_since)) as ago
    from watched where open_until >= watched_since group by 1
""")
# From the account's eldest open lead on, by looking at a thousand of the ids since: to count a week's leads, every few
# minutes for each account, would cost more than all the rest.
_RATE = text("""
    with span as (
        select l.id as first, (select max(id) from resolver.leads) as last, l.tracked_at
        from resolver.leads l where l.id = (select min(lead_id) from resolver.watches where account_id = :account)
    ), probes as (
        select first + n * (last - first) / :probes as id from span, generate_series(1, :probes) n
    )
    select (select count(*) from probes join resolver.leads l using (id) where l.account_id = :account)
        * (last - first)::double precision / :probes
        / greatest(extract(epoch from :now - tracked_at), :least_seconds) as a_second
    from span
""")
_COUNT_DAY = text("""
    select count(*) from resolver.leads
    where account_id = :account and submitted_at > cast(:now as timestamptz) - interval '1 day'
""")
_SAVE_SCHEDULE = text("""
    insert into resolver.schedules as s (account_id, campaign_id, version, computed_at, leads, price_seconds, ages,
        expected_polls, expected_wait_seconds)
    values (:account, :campaign, 1, :now, :leads, :price, :ages, :polls, :wait)
    on conflict (account_id, campaign_id) do update
    set version = s.version + 1, computed_at = excluded.computed_at, leads = excluded.leads,
        price_seconds = excluded.price_seconds, ages = excluded.ages, expected_polls = excluded.expected_polls,
        expected_wait_seconds = excluded.expected_wait_seconds
    returning version
""")
_READ_SCHEDULES = text("""
    select a.name as account, s.campaign_id, s.version, s.computed_at, s.leads, s.price_seconds, s.ages,
        s.expected_polls, s.expected_wait_seconds
    from resolver.schedules s join resolver.accounts a on a.id = s.account_id
    where s.leads >= :fewest order by a.name, s.campaign_id
""")
_LIST_SCHEDULED = text("select account_id, campaign_id from resolver.schedules")
_NAME_ACCOUNTS = text("select id, name from resolver.accounts")


def take_resolutions(connection: Connection) -> dict[Whose, list[Seen]]:
    """What ended since last time, for each account and for each campaign that was told; taken for good if committed."""
    taken: dict[Whose, list[Seen]] = {}
    for row in connection.execute(_TAKE, {"most": MOST_TAKEN}):
        seen = Seen(row.open_age, row.resolved_age)
        for campaign in {WHOLE_ACCOUNT, row.campaign_id or WHOLE_ACCOUNT}:
            taken.setdefault((row.account_id, campaign), []).append(seen)
    return taken


def read_histogram(connection: Connection, whose: Whose) -> Histogram:
    """What is remembered, locked; empty where there is nothing yet."""
    row = connection.execute(_READ_HISTOGRAM, _key(whose)).one_or_none()
    return Histogram() if row is None else Histogram(_read_bins(row.resolved), _read_bins(row.gave_up))


def save_histogram(connection: Connection, whose: Whose, histogram: Histogram, now: datetime) -> None:
    """Remember it."""
    bins = {"resolved": json.dumps(histogram.resolved), "gave_up": json.dumps(histogram.gave_up)}
    connection.execute(_SAVE_HISTOGRAM, {**_key(whose), "now": now, **bins})


def list_open(connection: Connection, account_id: int, now: datetime) -> list[OpenLeads]:
    """The account's open leads that were asked about, by bins of the histogram."""
    rows = connection.execute(_COUNT_OPEN, {"account": account_id, "now": now, "fineness": FINENESS})
    return [OpenLeads(row.leads, bound_bin(row.bin)[0], float(row.ago)) for row in rows]


def find_rate(connection: Connection, account_id: int, now: datetime, least_seconds: float) -> float:
    """How many leads of the account come a second, over all the time that its eldest open lead has been here.

    As if that were `least_seconds` where it is less: an import alone says nothing of the long run.
    """
    values = {"account": account_id, "now": now, "probes": PROBES, "least_seconds": least_seconds}
    return float(connection.execute(_RATE, values).scalar() or 0.0)


def count_leads_of_a_day(connection: Connection, account_id: int, now: datetime) -> int:
    """How many leads the account submitted within the last day."""
    count: int = connection.execute(_COUNT_DAY, {"account": account_id, "now": now}).scalar_one()
    return count


def save_schedule(connection: Connection, whose: Whose, plan: Plan, leads: float, now: datetime) -> int:
    """Put the plan into force; returns its version."""
    values = {"now": now, "leads": round(leads, 1), "price": plan.price, "ages": list(plan.ages)}
    cost = {"polls": plan.cost.polls, "wait": plan.cost.wait_seconds}
    version: int = connection.execute(_SAVE_SCHEDULE, {**_key(whose), **values, **cost}).scalar_one()
    return version


def read_schedules(connection: Connection, fewest_leads: float) -> list[StoredSchedule]:
    """All schedules that were learned from at least so many leads."""
    return [StoredSchedule(**row) for row in connection.execute(_READ_SCHEDULES, {"fewest": fewest_leads}).mappings()]


def list_scheduled(connection: Connection) -> set[Whose]:
    """Who has a schedule, from however few leads."""
    return {(row.account_id, row.campaign_id) for row in connection.execute(_LIST_SCHEDULED)}


def name_accounts(connection: Connection) -> dict[int, str]:
    """The accounts' names by their ids."""
    return {row.id: row.name for row in connection.execute(_NAME_ACCOUNTS)}


def _key(whose: Whose) -> dict[str, object]:
    return {"account": whose[0], "campaign": whose[1]}


def _read_bins(stored: Mapping[str, float]) -> dict[int, float]:
    return {int(number): weight for number, weight in stored.items()}

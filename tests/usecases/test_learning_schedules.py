"""Learning: what ended is taken in once; schedules come into force for all workers, the default holds until then."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from worker.accounts import Account
from worker.domain.backoff import LadderSchedule
from worker.domain.learning.bounds import Bounds
from worker.domain.learning.distribution import cost_ages
from worker.domain.learning.estimate import Observed, estimate
from worker.domain.learning.schedule import LearnedSchedule, make_plan
from worker.learning import Learning, read_learned, recompute_schedules
from worker.results import persist_replies
from worker.schedule_book import EXPLORED, ScheduleBook
from worker.store.db import read_clock, transaction
from worker.store.schedules import find_rate

Sql = Callable[..., list[tuple[Any, ...]]]
WEEK = 7 * 86_400.0
HOUR = timedelta(hours=1)
SETTINGS = Learning(price=5.0, bounds=Bounds(), deadline=WEEK, half_life_leads=5_000)


@pytest.fixture
def account_id(sql: Sql) -> int:
    ((made,),) = sql("insert into resolver.accounts (name) values ('acme') returning id")
    return int(made)


@pytest.fixture
def observe(sql: Sql, account_id: int) -> Callable[..., None]:
    """Watches that ended at these ages, to within a second."""

    def note(ages: Iterable[float], campaign: str | None = None) -> None:
        rows = [(age, age + 1) for age in ages]
        sql(
            "insert into resolver.resolutions (account_id, campaign_id, open_age, resolved_age)"
            " select %s, %s, * from unnest(%s::real[], %s::real[])",
            account_id, campaign, [low for low, _ in rows], [high for _, high in rows],
        )  # fmt: skip

    return note


def draw(median: float, count: int, seed: int) -> list[float]:
    chance = random.Random(seed)
    return [median * chance.lognormvariate(0, 0.4) for _ in range(count)]


def choose(engine: Engine, campaign: str | None = None, **options: Any) -> Any:
    return ScheduleBook(engine, HOUR, **options).choose_schedule("acme", campaign, lead_id=1)


def cost_in_force(engine: Engine, truth: list[float]) -> float:
    """What the schedule in force costs leads such as these, in seconds a lead."""
    (learned,) = (each for each in read_learned(engine, "acme", SETTINGS) if not each.schedule.campaign_id)
    return cost_ages(estimate([Observed(age, age) for age in truth], 0, WEEK), learned.schedule.ages).at_price(5)


def test_the_default_holds_until_enough_is_learned(engine: Engine, observe: Callable[..., None]) -> None:
    assert isinstance(choose(engine), LadderSchedule)
    observe(draw(60, 20, seed=1))
    recompute_schedules(engine, SETTINGS, {})
    assert choose(engine).name == "the default schedule"


def test_a_schedule_is_learned_once_and_read_by_everybody(engine: Engine, observe: Callable[..., None]) -> None:
    observe(draw(60, 500, seed=1))
    assert recompute_schedules(engine, SETTINGS, {}) == 1
    assert recompute_schedules(engine, SETTINGS, {}) == 0
    first, second = choose(engine), choose(engine)
    assert first == second
    assert isinstance(first, LearnedSchedule)
    assert first.name == "schedule 1 of account acme"
    assert first.ages[-1] == timedelta(seconds=WEEK)
    observe(draw(60, 10, seed=2))
    recompute_schedules(engine, SETTINGS, {})
    assert choose(engine).name == "schedule 2 of account acme"


def test_a_campaign_has_a_schedule_of_its_own_and_falls_back_to_the_accounts(
    engine: Engine, observe: Callable[..., None]
) -> None:
    observe(draw(3000, 300, seed=1), campaign="slow")
    observe(draw(10, 300, seed=2), campaign="fast")
    observe(draw(10, 10, seed=3), campaign="new")
    recompute_schedules(engine, SETTINGS, {})
    assert choose(engine, "slow").name == "schedule 1 of campaign slow"
    assert choose(engine, "slow").ages[0] > timedelta(minutes=10) > choose(engine, "fast").ages[0]
    assert choose(engine, "new").name == choose(engine, "never seen").name == "schedule 1 of account acme"


def test_some_leads_go_by_the_default_for_good_so_that_a_change_is_noticed(
    engine: Engine, observe: Callable[..., None]
) -> None:
    observe(draw(60, 500, seed=1))
    recompute_schedules(engine, SETTINGS, {})
    book = ScheduleBook(engine, HOUR)
    chosen = [book.choose_schedule("acme", None, lead_id) for lead_id in range(200)]
    assert sum(isinstance(schedule, LadderSchedule) for schedule in chosen) == 200 / EXPLORED


def test_switched_off_nothing_is_learned_and_nothing_piles_up(
    engine: Engine, observe: Callable[..., None], sql: Sql
) -> None:
    observe(draw(60, 500, seed=1))
    assert recompute_schedules(engine, Learning(5.0, Bounds(), WEEK, 5_000, is_used=False), {}) == 0
    assert sql("select count(*) from resolver.resolutions") == [(0,)]
    assert isinstance(choose(engine, is_used=False), LadderSchedule)


def test_a_change_is_followed_within_two_recomputations(engine: Engine, observe: Callable[..., None]) -> None:
    observe(draw(20, 4000, seed=1))
    recompute_schedules(engine, SETTINGS, {})
    truth = draw(600, 4000, seed=2)
    for seed in (3, 4):
        observe(draw(600, 300, seed=seed))
        recompute_schedules(engine, SETTINGS, {})
    observed_cost = cost_in_force(engine, truth)
    best = estimate([Observed(age, age) for age in truth], 0, WEEK)
    assert observed_cost < 1.1 * make_plan(best, 5).cost.at_price(5)


def test_a_schedule_that_too_few_leads_contradict_gives_way_to_the_default(
    engine: Engine, observe: Callable[..., None]
) -> None:
    observe(draw(20, 4000, seed=1))
    recompute_schedules(engine, SETTINGS, {})
    assert isinstance(choose(engine), LearnedSchedule)
    observe(draw(6000, 15, seed=2))
    recompute_schedules(engine, SETTINGS, {})
    assert isinstance(choose(engine), LadderSchedule)
    observe(draw(6000, 60, seed=3))
    recompute_schedules(engine, SETTINGS, {})
    assert choose(engine).name == "schedule 3 of account acme"


@pytest.mark.parametrize(("a_second", "a_day"), [(0.05, None), (5.0, 4320)])
def test_where_the_budget_is_short_a_poll_becomes_dearer(
    a_second: float, a_day: int | None, engine: Engine, observe: Callable[..., None], sql: Sql, account_id: int
) -> None:
    observe(draw(600, 1000, seed=1))
    sql(
        "insert into resolver.leads (account_id, queue_id)"
        " select %s, 'lead-' || n from generate_series(10000, 10999) n", account_id,
    )  # fmt: skip
    account = Account("acme", "https://x", "query", a_second, concurrency=1, requests_per_day=a_day)
    recompute_schedules(engine, SETTINGS, {"acme": account})
    (learned,) = read_learned(engine, "acme", SETTINGS)
    assert learned.schedule.price_seconds > 5
    assert learned.schedule.expected_polls * 1000 <= 4320 / 2


@pytest.fixture
def watch(sql: Sql, account_id: int) -> Callable[..., None]:
    """Leads that have been watched for two hours, in the order of their numbers."""

    def begin(numbers: range, last_poll: str | None, values: str = "0, false") -> None:
        sql("insert into resolver.leads (account_id, queue_id) select %s, 'lead-' || unnest(%s::int[])",
            account_id, [10_000 + number for number in numbers])  # fmt: skip
        sql("insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at, last_poll_at,"
            " failure_streak, is_recheck) select id, account_id, queue_id, now() - interval '2 hours', now(),"
            f" now() - %s::interval, {values} from resolver.leads on conflict do nothing", last_poll)  # fmt: skip

    return begin


def learn_share(engine: Engine, age: float) -> float:
    """The share that has resolved by this age, as it is known now."""
    recompute_schedules(engine, SETTINGS, {})
    (learned,) = read_learned(engine, "acme", SETTINGS)
    return learned.times.look_up(age)[0]


def test_open_leads_weigh_against_the_hasty_ones_that_resolved_first(
    engine: Engine, observe: Callable[..., None], watch: Callable[..., None]
) -> None:
    observe(draw(5, 200, seed=1))
    watch(range(200), last_poll="10 minutes")
    assert learn_share(engine, 3600) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("last_poll", "values"),
    [(None, "0, false"), ("10 minutes", "1, false"), ("10 minutes", "0, true"), ("3 hours", "0, false")],
    ids=["never asked", "asked in vain", "final and asked about again", "not asked since it was taken up again"],
)
def test_only_leads_that_said_not_yet_are_known_to_be_open(
    last_poll: str | None, values: str, engine: Engine, observe: Callable[..., None], watch: Callable[..., None]
) -> None:
    observe(draw(5, 200, seed=1))
    watch(range(200), last_poll, values)
    assert learn_share(engine, 3600) > 0.99


def test_a_lead_is_known_to_have_been_open_only_until_it_was_last_asked_about(
    engine: Engine, observe: Callable[..., None], watch: Callable[..., None]
) -> None:
    observe(draw(1000, 200, seed=1))
    watch(range(200), last_poll="119 minutes")  # at the age of a minute, before any of the others resolved
    assert learn_share(engine, 7200) > 0.99


def test_open_leads_fade_at_the_rate_at_which_leads_come_in_the_long_run(
    engine: Engine, observe: Callable[..., None], watch: Callable[..., None], account_id: int, sql: Sql
) -> None:
    observe(draw(5, 200, seed=1))
    watch(range(200), last_poll="10 minutes")
    sql("update resolver.leads set tracked_at = now() - interval '14 days'")
    sql("update resolver.watches set watched_since = now() - interval '7 days', last_poll_at = now()")
    sql("insert into resolver.accounts (name) values ('other')")
    sql("insert into resolver.leads (account_id, queue_id) select %s + n %% 2, 'later-' || 10000 + n"
        " from generate_series(1, 20000) n", account_id)  # fmt: skip
    # Half of them are the account's: a week of 14 has seen as many leads as a half-life has.
    assert learn_share(engine, 3600) == pytest.approx(1 / 1.5, abs=0.02)


def test_an_import_is_no_rate_at_which_leads_come(
    engine: Engine, observe: Callable[..., None], watch: Callable[..., None]
) -> None:
    observe(draw(5, 200, seed=1))
    watch(range(5000), last_poll="119 minutes")  # all at once, and asked about a minute later
    with transaction(engine) as connection:
        rate = find_rate(connection, 1, read_clock(connection), WEEK)
    assert rate == pytest.approx(5000 / WEEK, rel=0.05)


def test_a_campaigns_leads_never_resolve_as_often_as_its_accounts_until_it_knows_better(
    engine: Engine, observe: Callable[..., None], watch: Callable[..., None]
) -> None:
    observe(draw(5, 200, seed=1), campaign="new")
    watch(range(200), last_poll="10 minutes")
    recompute_schedules(engine, SETTINGS, {})
    learned = {each.schedule.campaign_id: each for each in read_learned(engine, "acme", SETTINGS)}
    assert learned["new"].times.resolving == pytest.approx(0.5, abs=0.02)
    # Every age is paid for by all that never resolve.
    assert len(learned["new"].schedule.ages) == pytest.approx(len(learned[""].schedule.ages), abs=5)


def test_a_verdict_with_a_stamp_tells_its_age_to_the_second(
    lead_of: Callable[[str], int], reply: Callable[..., None], engine: Engine, sql: Sql
) -> None:
    lead_id = lead_of("lead-with-stamp")
    sql("update resolver.watches set watched_since = '2026-03-01 11:59:00.5+00', polls = 1 where lead_id = %s", lead_id)
    response = {"code": 1, "leadId": 7, "payout": "2.00"}
    record = {"status": "Approved", "processed": "2026-03-01T11:59:40Z", "response": response, "campaign": {"id": 6}}
    reply("lead-with-stamp", record)
    persist_replies(engine)
    assert sql("select campaign_id, open_age, resolved_age from resolver.resolutions") == [("6", 39.5, 40.5)]


def test_a_verdict_without_a_stamp_lies_between_the_last_not_yet_and_the_answer(
    lead_of: Callable[[str], int], reply: Callable[..., None], engine: Engine, sql: Sql
) -> None:
    lead_id = lead_of("lead-without-stamp")
    sql(
        "update resolver.watches set watched_since = '2026-03-01 11:59:01+00', polls = 3,"
        " open_until = '2026-03-01 11:59:31+00' where lead_id = %s", lead_id,
    )  # fmt: skip
    reply("lead-without-stamp", {"status": "Rejected", "response": {"code": -5, "leadId": None}})
    persist_replies(engine)
    assert sql("select campaign_id, open_age, resolved_age from resolver.resolutions") == [(None, 30, 60)]


def test_a_lead_tracked_after_it_resolved_says_nothing(
    lead_of: Callable[[str], int], reply: Callable[..., None], engine: Engine, sql: Sql
) -> None:
    lead_id = lead_of("lead-tracked-late")
    sql("update resolver.watches set polls = 1 where lead_id = %s", lead_id)
    reply("lead-tracked-late", {"status": "Approved", "processed": "2026-03-01T09:00:00Z",
                                "response": {"code": 1, "leadId": 7, "payout": "2.00"}})  # fmt: skip
    persist_replies(engine)
    assert sql("select state from resolver.leads") == [("approved",)]
    assert sql("select count(*) from resolver.resolutions") == [(0,)]

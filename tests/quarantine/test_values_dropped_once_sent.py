"""Field values are in the database while they still have to be sent, and nowhere in it from then on."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from tests.quarantine.held_stage import DUE, FOLLOW, Sql, Stage
from worker.domain.answers import Answer, Asked, NoAnswer, Silence
from worker.errors import LeadResolverError, UsageError
from worker.following import follow_up
from worker.leadbyte.acting import ActingClient
from worker.quarantine import resolve
from worker.sending import send_next
from worker.store.migrate import find_migrations

LEAD = "sandbox-quarantined-0001"
SECRET = "Planted-77"
FIELDS = {"firstname": SECRET, "postcode": f"{SECRET} 6QD"}
ANEW = {"firstname": f"{SECRET} anew", "postcode": f"{SECRET} 7QD"}
_TABLES = """
    select format('%I.%I', table_schema, table_name) from information_schema.tables
    where table_type = 'BASE TABLE' and table_schema not in ('pg_catalog', 'information_schema')
"""


def find_values(sql: Sql) -> list[str]:
    """The tables of the whole database in which a value stands, in whatever column."""
    tables = [name for (name,) in sql(_TABLES)]
    assert "resolver.action_fields" in tables
    return [name for name in tables if sql(f"select 1 from {name} t where t::text like %s limit 1", f"%{SECRET}%")]


class Died(BaseException):
    """The worker is gone."""


class Interrupted(ActingClient):
    """Sends, has something happen before the answer is looked at, and may have it be another answer."""

    def __init__(self, meanwhile: Callable[[], object], instead: Asked | None = None) -> None:
        super().__init__(5.0)
        self._meanwhile, self._instead = meanwhile, instead

    def put_leads(self, *args: Any, **kwargs: Any) -> Asked:
        asked = self._instead or super().put_leads(*args, **kwargs)
        self._meanwhile()
        return asked


def die() -> None:
    raise Died


def expire(stage: Stage) -> None:
    stage.sql(f"update resolver.actions set next_try_at = {DUE}")
    follow_up(stage.engine, settle=stage.settle, follow=FOLLOW)
    assert stage.states() == ["unsure"]


def make_unsure(stage: Stage, action: str = "update", fault: str = "lostreply") -> None:
    stage.hold(LEAD)
    stage.box.script("@update", fault, 1)
    stage.ask(action, LEAD, fields=FIELDS)
    assert find_values(stage.sql) == ["resolver.action_fields"]
    assert stage.send() == {"unsure": 1}


@pytest.mark.parametrize("action", ["update", "release", "reject"])
@pytest.mark.parametrize("fault", ["lostrequest", "lostreply", "cut-at60", "cuthead", "502"])
def test_after_a_cut_connection_no_value_stands_anywhere(stage: Stage, action: str, fault: str) -> None:
    make_unsure(stage, action, fault)
    assert find_values(stage.sql) == []
    stage.effects()
    stage.poll()
    stage.look()
    assert find_values(stage.sql) == []


def test_values_of_a_sender_that_died_go_when_its_lease_has_run_out(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields=FIELDS)
    with pytest.raises(Died):
        send_next(replace(stage.sender, client=Interrupted(die)), stage.account)
    assert stage.states() == ["sent"]
    expire(stage)
    assert find_values(stage.sql) == []


@pytest.mark.parametrize("state", ["unsure", "acknowledged", "confirmed", "refused"])
def test_whoever_writes_that_an_action_is_past_its_sending_drops_its_values(stage: Stage, state: str) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields=FIELDS)
    stage.sql("update resolver.actions set state = 'sent'")
    assert find_values(stage.sql) == ["resolver.action_fields"]
    stage.sql(
        "update resolver.actions set state = %(state)s,"
        " concluded_at = case when %(state)s in ('confirmed', 'refused') then now() end".replace(
            "%(state)s", f"'{state}'"
        )
    )
    assert find_values(stage.sql) == []


@pytest.mark.parametrize("fault", ["429", "403"])
def test_what_was_not_taken_keeps_its_values_and_is_sent_with_them(stage: Stage, fault: str) -> None:
    stage.hold(LEAD, "sandbox-quarantined-0002")
    stage.box.script("@update", fault, 1)
    stage.ask("update", LEAD, "sandbox-quarantined-0002", fields=FIELDS)
    assert stage.send()["requested"]
    assert find_values(stage.sql) == ["resolver.action_fields"]
    stage.sql("update resolver.accounts set paused_until = now() - interval '1 s' where paused_until is not null")
    stage.sql("update resolver.action_parks set probe_at = now() - interval '1 s'")
    stage.sql(f"update resolver.actions set next_try_at = {DUE} where state = 'requested'")
    assert stage.send()["confirmed"]
    assert {tuple(effect["fields"]) for effect in stage.box.actions()} == {tuple(FIELDS)}
    assert find_values(stage.sql) == []


def test_what_got_no_connection_keeps_its_values(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD, fields=FIELDS)
    assert send_next(stage.sender, replace(stage.account, base_url="http://127.0.0.1:1/x")) == {"requested": 1}
    assert find_values(stage.sql) == ["resolver.action_fields"]


@pytest.mark.parametrize("instead", [NoAnswer(Silence.UNSENT), Answer(429, b"", None)])
def test_values_are_back_when_it_turns_out_after_the_lease_that_nothing_was_taken(stage: Stage, instead: Asked) -> None:
    stage.hold(LEAD)
    stage.ask("update", LEAD, fields=FIELDS)
    late = Interrupted(lambda: expire(stage), instead)
    assert send_next(replace(stage.sender, client=late), stage.account) == {"requested": 1}
    stage.sql("update resolver.accounts set paused_until = null, pause_kind = null, pause_reason = null")
    stage.sql(f"update resolver.actions set next_try_at = {DUE}")
    assert stage.send() == {"confirmed": 1}
    assert [effect["fields"] for effect in stage.box.actions()] == [sorted(FIELDS)]


def test_an_action_whose_values_are_missing_is_never_sent_without_them(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD, fields=FIELDS)
    stage.sql("delete from resolver.action_fields")
    with pytest.raises(LeadResolverError, match="the field values of action 1 are gone"):
        stage.send()
    expire(stage)
    assert stage.box.calls()["quarantine_requests"] == {}


def test_a_person_has_it_sent_again_with_its_values_anew(stage: Stage) -> None:
    make_unsure(stage, fault="lostrequest")
    stage.look()
    assert resolve(stage.engine, 1, happened=False, by="kim", fields=ANEW).state == "requested"
    assert stage.sql("select fields from resolver.action_fields") == [(ANEW,)]
    assert stage.send() == {"confirmed": 1}
    assert [effect["fields"] for effect in stage.box.actions()] == [sorted(ANEW)]
    assert find_values(stage.sql) == []


@pytest.mark.parametrize(
    "fields", [None, {}, {"postcode": SECRET}, {**ANEW, "age": SECRET}, {"Firstname": SECRET, "postcode": SECRET}]
)
def test_without_just_its_values_it_is_not_sent_again_and_the_names_are_told(
    stage: Stage, fields: dict[str, Any] | None
) -> None:
    make_unsure(stage)
    stage.look()
    before = stage.rows()
    told = "resolve 1 --resend --set firstname=… --set postcode=…`; nothing was changed"
    with pytest.raises(UsageError, match=re.escape(told)) as raised:
        resolve(stage.engine, 1, happened=False, by="kim", fields=fields)
    assert SECRET not in str(raised.value)
    assert [row | {"age_seconds": 0} for row in stage.rows()] == [row | {"age_seconds": 0} for row in before]
    assert find_values(stage.sql) == []


@pytest.mark.parametrize("value", ["x" * 2001, None, ["x"], "a\x00b", float("nan")])
def test_values_that_nobody_could_ask_for_are_not_sent_again_either(stage: Stage, value: Any) -> None:
    make_unsure(stage)
    with pytest.raises(UsageError) as raised:
        resolve(stage.engine, 1, happened=False, by="kim", fields={**ANEW, "postcode": value})
    assert SECRET not in str(raised.value)
    assert (stage.states(), find_values(stage.sql)) == (["unsure"], [])


@pytest.mark.parametrize("word", [{"happened": True}, {"happened": False, "withdraw": True}])
def test_values_are_only_taken_for_sending_again(stage: Stage, word: dict[str, bool]) -> None:
    make_unsure(stage)
    with pytest.raises(UsageError, match="only for sending it again; nothing was changed"):
        resolve(stage.engine, 1, by="kim", fields=ANEW, **word)
    assert find_values(stage.sql) == []


def test_what_has_no_fields_takes_no_values(stage: Stage) -> None:
    stage.box.script("@process", "lostrequest", 1)
    stage.ask("release", "2932682")
    stage.send()
    with pytest.raises(UsageError, match="action 1 changes no fields"):
        resolve(stage.engine, 1, happened=False, by="kim", fields=ANEW)
    assert resolve(stage.engine, 1, happened=False, by="kim").state == "requested"


def test_a_person_who_has_no_values_any_more_withdraws_it_and_the_way_is_free(stage: Stage) -> None:
    make_unsure(stage, fault="lostrequest")
    stage.look()
    stage.ask("release", LEAD)
    assert stage.send() == {}
    done = resolve(stage.engine, 1, happened=False, by="kim", withdraw=True)
    assert (done.state, done.message) == ("refused", "it did not happen, says kim, and is withdrawn")
    assert stage.send() == {"acknowledged": 1}


def test_what_waits_to_be_sent_is_withdrawn_with_its_values(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.ask("release", LEAD, fields=FIELDS)
    assert resolve(stage.engine, 1, happened=False, by="kim", withdraw=True).state == "refused"
    assert find_values(stage.sql) == []
    assert stage.send() == {}
    with pytest.raises(UsageError, match="action 1 is refused"):
        resolve(stage.engine, 1, happened=False, by="kim", withdraw=True)
    stage.ask("release", LEAD)
    for happened in (True, False):
        with pytest.raises(UsageError, match="action 2 is requested"):
            resolve(stage.engine, 2, by="kim", happened=happened)


def test_an_acknowledged_action_that_was_never_done_is_told_with_the_values_it_needs(stage: Stage) -> None:
    stage.hold(LEAD)
    stage.box.script("@update", "unprocessed", 1)
    stage.ask("release", LEAD, fields=FIELDS)
    assert stage.send() == {"acknowledged": 1}
    stage.poll()
    stage.age(4000)
    stage.look()
    assert (
        "`lead-resolver quarantine resolve 1 --resend --set firstname=… --set postcode=…`"
        in (stage.rows()[0]["message"])
    )


def test_an_update_like_one_that_is_unsure_is_refused_until_a_person_has_spoken(stage: Stage) -> None:
    make_unsure(stage)
    for fields in (FIELDS, ANEW):
        (one,) = stage.ask("update", LEAD, by="lee", fields=fields)
        assert one.outcome == "refused"
        assert one.said.startswith("already requested, perhaps with other values, which are not kept: update by kim at")
        assert "`lead-resolver quarantine resolve 1 --done` or `--resend` with its values" in one.said
    assert stage.ask("update", LEAD, fields={"age": 41})[0].outcome == "requested"
    resolve(stage.engine, 1, happened=True, by="kim")
    assert stage.ask("update", LEAD, fields=ANEW)[0].outcome == "requested"


def test_migrating_deletes_values_of_what_was_sent_long_ago(engine: Engine, sql: Sql) -> None:
    config = Config()
    config.set_main_option("script_location", str(find_migrations()))
    config.attributes["engine"] = engine
    command.downgrade(config, "0011")
    ids = [str(number) for number in range(1, 7)]
    for held in ids:
        sql("select request_quarantine_action('acme', %s, 'update', jsonb_build_object('a', %s::text))", held, SECRET)
    for number, state in enumerate(["requested", "sent", "unsure", "acknowledged", "confirmed", "refused"], 1):
        sql(
            "update resolver.actions set state = %s, concluded_at = case when id > 4 then now() end where id = %s",
            state, number,
        )  # fmt: skip
    command.upgrade(config, "head")
    assert sql("select action_id from resolver.action_fields order by 1") == [(1,), (2,)]

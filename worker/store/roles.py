"""Database roles, as the migrations make them, and what an administrator does where they could not."""

from __future__ import annotations

from collections.abc import Mapping

# What each role is for, and the right to it.
RIGHTS = {
    "lead_reporting": ("usage on schema reporting", "select on all tables in schema reporting"),
    "lead_intake": ("execute on function public.track_lead, public.request_quarantine_action",),
}


def make_role(name: str) -> str:
    """SQL that makes a role without login, if it can be made and is not there.

    Roles belong to the whole server: another database of it may have made this one already, at this very moment; and
    the owner of a hosted database may not be allowed to make roles at all. Neither must stop a deployment; `doctor`
    tells.
    """
    return f"""
        do $$
        begin
            create role {name} nologin;
        exception
            when duplicate_object or unique_violation then null;
            when insufficient_privilege then raise notice 'role {name} was not made: this user may not create roles';
        end
        $$
    """


def grant_to_role(name: str, *grants: str) -> str:
    """SQL that gives the role what it is for (`select on …`), if there is such a role."""
    statements = " ".join(f"grant {grant} to {name};" for grant in grants)
    return f"""
        do $$
        begin
            if exists (select from pg_roles where rolname = '{name}') then {statements} end if;
        end
        $$
    """


def say_missing(rights: Mapping[str, bool]) -> str | None:
    """One line about the roles that do not exist, with the SQL that mends it; `rights` as `store.health` reads them."""
    missing = [name for name in RIGHTS if name not in rights]
    if not missing:
        return None
    statements = (
        statement
        for name in missing
        for statement in (f"create role {name} nologin", *(f"grant {right} to {name}" for right in RIGHTS[name]))
    )
    return f"could not make {' and '.join(missing)}: have an administrator run `{'; '.join(statements)}`"

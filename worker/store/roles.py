"""Database roles, as the migrations make them."""

from __future__ import annotations


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

"""What the doctor asks of the database: what the roles may do, which blocks the newest answers had."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, Row, text

# Of a role that is missing there is no row.
_RIGHTS = text("""
    select rolname, case rolname
        when 'lead_intake' then has_function_privilege(oid, 'public.track_lead(text, text, text)', 'execute')
            and has_function_privilege(
                oid, 'public.request_quarantine_action(text, text, text, jsonb, text, text)', 'execute')
        else has_schema_privilege(oid, 'reporting', 'usage') and not exists (
            select from pg_class c
            where c.relnamespace = 'reporting'::regnamespace and c.relkind = 'v'
                and not has_table_privilege(r.oid, c.oid, 'select'))
        end as suffice
    from pg_roles r where rolname in ('lead_reporting', 'lead_intake')
""")

_BLOCKS = text("""
    select a.name, count(*) as n, bool_or(o.buyers_told) as buyers, bool_or(o.deliveries_told) as deliveries,
        bool_or(o.campaign_id is not null or o.campaign_name is not null) as campaign,
        bool_or(o.supplier_id is not null or o.supplier_name is not null) as supplier
    from resolver.accounts a cross join lateral (
        select o.* from resolver.leads l join resolver.outcomes o on o.lead_id = l.id
        where l.account_id = a.id and l.resolved_at is not null order by l.submitted_at desc limit 200
    ) o group by a.name order by a.name
""")


_ACTIONS = text("""
    select a.name,
        count(*) filter (where b.state = 'unsure' and b.next_try_at is null) as waiting,
        count(*) filter (where b.state = 'acknowledged' and b.follow_until is null and b.lead_id is not null) as undone,
        count(*) filter (where b.state = 'requested' and b.requested_at < clock_timestamp() - interval '1 hour')
            as unsent,
        (select string_agg(p.reason, '; ') from resolver.action_parks p where p.account_id = a.id) as parked
    from resolver.accounts a left join resolver.actions b on b.account_id = a.id and b.concluded_at is null
    group by a.id order by a.name
""")


def read_actions(connection: Connection) -> Sequence[Row[tuple[object, ...]]]:
    """By account: actions `waiting` for a person, acknowledged and left `undone`, `unsent` after an hour.

    `parked`: why those wait that need a permission.
    """
    return connection.execute(_ACTIONS).all()


def read_rights(connection: Connection) -> dict[str, bool]:
    """Whether each of our two roles may do what it is for; a role that does not exist is left out."""
    return {row.rolname: row.suffice for row in connection.execute(_RIGHTS)}


def read_blocks(connection: Connection) -> Sequence[Row[tuple[object, ...]]]:
    """By account: which blocks any of its newest `n` answers had (`buyers`, `deliveries`, `campaign`, `supplier`)."""
    return connection.execute(_BLOCKS).all()

"""A database with many leads, most of them final and the newest open, made by SQL alone so that it is quick."""

from __future__ import annotations

import psycopg

from tests.benchmarks.scale.steps import ACCOUNT

# Constraints that point to other tables are not checked while filling: the rows below fulfil them, and at ten million
# the checks would take longer than all the rest.
_UNCHECKED = "set session_replication_role = replica"
_ACCOUNT = "insert into resolver.accounts (name) values (%s) returning id"
_LEADS = """
    insert into resolver.leads (account_id, queue_id, state, resolved_at, tracked_at, submitted_at, polls)
    select %(account)s, 'ac1e0206-' || lpad(to_hex(n), 8, '0') || '-63765b37-0000-' || lpad(to_hex(n), 8, '0'),
        case when n <= %(final)s then 'approved' else 'queued' end,
        case when n <= %(final)s then now() - interval '1 day' end,
        now() - interval '1 day', now() - interval '1 day', case when n <= %(final)s then 2 else 0 end
    from generate_series(1, %(leads)s) n
"""
_FIRST_EVENTS = """
    insert into resolver.lead_events (lead_id, at, to_state, cause)
    select id, tracked_at, 'queued', 'tracked' from resolver.leads
"""
_OF_FINAL = (
    """insert into resolver.replies (lead_id, claim_id, received_at, http_status, body)
        select id, id, resolved_at, 200, '{"status":"Success","records":[]}' from resolver.leads
        where resolved_at is not null order by id""",
    """insert into resolver.lead_events (lead_id, at, from_state, to_state, cause, reply_id)
        select lead_id, received_at, 'queued', 'approved', 'LeadByte says Approved', id from resolver.replies""",
    """insert into resolver.outcomes (lead_id, campaign_accepted, result_code, leadbyte_lead_id, campaign_id,
            campaign_name, sold, buyers_told, deliveries_told, revenue, last_reply_id)
        select lead_id, true, 1, lead_id, '560', 'Solar panels', true, true, true, 12.5, id from resolver.replies""",
    """insert into resolver.buyers (lead_id, key, buyer_id, name, status, revenue, currency)
        select lead_id, '300', '300', 'Bright Homes Ltd', 'Sold', 12.5, 'GBP' from resolver.replies""",
    """insert into resolver.deliveries (lead_id, key, delivery_id, name, status, first_seen_at, last_seen_at)
        select lead_id, d::text, d::text, 'Direct post', 'Sold', received_at, received_at
        from resolver.replies, generate_series(8800, 8801) d""",
)
_WATCHES = """
    insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at)
    select id, account_id, queue_id, tracked_at, now() - interval '1 hour' + (id %% 3600) * interval '1 second'
    from resolver.leads where resolved_at is null
"""


def fill(url: str, leads: int, still_open: int) -> None:
    """Store so many leads, of which so many are open and due within the last hour."""
    with psycopg.connect(url) as connection:
        connection.execute(_UNCHECKED)
        row = connection.execute(_ACCOUNT, (ACCOUNT,)).fetchone()
        assert row is not None
        connection.execute(_LEADS, {"account": row[0], "leads": leads, "final": leads - still_open})
        for statement in (_FIRST_EVENTS, *_OF_FINAL):
            connection.execute(statement)
        connection.execute(_WATCHES, ())
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("vacuum analyze")
        connection.execute("checkpoint")  # now, not in the midst of the measuring

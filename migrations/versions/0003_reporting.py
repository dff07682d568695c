"""The schema `reporting`: the views that are the contract with reporting, and the role that reads them.

Expand: adds views only. To change a view later, `create or replace` with new columns at the end.
"""

from __future__ import annotations

from alembic import op

from worker.store.roles import grant_to_role, make_role

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

LEADS = """
create view reporting.leads as
select a.name as account, l.queue_id, l.reference, l.state, l.submitted_at, l.resolved_at,
    -- A lead handed over long after it was resolved tells nothing about how long resolving takes. LeadByte stamps
    -- whole seconds, so a quick one seems to end before it began.
    case when l.resolved_at >= l.submitted_at - interval '5 minutes'
        then greatest(0, extract(epoch from l.resolved_at - l.submitted_at))::double precision
        end as seconds_to_resolve,
    o.campaign_accepted, o.leadbyte_lead_id as lead_id, o.rejection_id, o.result_code, o.result_reason,
    o.campaign_id, o.campaign_name, o.supplier_id, o.supplier_name, o.sold,
    -- NULL: no reply ever had the block. 0: told that there is none.
    case when o.buyers_told then (
        select count(*) from resolver.buyers b where b.lead_id = l.id and lower(b.status) = 'sold') end as buyers,
    o.revenue, o.payout, o.currency,
    case when o.deliveries_told then (
        select count(*) from resolver.deliveries d where d.lead_id = l.id) end as deliveries,
    case when o.deliveries_told then (
        select count(*) from resolver.deliveries d where d.lead_id = l.id and lower(d.status) = 'sold')
        end as deliveries_sold,
    l.polls + coalesce(w.polls, 0) as polls, l.failures + coalesce(w.failures, 0) as failures,
    o.quarantine_id, coalesce(l.state_reason, w.last_note) as state_reason
from resolver.leads l
join resolver.accounts a on a.id = l.account_id
left join resolver.outcomes o on o.lead_id = l.id
left join resolver.watches w on w.lead_id = l.id
"""

BUYERS = """
create view reporting.buyers as
select a.name as account, l.queue_id, b.buyer_id, b.bid as buyer_bid, b.name as buyer_name, b.status, b.revenue,
    coalesce(b.currency, o.currency) as currency
from resolver.buyers b
join resolver.leads l on l.id = b.lead_id
join resolver.accounts a on a.id = l.account_id
left join resolver.outcomes o on o.lead_id = l.id
"""

DELIVERIES = """
create view reporting.deliveries as
select a.name as account, l.queue_id, d.delivery_id, d.name as delivery_name, d.buyer_id, d.status, d.reason,
    d.revenue, d.first_seen_at, d.last_seen_at
from resolver.deliveries d
join resolver.leads l on l.id = d.lead_id
join resolver.accounts a on a.id = l.account_id
"""

EVENTS = """
create view reporting.events as
select a.name as account, l.queue_id, e.at, e.from_state, e.to_state, e.cause
from resolver.lead_events e
join resolver.leads l on l.id = e.lead_id
join resolver.accounts a on a.id = l.account_id
order by e.id
"""

DAILY = """
create view reporting.daily as
select (l.submitted_at at time zone 'UTC')::date as day, a.name as account,
    o.campaign_id, o.campaign_name, o.supplier_id,
    count(*) as submitted,
    count(*) filter (where o.campaign_accepted) as accepted,
    count(*) filter (where not o.campaign_accepted) as refused,
    count(*) filter (where o.sold) as sold,
    count(*) filter (where o.campaign_accepted and not o.sold) as unsold,
    count(*) filter (where l.state = 'quarantined') as quarantined,
    count(*) filter (where l.state in ('queued', 'pending', 'quarantined')) as open,
    count(*) filter (where l.state = 'abandoned') as abandoned,
    count(*) filter (where l.state = 'returned') as returned,
    coalesce(sum(o.revenue), 0) as revenue,
    coalesce(sum(o.payout), 0) as payout,
    round(count(*) filter (where o.campaign_accepted)::numeric
        / nullif(count(*) filter (where o.campaign_accepted is not null), 0), 4) as acceptance_rate,
    round(count(*) filter (where o.sold)::numeric
        / nullif(count(*) filter (where o.sold or (o.campaign_accepted and not o.sold)), 0), 4) as sold_rate,
    percentile_cont(0.5) within group (
        order by greatest(0, extract(epoch from l.resolved_at - l.submitted_at))
    ) filter (where l.resolved_at >= l.submitted_at - interval '5 minutes') as median_seconds_to_resolve
from resolver.leads l
join resolver.accounts a on a.id = l.account_id
left join resolver.outcomes o on o.lead_id = l.id
group by 1, 2, 3, 4, 5
"""

PIPELINE = """
create view reporting.pipeline as
select a.name as account,
    coalesce(l.open, 0) as open,
    coalesce(w.due, 0) as due,
    coalesce(greatest(0, extract(epoch from clock_timestamp() - w.oldest_due_at)), 0)::double precision
        as oldest_overdue_seconds,
    coalesce(l.quarantined, 0) as quarantined,
    coalesce(l.abandoned, 0) as abandoned,
    0::bigint as unsure_actions,
    a.paused_until, a.pause_reason,
    coalesce((
        select sum(c.polls) from resolver.poll_counts c
        where c.account_id = a.id and c.bucket > clock_timestamp() - interval '1 minute'), 0)::bigint
        as polls_last_minute
from resolver.accounts a
left join lateral (
    select count(*) filter (where state <> 'abandoned') as open,
        count(*) filter (where state = 'quarantined') as quarantined,
        count(*) filter (where state = 'abandoned') as abandoned
    from resolver.leads where account_id = a.id and resolved_at is null
) l on true
left join lateral (
    select count(*) as due, min(next_poll_at) as oldest_due_at
    from resolver.watches
    -- A lead whose lease has run out waits for the sweep: it is due, whatever became of its worker.
    where account_id = a.id and next_poll_at <= clock_timestamp()
        and (claim_id is null or lease_until <= clock_timestamp())
) w on true
"""

VIEWS = {
    "leads": LEADS,
    "buyers": BUYERS,
    "deliveries": DELIVERIES,
    "events": EVENTS,
    "daily": DAILY,
    "pipeline": PIPELINE,
}


def upgrade() -> None:
    op.execute("create schema reporting")
    for view in VIEWS.values():
        op.execute(view)
    op.execute(make_role("lead_reporting"))
    op.execute(grant_to_role("lead_reporting", "usage on schema reporting", "select on all tables in schema reporting"))


def downgrade() -> None:
    for name in reversed(VIEWS):
        op.execute(f"drop view reporting.{name}")
    op.execute("drop schema reporting")

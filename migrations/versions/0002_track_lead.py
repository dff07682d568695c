"""Intake in SQL: `track_lead` for sites that share the database, and the set-based function all intake goes through.

Expand: adds functions only.
"""

from __future__ import annotations

from alembic import op

from worker.store.roles import grant_to_role, make_role

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SECURITY DEFINER with a fixed search_path: the capture site's role needs no right on our tables, only on the function,
# and no object it could create can stand in for one of ours.
TRACK_LEADS = r"""
create function resolver.track_leads(
    p_account text, p_queue_ids text[], p_references text[], p_first_poll_after interval, p_gap interval
) returns setof text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_account integer;
    v_now timestamptz := clock_timestamp();  -- now() is the start of the site's transaction, maybe long ago
begin
    select id into v_account from resolver.accounts where name = p_account;
    if v_account is null then
        insert into resolver.accounts (name) values (p_account) on conflict (name) do nothing;
        select id into v_account from resolver.accounts where name = p_account;
    end if;
    return query
    with given as (
        select distinct on (g.queue_id collate "C") g.queue_id, g.reference, g.position
        from unnest(p_queue_ids, p_references) with ordinality as g (queue_id, reference, position)
        -- One order for everybody: two intakes of the same IDs must not wait for each other crosswise.
        order by g.queue_id collate "C", g.position
    ), stamped as (
        -- In LeadByte's published examples the third group is the Unix second of queueing: taken where plausible.
        select given.*, case
            when queue_id ~ '^[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{8}$'
            then to_timestamp(('x' || substr(queue_id, 19, 8))::bit(32)::bigint) end as stamp
        from given
    ), new_leads as (
        insert into resolver.leads (account_id, queue_id, reference, tracked_at, submitted_at)
        select v_account, queue_id, reference, v_now,
            case when stamp between v_now - interval '30 days' and v_now then stamp else v_now end
        from stamped order by queue_id collate "C"
        on conflict (account_id, queue_id) do nothing
        returning id, queue_id
    ), first_events as (
        insert into resolver.lead_events (lead_id, at, to_state, cause)
        select id, v_now, 'queued', 'tracked' from new_leads
    ), new_watches as (
        insert into resolver.watches (lead_id, account_id, queue_id, watched_since, next_poll_at)
        select n.id, v_account, n.queue_id, v_now,
            v_now + p_first_poll_after + (random() - 0.5) * interval '1 second' + p_gap * (g.position - random())
        from new_leads n join given g using (queue_id)
    )
    select n.queue_id from new_leads n;
end
$$
"""

TRACK_LEAD = r"""
create function public.track_lead(account text, queue_id text, reference text default null) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if account is null or account !~ '^[0-9A-Za-z][0-9A-Za-z_.-]{0,62}$' then
        raise exception 'track_lead: the account is no LeadByte account name' using errcode = '22023';
    end if;
    if queue_id is null or queue_id !~ '^[0-9A-Za-z-]{8,64}$' then
        raise exception 'track_lead: the queue ID is none: 8 to 64 letters, digits and hyphens' using errcode = '22023';
    end if;
    if length(reference) > 200 then
        raise exception 'track_lead: the reference is longer than 200 characters' using errcode = '22023';
    end if;
    -- Controls, invisible marks and odd spaces: what Python's isprintable refuses too.
    if reference ~ ('[\u0001-\u001F\u007F-\u00A0\u00AD\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F'
        || '\u3000\uFEFF]') then
        raise exception 'track_lead: the reference is not plain text' using errcode = '22023';
    end if;
    perform resolver.track_leads(account, array[queue_id], array[reference], interval '2 seconds', interval '0');
    return case when found then 'new' else 'known' end;
end
$$
"""


def upgrade() -> None:
    op.execute(TRACK_LEADS)
    op.execute("revoke all on function resolver.track_leads from public")
    op.execute(TRACK_LEAD)
    # Whoever may connect (the read-only role, say) must not be able to make us ask about leads.
    op.execute("revoke all on function public.track_lead from public")
    op.execute(make_role("lead_intake"))
    op.execute(grant_to_role("lead_intake", "execute on function public.track_lead"))
    op.execute(
        "comment on function public.track_lead is "
        "'Records a LeadByte queue ID to be resolved; says ''new'' or ''known''. Commits with your transaction.'"
    )


def downgrade() -> None:
    op.execute("drop function public.track_lead")
    op.execute("drop function resolver.track_leads")

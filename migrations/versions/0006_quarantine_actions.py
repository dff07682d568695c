"""Actions on held leads: the ledger, the function through which all are asked for, and the view that shows them.

Expand: adds tables, columns without default, functions and a view; `reporting.pipeline` keeps its columns. Old workers
go on polling and leave the ledger alone.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

from worker.store.roles import grant_to_role

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

DIGITS = "'^[1-9][0-9]{0,17}$'"

# Which hold of the lead this is. That we gave up and began to ask again is no new one.
CYCLE = """(
    select greatest(1,
        count(*) filter (where e.to_state = 'quarantined'
            and (e.from_state is distinct from 'quarantined' or e.cause like 'held again%'))
        - count(*) filter (where e.from_state = 'quarantined' and e.to_state = 'abandoned'))
    from resolver.lead_events e where e.lead_id = l.id
)"""

# What is wrong with a request, whatever the lead. Texts name fields at most, and never quote a value: they end in logs.
COMPLAIN = r"""
create function resolver.complain_about_request(
    p_account text, p_kind text, p_fields jsonb, p_reason text, p_requested_by text
) returns text
language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
declare
    v_odd constant text := '[\u0001-\u001F\u007F-\u00A0\u00AD\u1680\u2000-\u200F\u2028-\u202F\u205F-\u206F'
        || '\u3000\uFEFF]';
    v_name text;
    v_value jsonb;
begin
    if p_account is null or p_account !~ '^[0-9A-Za-z][0-9A-Za-z_.-]{0,62}$' then
        return 'the account is no LeadByte account name';
    elsif p_kind is null or p_kind not in ('update', 'release', 'reject') then
        return 'the action is none: update, release or reject';
    elsif length(p_reason) > 500 or p_reason ~ v_odd then
        return 'the reason is longer than 500 characters, or not one line of plain text';
    elsif coalesce(length(p_requested_by), 0) not between 1 and 200 or p_requested_by ~ v_odd then
        return 'who asks is not told in 1 to 200 plain characters';
    elsif p_fields is null or jsonb_typeof(p_fields) = 'null' then
        return case when p_kind = 'update' then 'an update needs fields: their names and new values' end;
    elsif jsonb_typeof(p_fields) <> 'object' then
        return 'the fields are no JSON object of names and values';
    elsif (select count(*) from jsonb_object_keys(p_fields)) not between 1 and 100 then
        return 'the fields must be 1 to 100';
    end if;
    for v_name, v_value in select * from jsonb_each(p_fields) loop
        if v_name !~ '^[0-9A-Za-z_]([0-9A-Za-z_ .-]{0,78}[0-9A-Za-z_])?$' then
            return 'the name of a field is none: at most 80 letters, digits, ''_'', ''-'', ''.'' and blanks';
        elsif jsonb_typeof(v_value) not in ('string', 'number', 'boolean') then
            return format('the value of field %s is neither text, number, true nor false', v_name);
        elsif length(v_value #>> '{}') > (case jsonb_typeof(v_value) when 'string' then 2000 else 40 end) then
            return format('the value of field %s is too long: 2,000 characters of text, 40 digits', v_name);
        end if;
    end loop;
    return null;
end
$$
"""

# The law of asking: what may be asked for, and when asking is asking twice. SECURITY DEFINER: see track_leads.
REQUEST = rf"""
create function resolver.request_actions(
    p_account text, p_ids text[], p_kind text, p_fields jsonb, p_reason text, p_requested_by text, p_by_policy boolean
) returns table (given text, action_id bigint, outcome text, said text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_complaint text := resolver.complain_about_request(p_account, p_kind, p_fields, p_reason, p_requested_by);
    v_fields jsonb := nullif(p_fields, 'null');
    v_account integer;
    v_lead record;
    v_held text;  -- the quarantine ID
    v_found record;
    v_new bigint;
begin
    if v_complaint is not null then
        raise exception 'request_quarantine_action: %', v_complaint using errcode = '22023';
    end if;
    -- Releases and rejections are kept apart by an index; of two equal updates the second has to see the first, and a
    -- snapshot from before the lock does not.
    if p_kind = 'update' and current_setting('transaction_isolation') not in ('read committed', 'read uncommitted') then
        raise exception 'request_quarantine_action: ask for an update in a transaction that is READ COMMITTED'
            using errcode = '25001';
    end if;
    insert into resolver.accounts (name) values (p_account) on conflict (name) do nothing;
    select a.id into v_account from resolver.accounts a where a.name = p_account;
    -- One order for everybody: two askers about the same leads must not wait for each other crosswise.
    for given in select distinct g.id collate "C" from unnest(p_ids) g (id) order by 1 loop
        action_id := null; outcome := 'refused'; v_found := null;
        select l.id, l.queue_id, l.state, o.quarantine_id as held, {CYCLE} as cycle,
            (select coalesce(max(e.id), 0) from resolver.lead_events e where e.lead_id = l.id) as event
        into v_lead
        from resolver.leads l left join resolver.outcomes o on o.lead_id = l.id
        where l.id = coalesce(
            (select q.id from resolver.leads q where q.account_id = v_account and q.queue_id = given),
            (select h.id from resolver.outcomes o join resolver.leads h on h.id = o.lead_id
             where o.quarantine_id = given and h.account_id = v_account
             order by (h.state = 'quarantined') desc, h.id desc limit 1),
            -- It may have been held under this ID before.
            (select b.lead_id from resolver.actions b where b.account_id = v_account and b.quarantine_id = given
             and b.lead_id is not null order by b.id desc limit 1)
        );
        v_held := case when v_lead.id is null then given else v_lead.held end;
        if given is null or given !~ '^[0-9A-Za-z-]{{1,64}}$' then
            said := 'an ID is 1 to 64 letters, digits and hyphens';
        elsif v_lead.id is null and given !~ {DIGITS} then
            said := format('no lead of account %s has the queue ID %s: track it, or give the quarantine ID',
                p_account, given);
        elsif v_lead.id is not null and v_lead.state <> 'quarantined' then
            said := format('lead %s is %s, not quarantined: there is nothing to %s',
                v_lead.queue_id, v_lead.state, p_kind);
        elsif v_held is null then
            said := format('lead %s is quarantined, but LeadByte never told its quarantine ID: give that ID instead',
                v_lead.queue_id);
        elsif v_held !~ {DIGITS} then
            said := format('lead %s is quarantined under an ID that is no number, which LeadByte''s calls need',
                v_lead.queue_id);
        elsif given <> v_lead.queue_id and given <> v_held then
            said := format('lead %s is no longer held under %s, but under %s', v_lead.queue_id, given, v_held);
        else
            -- Held until the asker's commit, so that of several who ask for one thing at a time one is the first.
            perform pg_advisory_xact_lock(hashtextextended(format('lead-resolver action %s %s', v_account, v_held), 0));
            select b.* into v_found from resolver.actions b
            where b.account_id = v_account and b.quarantine_id = v_held and b.cycle = coalesce(v_lead.cycle, 1)
                and b.state <> 'refused' and (b.kind in ('release', 'reject') or p_kind = 'update' and exists (
                    select from resolver.action_fields f where f.action_id = b.id and f.fields = v_fields))
            order by (b.kind = p_kind) desc, b.id limit 1;
            said := format('%s by %s at %s, now %s', v_found.kind, v_found.requested_by,
                to_char(v_found.requested_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), v_found.state);
            if v_found.id is null then
                insert into resolver.actions (account_id, quarantine_id, lead_id, since_event, cycle, kind, field_names,
                    requested_by, reason, by_policy, requested_at, next_try_at)
                values (v_account, v_held, v_lead.id, coalesce(v_lead.event, 0), coalesce(v_lead.cycle, 1), p_kind,
                    array(select k from jsonb_object_keys(v_fields) k order by k collate "C"),
                    p_requested_by, p_reason, p_by_policy, clock_timestamp(), clock_timestamp())
                returning id into v_new;
                if v_fields is not null then
                    insert into resolver.action_fields (action_id, fields) values (v_new, v_fields);
                end if;
                action_id := v_new;
                outcome := 'requested'; said := 'requested';
            elsif p_kind = 'update' and v_found.kind <> 'update' then
                said := format('an update would come too late: already requested: %s', said);
            else
                action_id := v_found.id; outcome := 'already requested'; said := 'already requested: ' || said;
            end if;
        end if;
        return next;
    end loop;
end
$$
"""

REQUEST_ONE = """
create function public.request_quarantine_action(
    account text, id text, action text, fields jsonb default null, reason text default null,
    requested_by text default session_user
) returns text
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    v_asked record;
begin
    select * into v_asked
    from resolver.request_actions(account, array[id], action, fields, reason, requested_by, false);
    if v_asked.outcome = 'refused' then
        raise exception 'request_quarantine_action: %', v_asked.said using errcode = '22023';
    end if;
    return v_asked.said;
end
$$
"""

_SINCE = """(
    select max(e.at) from resolver.lead_events e where e.lead_id = l.id and e.to_state = 'quarantined'
        and (e.from_state is distinct from 'quarantined' or e.cause like 'held again%')
)"""

QUARANTINE = f"""
create view reporting.quarantine as
with held as (
    select l.id, o.quarantine_id, {_SINCE} as held_since, {CYCLE} as cycle
    from resolver.leads l left join resolver.outcomes o on o.lead_id = l.id
    where l.state = 'quarantined' and l.resolved_at is null
), listed as (
    select b.account_id, b.lead_id, b.quarantine_id, b.cycle::bigint as cycle, b.id as action_id, b.kind, b.state,
        b.requested_by, b.reason, b.by_policy, b.field_names, b.requested_at, b.sent_at, b.acknowledged_at,
        b.concluded_at, b.done_by,
        case when b.state <> 'requested' then b.message else coalesce(
            (select p.reason from resolver.action_parks p where p.account_id = b.account_id and (
                p.kind = 'update' and (b.kind = 'update' or b.field_names <> '{{}}')
                or p.kind = 'process' and b.kind <> 'update') limit 1),
            (select 'waits until action ' || min(f.id) || ' on this lead is concluded' from resolver.actions f
             where f.account_id = b.account_id and f.quarantine_id = b.quarantine_id and f.id < b.id
                and f.state in ('requested', 'sent', 'unsure')),
            b.message) end as message
    from resolver.actions b
    union all
    select l.account_id, h.id, h.quarantine_id, h.cycle, null, null, null, null, null, null, null, null, null, null,
        null, null, null
    from held h join resolver.leads l on l.id = h.id
    where not exists (
        select from resolver.actions b
        where b.account_id = l.account_id and b.quarantine_id = h.quarantine_id and b.cycle = h.cycle)
)
select a.name as account, l.queue_id, x.quarantine_id, l.state as lead_state, h.held_since,
    extract(epoch from clock_timestamp() - h.held_since)::double precision as age_seconds,
    x.cycle, x.action_id, x.kind as action, x.state as action_state, x.requested_by, x.reason, x.by_policy,
    x.field_names as fields, x.requested_at, x.sent_at, x.acknowledged_at, x.concluded_at, x.done_by, x.message
from listed x
join resolver.accounts a on a.id = x.account_id
left join resolver.leads l on l.id = x.lead_id
left join held h on h.id = x.lead_id
"""

# As it was, but for the number of unsure actions.
PIPELINE = """
create or replace view reporting.pipeline as
select a.name as account,
    coalesce(l.open, 0) as open,
    coalesce(w.due, 0) as due,
    coalesce(greatest(0, extract(epoch from clock_timestamp() - w.oldest_due_at)), 0)::double precision
        as oldest_overdue_seconds,
    coalesce(l.quarantined, 0) as quarantined,
    coalesce(l.abandoned, 0) as abandoned,
    {unsure} as unsure_actions,
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
    where account_id = a.id and next_poll_at <= clock_timestamp()
        and (claim_id is null or lease_until <= clock_timestamp()) and not is_recheck
) w on true
"""
UNSURE = "(select count(*) from resolver.actions b where b.account_id = a.id and b.state = 'unsure')"


def _moment(name: str, *, nullable: bool = True) -> sa.Column[object]:
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def _create_tables() -> None:
    op.create_table(
        "actions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("quarantine_id", sa.Text(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=True),
        sa.Column("since_event", sa.BigInteger(), nullable=False),
        sa.Column("cycle", sa.SmallInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="requested", nullable=False),
        sa.Column("message", sa.Text(), nullable=True),
        sa.Column("field_names", sa.ARRAY(sa.Text()), nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("by_policy", sa.Boolean(), nullable=False),
        _moment("requested_at", nullable=False),
        _moment("next_try_at"),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("failures", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("token", sa.BigInteger(), nullable=True),
        _moment("sent_at"),
        _moment("unsure_at"),
        _moment("held_seen_at"),
        _moment("acknowledged_at"),
        _moment("concluded_at"),
        _moment("follow_until"),
        sa.Column("done_by", sa.Text(), nullable=True),
        sa.CheckConstraint("kind in ('update', 'release', 'reject')", name=op.f("ck_actions_kind_is_known")),
        sa.CheckConstraint(
            "state in ('requested', 'sent', 'acknowledged', 'confirmed', 'refused', 'unsure')",
            name=op.f("ck_actions_state_is_known"),
        ),
        sa.CheckConstraint("done_by in ('us', 'somebody else', 'unknown')", name=op.f("ck_actions_done_by_is_known")),
        sa.CheckConstraint(
            "(concluded_at is not null) = (state in ('confirmed', 'refused'))",
            name=op.f("ck_actions_concluded_at_means_concluded"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["resolver.accounts.id"], name=op.f("fk_actions_account_id_accounts")),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_actions_lead_id_leads"), ondelete="SET NULL"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
        schema="resolver",
    )
    op.create_table(
        "action_fields",
        sa.Column("action_id", sa.BigInteger(), nullable=False),
        sa.Column("fields", JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["action_id"], ["resolver.actions.id"], name=op.f("fk_action_fields_action_id_actions"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("action_id", name=op.f("pk_action_fields")),
        schema="resolver",
    )
    op.create_table(
        "action_parks",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        _moment("since", nullable=False),
        _moment("probe_at", nullable=False),
        sa.CheckConstraint("kind in ('update', 'process')", name=op.f("ck_action_parks_kind_is_known")),
        sa.ForeignKeyConstraint(
            ["account_id"], ["resolver.accounts.id"], name=op.f("fk_action_parks_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "kind", name=op.f("pk_action_parks")),
        schema="resolver",
    )


INDEXES = (
    (
        "uq_actions_one_way_out_a_cycle",
        "actions",
        ["account_id", "quarantine_id", "cycle"],
        True,
        "kind in ('release', 'reject') and state <> 'refused'",
    ),
    ("ix_actions_by_quarantine_id", "actions", ["account_id", "quarantine_id", "id"], False, None),
    ("ix_actions_by_lead", "actions", ["lead_id"], False, None),
    ("ix_actions_to_send", "actions", ["account_id", "next_try_at", "id"], False, "state = 'requested'"),
    ("ix_actions_due", "actions", ["next_try_at"], False, "next_try_at is not null"),
    ("ix_actions_in_doubt", "actions", ["account_id"], False, "state in ('sent', 'unsure')"),
    ("ix_outcomes_by_quarantine_id", "outcomes", ["quarantine_id"], False, "quarantine_id is not null"),
)


def upgrade() -> None:
    _create_tables()
    op.add_column("watches", _moment("hurry_since"), schema="resolver")
    op.add_column("watches", _moment("last_told_at"), schema="resolver")
    for name, table, columns, unique, where in INDEXES:
        condition = None if where is None else sa.text(where)
        op.create_index(name, table, columns, unique=unique, schema="resolver", postgresql_where=condition)
    op.execute(COMPLAIN)
    op.execute(REQUEST)
    op.execute(REQUEST_ONE)
    functions = (
        "resolver.complain_about_request",
        "resolver.request_actions",
        "public.request_quarantine_action",
    )
    for function in functions:
        op.execute(f"revoke all on function {function} from public")
    op.execute(grant_to_role("lead_intake", "execute on function public.request_quarantine_action"))
    op.execute(
        "comment on function public.request_quarantine_action is 'Asks for update, release or reject of a quarantined "
        "lead, at most once; says ''requested'' or ''already requested: …''. Commits with your transaction.'"
    )
    op.execute(QUARANTINE)
    op.execute(grant_to_role("lead_reporting", "select on reporting.quarantine"))
    op.execute(PIPELINE.format(unsure=UNSURE))


def downgrade() -> None:
    op.execute(PIPELINE.format(unsure="0::bigint"))
    op.execute("drop view reporting.quarantine")
    op.execute("drop function public.request_quarantine_action")
    op.execute("drop function resolver.request_actions")
    op.execute("drop function resolver.complain_about_request")
    op.drop_index("ix_outcomes_by_quarantine_id", table_name="outcomes", schema="resolver")
    op.drop_column("watches", "last_told_at", schema="resolver")
    op.drop_column("watches", "hurry_since", schema="resolver")
    for table in ("action_parks", "action_fields", "actions"):
        op.drop_table(table, schema="resolver")

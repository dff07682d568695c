"""Field values are dropped once sent, by the database itself: with any state of their action but requested and sent.

So that holds for whoever writes, an older worker and a person at a prompt among them. What is unsure has no values any
more to compare another update with: one of the same fields is refused until a person has said what became of the first.
Values of actions that are past their sending already are deleted.
"""

from __future__ import annotations

from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

DROP_VALUES = """
create function resolver.drop_field_values() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    delete from resolver.action_fields where action_id = new.id;
    return null;
end
$$
"""
ONCE_SENT = """
create trigger drop_field_values after update of state on resolver.actions
for each row when (new.state not in ('requested', 'sent') and new.field_names <> '{}')
execute function resolver.drop_field_values()
"""
SENT_ALREADY = """
delete from resolver.action_fields f using resolver.actions a
where a.id = f.action_id and a.state not in ('requested', 'sent')
"""

# As 0006 has them.
DIGITS = "'^[1-9][0-9]{0,17}$'"
CYCLE = """(
    select greatest(1,
        count(*) filter (where e.to_state = 'quarantined'
            and (e.from_state is distinct from 'quarantined' or e.cause like 'held again%'))
        - count(*) filter (where e.from_state = 'quarantined' and e.to_state = 'abandoned'))
    from resolver.lead_events e where e.lead_id = l.id
)"""

# The law of asking as 0006 has it, but for an update whose like is unsure: `is_like` and `refusal`.
REQUEST = """
create or replace function resolver.request_actions(
    p_account text, p_ids text[], p_kind text, p_fields jsonb, p_reason text, p_requested_by text, p_by_policy boolean
) returns table (given text, action_id bigint, outcome text, said text)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
declare
    v_complaint text := resolver.complain_about_request(p_account, p_kind, p_fields, p_reason, p_requested_by);
    v_fields jsonb := nullif(p_fields, 'null');
    v_names text[];
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
    v_names := array(select k from jsonb_object_keys(v_fields) k order by k collate "C");
    insert into resolver.accounts (name) values (p_account) on conflict (name) do nothing;
    select a.id into v_account from resolver.accounts a where a.name = p_account;
    -- One order for everybody: two askers about the same leads must not wait for each other crosswise.
    for given in select distinct g.id collate "C" from unnest(p_ids) g (id) order by 1 loop
        action_id := null; outcome := 'refused'; v_found := null;
        select l.id, l.queue_id, l.state, o.quarantine_id as held, {cycle} as cycle,
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
        elsif v_lead.id is null and given !~ {digits} then
            said := format('no lead of account %s has the queue ID %s: track it, or give the quarantine ID',
                p_account, given);
        elsif v_lead.id is not null and v_lead.state <> 'quarantined' then
            said := format('lead %s is %s, not quarantined: there is nothing to %s',
                v_lead.queue_id, v_lead.state, p_kind);
        elsif v_held is null then
            said := format('lead %s is quarantined, but LeadByte never told its quarantine ID: give that ID instead',
                v_lead.queue_id);
        elsif v_held !~ {digits} then
            said := format('lead %s is quarantined under an ID that is no number, which LeadByte''s calls need',
                v_lead.queue_id);
        elsif given <> v_lead.queue_id and given <> v_held then
            said := format('lead %s is no longer held under %s, but under %s', v_lead.queue_id, given, v_held);
        else
            -- Held until the asker's commit, so that of several who ask for one thing at a time one is the first.
            perform pg_advisory_xact_lock(hashtextextended(format('lead-resolver action %s %s', v_account, v_held), 0));
            select b.*, coalesce(f.fields = v_fields, false) as is_same into v_found
            from resolver.actions b left join resolver.action_fields f on f.action_id = b.id
            where b.account_id = v_account and b.quarantine_id = v_held and b.cycle = coalesce(v_lead.cycle, 1)
                and b.state <> 'refused'
                and (b.kind in ('release', 'reject') or p_kind = 'update' and (f.fields = v_fields{is_like}))
            order by (b.kind = p_kind) desc, is_same desc, b.id limit 1;
            said := format('%s by %s at %s, now %s', v_found.kind, v_found.requested_by,
                to_char(v_found.requested_at at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS "UTC"'), v_found.state);
            if v_found.id is null then
                insert into resolver.actions (account_id, quarantine_id, lead_id, since_event, cycle, kind, field_names,
                    requested_by, reason, by_policy, requested_at, next_try_at)
                values (v_account, v_held, v_lead.id, coalesce(v_lead.event, 0), coalesce(v_lead.cycle, 1), p_kind,
                    v_names, p_requested_by, p_reason, p_by_policy, clock_timestamp(), clock_timestamp())
                returning id into v_new;
                if v_fields is not null then
                    insert into resolver.action_fields (action_id, fields) values (v_new, v_fields);
                end if;
                action_id := v_new;
                outcome := 'requested'; said := 'requested';
            elsif p_kind = 'update' and v_found.kind <> 'update' then
                said := format('an update would come too late: already requested: %s', said);{refusal}
            else
                action_id := v_found.id; outcome := 'already requested'; said := 'already requested: ' || said;
            end if;
        end if;
        return next;
    end loop;
end
$$
"""
IS_LIKE = " or b.state = 'unsure' and b.field_names = v_names"
REFUSAL = """
            elsif p_kind = 'update' and not v_found.is_same then
                said := format('already requested, perhaps with other values, which are not kept: %s; say first what '
                    'became of that, `lead-resolver quarantine resolve %s --done` or `--resend` with its values',
                    said, v_found.id);"""


def upgrade() -> None:
    op.execute(DROP_VALUES)
    op.execute("revoke all on function resolver.drop_field_values from public")
    op.execute(ONCE_SENT)
    op.execute(SENT_ALREADY)
    op.execute(REQUEST.format(cycle=CYCLE, digits=DIGITS, is_like=IS_LIKE, refusal=REFUSAL))


def downgrade() -> None:
    op.execute(REQUEST.format(cycle=CYCLE, digits=DIGITS, is_like="", refusal=""))
    op.execute("drop trigger drop_field_values on resolver.actions")
    op.execute("drop function resolver.drop_field_values")

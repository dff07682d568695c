"""After the verdict: re-checks of final leads, and journals that are cut once they are old.

Expand: adds a table and columns that old workers do not know of; switch re-checks on once all workers are new.
`reporting.pipeline` keeps its columns; re-checks, which nobody waits for, are neither due nor overdue in it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

PIPELINE = """
create or replace view reporting.pipeline as
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
    where account_id = a.id and next_poll_at <= clock_timestamp(){without_rechecks}
        and (claim_id is null or lease_until <= clock_timestamp())
) w on true
"""


def upgrade() -> None:
    op.create_table(
        "rechecks",
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("next_recheck_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recheck_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("told_digest", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_rechecks_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_rechecks")),
        schema="resolver",
    )
    op.create_index("ix_rechecks_due", "rechecks", ["account_id", "next_recheck_at"], schema="resolver")
    op.add_column(
        "watches",
        sa.Column("is_recheck", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        schema="resolver",
    )
    op.create_index(
        "ix_watches_rechecked", "watches", ["account_id"], schema="resolver", postgresql_where=sa.text("is_recheck")
    )
    op.create_index(
        "ix_leads_by_resolution",
        "leads",
        ["resolved_at"],
        schema="resolver",
        postgresql_where=sa.text("resolved_at is not null"),
    )
    op.create_index("ix_replies_by_age", "replies", ["received_at"], schema="resolver")
    op.add_column("outcomes", sa.Column("journal_cut_at", sa.DateTime(timezone=True)), schema="resolver")
    op.execute(PIPELINE.replace("{without_rechecks}", " and not is_recheck"))


def downgrade() -> None:
    op.execute(PIPELINE.replace("{without_rechecks}", ""))
    op.drop_column("outcomes", "journal_cut_at", schema="resolver")
    op.drop_index("ix_replies_by_age", table_name="replies", schema="resolver")
    op.drop_index("ix_leads_by_resolution", table_name="leads", schema="resolver")
    # Without its row in `rechecks` a watch of a final lead would be asked about for ever.
    op.execute("delete from resolver.watches where is_recheck")
    op.drop_index("ix_watches_rechecked", table_name="watches", schema="resolver")
    op.drop_column("watches", "is_recheck", schema="resolver")
    op.drop_table("rechecks", schema="resolver")

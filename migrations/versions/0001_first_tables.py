"""The first tables: accounts, leads, watches, claims, replies, outcomes, buyers, deliveries, events.

Expand: nothing was there before.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "accounts",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("next_slot_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("pause_kind", sa.Text(), nullable=True),
        sa.Column("pause_reason", sa.Text(), nullable=True),
        sa.CheckConstraint("(paused_until is null) = (pause_kind is null)", name=op.f("ck_accounts_pause_has_a_kind")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_accounts")),
        sa.UniqueConstraint("name", name=op.f("uq_accounts_name")),
        schema="resolver",
    )
    op.create_table(
        "ticks",
        sa.Column("duty", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("duty", name=op.f("pk_ticks")),
        schema="resolver",
    )
    op.create_table(
        "claims",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("permits", sa.Integer(), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["account_id"], ["resolver.accounts.id"], name=op.f("fk_claims_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_claims")),
        schema="resolver",
    )
    op.create_index("ix_claims_by_account", "claims", ["account_id"], unique=False, schema="resolver")
    op.create_table(
        "leads",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("queue_id", sa.Text(), nullable=False),
        sa.Column("reference", sa.Text(), nullable=True),
        sa.Column("state", sa.Text(), server_default="queued", nullable=False),
        sa.Column("state_reason", sa.Text(), nullable=True),
        sa.Column("tracked_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("submitted_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("polls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.CheckConstraint(
            "(resolved_at is not null) = (state in ('approved', 'rejected', 'returned'))",
            name=op.f("ck_leads_resolved_at_means_final"),
        ),
        sa.CheckConstraint("queue_id ~ '^[0-9A-Za-z-]{8,64}$'", name=op.f("ck_leads_queue_id_is_plain")),
        sa.CheckConstraint(
            "state in ('abandoned', 'approved', 'pending', 'quarantined', 'queued', 'rejected', 'returned')",
            name=op.f("ck_leads_state_is_known"),
        ),
        sa.ForeignKeyConstraint(["account_id"], ["resolver.accounts.id"], name=op.f("fk_leads_account_id_accounts")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_leads")),
        sa.UniqueConstraint("account_id", "queue_id", name=op.f("uq_leads_account_id_queue_id")),
        schema="resolver",
    )
    op.create_index("ix_leads_by_submission", "leads", ["submitted_at"], unique=False, schema="resolver")
    op.create_index(
        "ix_leads_unresolved",
        "leads",
        ["account_id", "state"],
        unique=False,
        schema="resolver",
        postgresql_where=sa.text("resolved_at is null"),
    )
    op.create_table(
        "poll_counts",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("bucket", sa.DateTime(timezone=True), nullable=False),
        sa.Column("polls", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["resolver.accounts.id"], name=op.f("fk_poll_counts_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "bucket", name=op.f("pk_poll_counts")),
        schema="resolver",
    )
    op.create_table(
        "buyers",
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("buyer_id", sa.Text(), nullable=True),
        sa.Column("bid", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("revenue", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_buyers_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("lead_id", "key", name=op.f("pk_buyers")),
        schema="resolver",
    )
    op.create_table(
        "deliveries",
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("delivery_id", sa.Text(), nullable=True),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("buyer_id", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("revenue", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_deliveries_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("lead_id", "key", name=op.f("pk_deliveries")),
        schema="resolver",
    )
    op.create_table(
        "lead_events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("from_state", sa.Text(), nullable=True),
        sa.Column("to_state", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("reply_id", sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_lead_events_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_lead_events")),
        sa.UniqueConstraint("reply_id", name=op.f("uq_lead_events_reply_id")),
        schema="resolver",
    )
    op.create_index("ix_lead_events_by_lead", "lead_events", ["lead_id", "id"], unique=False, schema="resolver")
    op.create_table(
        "outcomes",
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("campaign_accepted", sa.Boolean(), nullable=True),
        sa.Column("result_code", sa.Integer(), nullable=True),
        sa.Column("result_reason", sa.Text(), nullable=True),
        sa.Column("leadbyte_lead_id", sa.Text(), nullable=True),
        sa.Column("rejection_id", sa.Text(), nullable=True),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("campaign_name", sa.Text(), nullable=True),
        sa.Column("supplier_id", sa.Text(), nullable=True),
        sa.Column("supplier_name", sa.Text(), nullable=True),
        sa.Column("sold", sa.Boolean(), nullable=True),
        sa.Column("buyers_told", sa.Boolean(), nullable=False),
        sa.Column("deliveries_told", sa.Boolean(), nullable=False),
        sa.Column("revenue", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("payout", sa.Numeric(precision=18, scale=6), nullable=True),
        sa.Column("payout_pending", sa.Boolean(), nullable=True),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("quarantine_id", sa.Text(), nullable=True),
        sa.Column("processed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("processed_raw", sa.Text(), nullable=True),
        sa.Column("last_reply_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_outcomes_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_outcomes")),
        schema="resolver",
    )
    op.create_table(
        "replies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("claim_id", sa.BigInteger(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("http_status", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("cut", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_replies_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_replies")),
        sa.UniqueConstraint("lead_id", "claim_id", name=op.f("uq_replies_lead_id_claim_id")),
        schema="resolver",
    )
    op.create_table(
        "watches",
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("queue_id", sa.Text(), nullable=False),
        sa.Column("watched_since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("next_poll_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("claim_id", sa.BigInteger(), nullable=True),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("polls", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failure_streak", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("crashes", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("last_poll_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_note", sa.Text(), nullable=True),
        sa.Column("not_found_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("told_digest", sa.BigInteger(), nullable=True),
        sa.CheckConstraint("(claim_id is null) = (lease_until is null)", name=op.f("ck_watches_lease_has_an_end")),
        sa.ForeignKeyConstraint(
            ["lead_id"], ["resolver.leads.id"], name=op.f("fk_watches_lead_id_leads"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("lead_id", name=op.f("pk_watches")),
        schema="resolver",
    )
    op.create_index(
        "ix_watches_due",
        "watches",
        ["account_id", "next_poll_at"],
        unique=False,
        schema="resolver",
        postgresql_where=sa.text("claim_id is null and next_poll_at is not null"),
    )
    op.create_index(
        "ix_watches_leased",
        "watches",
        ["lease_until"],
        unique=False,
        schema="resolver",
        postgresql_where=sa.text("claim_id is not null"),
    )
    op.create_table(
        "unpersisted",
        sa.Column("reply_id", sa.BigInteger(), nullable=False),
        sa.Column("lead_id", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("parked_because", sa.Text(), nullable=True),
        sa.ForeignKeyConstraint(
            ["reply_id"], ["resolver.replies.id"], name=op.f("fk_unpersisted_reply_id_replies"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("reply_id", name=op.f("pk_unpersisted")),
        schema="resolver",
    )
    op.create_index("ix_unpersisted_by_lead", "unpersisted", ["lead_id"], unique=False, schema="resolver")


def downgrade() -> None:
    op.drop_index("ix_unpersisted_by_lead", table_name="unpersisted", schema="resolver")
    op.drop_table("unpersisted", schema="resolver")
    op.drop_index(
        "ix_watches_leased", table_name="watches", schema="resolver", postgresql_where=sa.text("claim_id is not null")
    )
    op.drop_index(
        "ix_watches_due",
        table_name="watches",
        schema="resolver",
        postgresql_where=sa.text("claim_id is null and next_poll_at is not null"),
    )
    op.drop_table("watches", schema="resolver")
    op.drop_table("replies", schema="resolver")
    op.drop_table("outcomes", schema="resolver")
    op.drop_index("ix_lead_events_by_lead", table_name="lead_events", schema="resolver")
    op.drop_table("lead_events", schema="resolver")
    op.drop_table("deliveries", schema="resolver")
    op.drop_table("buyers", schema="resolver")
    op.drop_table("poll_counts", schema="resolver")
    op.drop_index(
        "ix_leads_unresolved", table_name="leads", schema="resolver", postgresql_where=sa.text("resolved_at is null")
    )
    op.drop_index("ix_leads_by_submission", table_name="leads", schema="resolver")
    op.drop_table("leads", schema="resolver")
    op.drop_index("ix_claims_by_account", table_name="claims", schema="resolver")
    op.drop_table("claims", schema="resolver")
    op.drop_table("ticks", schema="resolver")
    op.drop_table("accounts", schema="resolver")

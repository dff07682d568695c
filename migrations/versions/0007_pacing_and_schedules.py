"""The learned schedule: observations, what they added up to, and the poll ages that follow.

Expand: adds tables, and a column of `watches` that may be empty.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("watches", sa.Column("open_until", sa.DateTime(timezone=True), nullable=True), schema="resolver")
    op.create_table(
        "resolutions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=True),
        sa.Column("open_age", sa.REAL(), nullable=False),
        sa.Column("resolved_age", sa.REAL(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resolutions")),
        schema="resolver",
    )
    op.create_table(
        "histograms",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("observed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved", sa.dialects.postgresql.JSONB(), nullable=False),
        sa.Column("gave_up", sa.dialects.postgresql.JSONB(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["resolver.accounts.id"], name=op.f("fk_histograms_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "campaign_id", name=op.f("pk_histograms")),
        schema="resolver",
    )
    op.create_table(
        "schedules",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("campaign_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("computed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leads", sa.Double(), nullable=False),
        sa.Column("price_seconds", sa.Double(), nullable=False),
        sa.Column("ages", sa.ARRAY(sa.Double()), nullable=False),
        sa.Column("expected_polls", sa.Double(), nullable=False),
        sa.Column("expected_wait_seconds", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["resolver.accounts.id"], name=op.f("fk_schedules_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "campaign_id", name=op.f("pk_schedules")),
        schema="resolver",
    )


def downgrade() -> None:
    op.drop_table("schedules", schema="resolver")
    op.drop_table("histograms", schema="resolver")
    op.drop_table("resolutions", schema="resolver")
    op.drop_column("watches", "open_until", schema="resolver")

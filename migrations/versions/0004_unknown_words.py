"""Status words that the reader does not know, each kept once an account.

Expand: adds a table that old workers do not know of.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "unknown_words",
        sa.Column("account_id", sa.Integer(), nullable=False),
        sa.Column("word", sa.Text(), nullable=False),
        sa.Column("shape", sa.Text(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("times", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["account_id"], ["resolver.accounts.id"], name=op.f("fk_unknown_words_account_id_accounts")
        ),
        sa.PrimaryKeyConstraint("account_id", "word", name=op.f("pk_unknown_words")),
        schema="resolver",
    )


def downgrade() -> None:
    op.drop_table("unknown_words", schema="resolver")

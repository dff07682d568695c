"""What an account is asked to bear: the share of its budget in use, the breaker's state, and today's requests.

Expand: adds columns with constant defaults, which rewrites nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

COLUMNS: tuple[sa.Column[object], ...] = (
    sa.Column("rate_share", sa.Double(), nullable=False, server_default="1"),
    sa.Column("strain", sa.Double(), nullable=False, server_default="0"),
    sa.Column("strained_in_a_row", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("trips", sa.Integer(), nullable=False, server_default="0"),
    sa.Column("pressure_changed_at", sa.DateTime(timezone=True)),
    sa.Column("requests_day", sa.Date()),
    sa.Column("requests_today", sa.Integer(), nullable=False, server_default="0"),
)


def upgrade() -> None:
    for column in COLUMNS:
        op.add_column("accounts", column, schema="resolver")


def downgrade() -> None:
    for column in reversed(COLUMNS):
        op.drop_column("accounts", column.name, schema="resolver")

"""The leads that may have killed their workers, found without looking at all that is due.

Each turn of polling looks for them at its end. After an outage's day that was to read every overdue lead of an account,
under the lock that its claims wait for. Expand: old workers notice nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # The number is `SUSPECT_CRASHES`; nearly always there is none, and the index is empty.
    op.create_index(
        "ix_watches_suspect", "watches", ["account_id"], schema="resolver", postgresql_where=sa.text("crashes >= 2")
    )


def downgrade() -> None:
    op.drop_index("ix_watches_suspect", "watches", schema="resolver")

"""Which run of polling sends under a claim: another may ask about the account's leads once none does any more.

Two runs that share an account's budget are within it only as long as neither is held up. Expand: the claims of old
workers name no run, and keep nobody waiting.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("claims", sa.Column("run", sa.BigInteger), schema="resolver")


def downgrade() -> None:
    op.drop_column("claims", "run", schema="resolver")

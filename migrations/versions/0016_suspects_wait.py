"""A lead that may have killed its workers waits for a permit, which the account's other leads leave free meanwhile.

Whoever polls an account takes all of its permits as long as there is enough to ask. Expand: old workers leave none
free, and notice nothing.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    column = sa.Column("suspect_waits_until", sa.DateTime(timezone=True), nullable=True)
    op.add_column("accounts", column, schema="resolver")


def downgrade() -> None:
    op.drop_column("accounts", "suspect_waits_until", schema="resolver")

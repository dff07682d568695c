"""Which lead-data fields LeadByte shows as filled: their names, never their values.

Expand: adds a column that old workers do not write.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("outcomes", sa.Column("fields_present", sa.ARRAY(sa.Text()), nullable=True), schema="resolver")


def downgrade() -> None:
    op.drop_column("outcomes", "fields_present", schema="resolver")

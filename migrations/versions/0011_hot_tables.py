"""How the tables that never stand still are kept small: when vacuum comes to them, and room for updates in place.

`watches`, `claims` and `unpersisted` have few live rows and many dead ones: each poll writes a watch twice, each batch
makes a claim and deletes it. By default vacuum waits until a fifth of a table is dead, and claims have to step over
what is dead until then. Expand: storage parameters and one index.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None

# By count, not by share: the dead rows that a claim steps over cost the same however many live ones there are.
VACUUM_OFTEN = "autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = {dead}"
# No column of theirs that changes is in an index, so a new version fits beside the old one and no index is touched.
IN_PLACE = "fillfactor = 50"
PARAMETERS = {
    "watches": VACUUM_OFTEN.format(dead=5_000),
    "unpersisted": VACUUM_OFTEN.format(dead=2_000),
    "claims": VACUUM_OFTEN.format(dead=500),
    "accounts": f"{IN_PLACE}, {VACUUM_OFTEN.format(dead=500)}",
    "ticks": f"{IN_PLACE}, {VACUUM_OFTEN.format(dead=500)}",
    "poll_counts": f"{IN_PLACE}, {VACUUM_OFTEN.format(dead=500)}",
}


def upgrade() -> None:
    for table, parameters in PARAMETERS.items():
        op.execute(f"alter table resolver.{table} set ({parameters})")
    # What waits is looked for each second; replies parked for a person must not stand in the way.
    op.create_index(
        "ix_unpersisted_waiting",
        "unpersisted",
        ["reply_id"],
        schema="resolver",
        postgresql_where=sa.text("parked_because is null"),
    )


def downgrade() -> None:
    op.drop_index("ix_unpersisted_waiting", "unpersisted", schema="resolver")
    for table, parameters in PARAMETERS.items():
        names = ", ".join(part.split("=")[0].strip() for part in parameters.split(","))
        op.execute(f"alter table resolver.{table} reset ({names})")

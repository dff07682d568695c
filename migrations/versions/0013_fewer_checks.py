"""What a lead's rows cost Postgres: a cheaper look at its queue ID, and no foreign key checked for each row of it.

The pattern of a queue ID was matched with each update of its lead, and a count in a pattern is what Postgres' matcher
is slow at: it took half of the time of all that persisting does. The same rule without a count takes a twentieth.

Seven checks of a foreign key a lead, each a query with a lock on the lead's row, were a fifth of what was left. Rows
about a lead are only ever written under a lock that keeps it there (its own, or its watch's), so what remained to be
watched over is the deletion of leads: their rows go with them, one statement a table however many are deleted at once.
Expand: old workers notice nothing.
"""

from __future__ import annotations

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

# In the order of deletion. The watch comes first: who journals a reply holds its row, and is waited for there.
CHILDREN = ("watches", "unpersisted", "replies", "outcomes", "buyers", "deliveries", "lead_events")
UNCHECKED = tuple((table, "lead_id", "leads") for table in CHILDREN if table not in {"watches", "unpersisted"})
CHECKS = (*UNCHECKED, ("unpersisted", "reply_id", "replies"))

DELETES = "".join(f"\n    delete from resolver.{table} where lead_id in (select id from gone);" for table in CHILDREN)
FUNCTION = f"""
create function resolver.forget_leads() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin{DELETES}
    return null;
end $$
"""
TRIGGER = """
create trigger forget_leads after delete on resolver.leads
referencing old table as gone for each statement execute function resolver.forget_leads()
"""


OLD_RULE = ("queue_id_is_plain", "queue_id ~ '^[0-9A-Za-z-]{8,64}$'")
NEW_RULE = ("queue_id_is_short_and_plain", "queue_id !~ '[^0-9A-Za-z-]' and length(queue_id) between 8 and 64")


def upgrade() -> None:
    _replace_rule(OLD_RULE, NEW_RULE)
    for table, column, parent in CHECKS:
        op.drop_constraint(f"fk_{table}_{column}_{parent}", table, schema="resolver")
    op.execute(FUNCTION)
    op.execute("revoke all on function resolver.forget_leads from public")
    op.execute(TRIGGER)
    # An attempt at persisting only counts: with room beside it, the row is written anew without touching its indexes.
    op.execute("alter table resolver.unpersisted set (fillfactor = 50)")


def downgrade() -> None:
    op.execute("alter table resolver.unpersisted reset (fillfactor)")
    op.execute("drop trigger forget_leads on resolver.leads")
    op.execute("drop function resolver.forget_leads()")
    for table, column, parent in CHECKS:
        op.create_foreign_key(
            f"fk_{table}_{column}_{parent}",
            table,
            parent,
            [column],
            ["id"],
            source_schema="resolver",
            referent_schema="resolver",
            ondelete="CASCADE",
        )
    _replace_rule(NEW_RULE, OLD_RULE)


def _replace_rule(old: tuple[str, str], new: tuple[str, str]) -> None:
    """Each step a transaction of its own, so that no lock outlasts a moment, and safe to do again after a cut."""
    name, rule = new
    with op.get_context().autocommit_block():
        op.execute(f"alter table resolver.leads drop constraint if exists ck_leads_{name}")
        op.execute(f"alter table resolver.leads add constraint ck_leads_{name} check ({rule}) not valid")
        op.execute(f"alter table resolver.leads validate constraint ck_leads_{name}")
        op.execute(f"alter table resolver.leads drop constraint if exists ck_leads_{old[0]}")

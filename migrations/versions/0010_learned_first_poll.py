"""The first poll of a new lead falls on the first age of its account's learned schedule, where there is one.

Expand: the function keeps its name and its parameters.
"""

from __future__ import annotations

from alembic import context, op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

BEFORE = """
            v_now + p_first_poll_after + (random() - 0.5) * interval '1 second' + p_gap * (g.position - random())
        from new_leads n join given g using (queue_id)
"""
# As worker/schedule_book.py chooses: not from fewer than fifty leads, and one lead in fifty goes by the default.
# Learned ages lie just behind something, so they are never polled early.
AFTER = """
            v_now + p_gap * (g.position - random()) + case
                when s.first_age is null or n.id % 50 = 0
                then p_first_poll_after + (random() - 0.5) * interval '1 second'
                -- Beyond its default of two seconds the parameter is the wait of a long file for its turn.
                else greatest(p_first_poll_after - interval '2 seconds', interval '0')
                    + make_interval(secs => s.first_age * (1 + 0.05 * random())) end
        from new_leads n join given g using (queue_id) left join (
            select ages[1] as first_age from resolver.schedules
            where account_id = v_account and campaign_id = '' and leads >= 50
        ) s on true
"""


def upgrade() -> None:
    op.execute(_read_function().replace(BEFORE, AFTER))


def downgrade() -> None:
    op.execute(_read_function())


def _read_function() -> str:
    text: str = context.script.get_revision("0002").module.TRACK_LEADS
    if BEFORE not in text:
        raise ValueError("migration 0002 is not the one that this migration changes")
    return text.replace("create function", "create or replace function")

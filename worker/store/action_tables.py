"""The tables of the ledger of actions on held leads. See `worker.domain.actions` for what the states mean."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from worker.store.bookkeeping import metadata
from worker.store.tables import moment, outcomes, watches

__all__ = ["action_fields", "action_parks", "actions", "metadata"]  # importing this module completes the metadata

actions = Table(
    "actions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("quarantine_id", Text, nullable=False),
    Column("lead_id", ForeignKey("leads.id", ondelete="SET NULL")),  # NULL: a quarantine ID of no lead known here
    Column("since_event", BigInteger, nullable=False),  # the lead's last event when it was asked for
    Column("cycle", SmallInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("state", Text, nullable=False, server_default="requested"),
    Column("message", Text),  # LeadByte's own words, or our explanation
    Column("field_names", ARRAY(Text), nullable=False),
    Column("requested_by", Text, nullable=False),
    Column("reason", Text),
    Column("by_policy", Boolean, nullable=False),
    moment("requested_at", nullable=False),
    # When there is something to do: to send it, to take it back from whoever sends it (a lease), or to look what became
    # of it. NULL: nothing, or it waits for a person.
    moment("next_try_at"),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),  # requests that may have arrived
    Column("failures", SmallInteger, nullable=False, server_default="0"),  # in a row, that surely did not
    Column("token", BigInteger),  # the fence: who sends writes only while it stands
    *(moment(name) for name in ("sent_at", "unsure_at")),
    moment("held_seen_at"),  # the first look, long enough after, that showed an unsure one's lead still held
    *(moment(name) for name in ("acknowledged_at", "concluded_at", "follow_until")),
    Column("done_by", Text),
    CheckConstraint("kind in ('update', 'release', 'reject')", "kind_is_known"),
    CheckConstraint(
        "state in ('requested', 'sent', 'acknowledged', 'confirmed', 'refused', 'unsure')", "state_is_known"
    ),
    CheckConstraint("done_by in ('us', 'somebody else', 'unknown')", "done_by_is_known"),
    CheckConstraint("(concluded_at is not null) = (state in ('confirmed', 'refused'))", "concluded_at_means_concluded"),
    # Asking twice is one action, whoever asks: a lead leaves a hold once, one way.
    Index(
        "uq_actions_one_way_out_a_cycle",
        "account_id",
        "quarantine_id",
        "cycle",
        unique=True,
        postgresql_where=text("kind in ('release', 'reject') and state <> 'refused'"),
    ),
    Index("ix_actions_by_quarantine_id", "account_id", "quarantine_id", "id"),
    Index("ix_actions_by_lead", "lead_id"),
    Index("ix_actions_to_send", "account_id", "next_try_at", "id", postgresql_where=text("state = 'requested'")),
    Index("ix_actions_due", "next_try_at", postgresql_where=text("next_try_at is not null")),
    Index("ix_actions_in_doubt", "account_id", postgresql_where=text("state in ('sent', 'unsure')")),
)

# Lead data: here from the asking until it is sent; a trigger on `actions` deletes it with any state that is neither
# requested nor sent. In no view, granted to nobody, and without a constraint that could fail and quote it.
action_fields = Table(
    "action_fields",
    metadata,
    Column("action_id", ForeignKey("actions.id", ondelete="CASCADE"), primary_key=True),
    Column("fields", JSONB, nullable=False),
)

# The calls LeadByte does not permit the key; actions that need one wait, but for one that probes once a minute.
action_parks = Table(
    "action_parks",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("kind", Text, primary_key=True),
    Column("reason", Text, nullable=False),
    *(moment(name, nullable=False) for name in ("since", "probe_at")),
    CheckConstraint("kind in ('update', 'process')", "kind_is_known"),
)

# Whatever LeadByte did before it, the last record it told of this lead has seen.
watches.append_column(moment("last_told_at"))
# Held, and acted upon: to be looked at fast.
watches.append_column(moment("hurry_since"))

Index("ix_outcomes_by_quarantine_id", outcomes.c.quarantine_id, postgresql_where=text("quarantine_id is not null"))

"""The tables that help to run the product rather than to know of leads: counts, words, duties, work lists."""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    REAL,
    BigInteger,
    Column,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    SmallInteger,
    Table,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

from worker.store.tables import metadata, moment

# Importing this module completes the metadata.
__all__ = [
    "histograms", "metadata", "poll_counts", "rechecks", "resolutions", "schedules", "ticks", "unknown_words",
    "unpersisted",
]  # fmt: skip

# How many requests were made, in steps of ten seconds: for `reporting.pipeline`, kept for a day.
poll_counts = Table(
    "poll_counts",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("bucket", DateTime(timezone=True), primary_key=True),
    Column("polls", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
)

# Status words that the reader does not know, for a person to look at.
unknown_words = Table(
    "unknown_words",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("word", Text, primary_key=True),
    Column("shape", Text, nullable=False),  # of the reply, without any of its values
    *(moment(name, nullable=False) for name in ("first_seen_at", "last_seen_at")),
    Column("times", Integer, nullable=False),
)

ticks = Table(
    "ticks",
    metadata,
    # When each recurring duty was last done, by whomever; two beats or none change nothing about it.
    Column("duty", Text, primary_key=True),
    moment("at", nullable=False),
)

# One row for every final lead that is to be looked at again; while it is, it has a watch as well.
rechecks = Table(
    "rechecks",
    metadata,
    Column("lead_id", ForeignKey("leads.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", Integer, nullable=False),
    moment("next_recheck_at", nullable=False),
    moment("recheck_until", nullable=False),
    Column("told_digest", BigInteger),  # of the last reading, carried from watch to watch
    Index("ix_rechecks_due", "account_id", "next_recheck_at"),
)

# The replies that wait to be turned into facts; replaying a reply puts it here again.
unpersisted = Table(
    "unpersisted",
    metadata,
    Column("reply_id", BigInteger, primary_key=True, autoincrement=False),
    Column("lead_id", BigInteger, nullable=False),
    Column("attempts", SmallInteger, nullable=False, server_default="0"),
    Column("parked_because", Text),  # the poison guard: kept for a person, not taken again
    Index("ix_unpersisted_by_lead", "lead_id"),
    Index("ix_unpersisted_waiting", "reply_id", postgresql_where=text("parked_because is null")),
)

# What learning has not taken in yet: one row for every watch that ended, written with its end.
resolutions = Table(
    "resolutions",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", Integer, nullable=False),
    Column("campaign_id", Text),
    Column("open_age", REAL, nullable=False),  # seconds of age at which the lead was certainly open
    Column("resolved_age", REAL),  # and at which it certainly was not; NULL: we stopped asking
)

# What learning has taken in: counts that fade, by age. The campaign '' stands for the account as a whole.
histograms = Table(
    "histograms",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("campaign_id", Text, primary_key=True),
    moment("observed_at", nullable=False),
    Column("resolved", JSONB, nullable=False),
    Column("gave_up", JSONB, nullable=False),
)

# The poll ages in force: one row each, so that all workers go by the same.
schedules = Table(
    "schedules",
    metadata,
    Column("account_id", ForeignKey("accounts.id"), primary_key=True),
    Column("campaign_id", Text, primary_key=True),
    Column("version", Integer, nullable=False),
    moment("computed_at", nullable=False),
    Column("leads", Double, nullable=False),  # how many it was learned from, faded ones counting less
    Column("price_seconds", Double, nullable=False),
    Column("ages", ARRAY(Double), nullable=False),
    Column("expected_polls", Double, nullable=False),
    Column("expected_wait_seconds", Double, nullable=False),
)

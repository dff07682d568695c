"""The tables that help to run the product rather than to know of leads: counts, words, duties."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, ForeignKey, Integer, Table, Text

from worker.store.tables import metadata, moment

__all__ = ["metadata", "poll_counts", "ticks", "unknown_words"]  # importing this module completes the metadata

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

"""The tables, as SQLAlchemy knows them; `migrations/` makes them, and `alembic check` holds the two together.

All live in a schema of their own, because the capture site may share the database and have a table `leads` itself. The
contract for everybody else is the schema `reporting` and the function `track_lead`; tables are free to change.
"""

from __future__ import annotations

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    Double,
    ForeignKey,
    Identity,
    Index,
    Integer,
    MetaData,
    Numeric,
    SmallInteger,
    Table,
    Text,
    UniqueConstraint,
    func,
    text,
)

from worker.domain.lifecycle import FINAL, State

SCHEMA = "resolver"

metadata = MetaData(
    schema=SCHEMA,
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
        "pk": "pk_%(table_name)s",
    },
)


def moment(name: str, *, nullable: bool = True, default_now: bool = False) -> Column[object]:
    """A column that holds a moment, with its zone."""
    return Column(name, DateTime(timezone=True), nullable=nullable, server_default=func.now() if default_now else None)


def _lead_key(*, primary: bool = False) -> Column[int]:
    """Of a row that goes with its lead, by the trigger `forget_leads`: to check a foreign key costs as much as the row.

    Such rows are only ever written under a lock that keeps the lead there: its own, or its watch's.
    """
    return Column("lead_id", BigInteger, primary_key=primary, nullable=False, autoincrement=False)


def _quote_all(states: frozenset[State]) -> str:
    return ", ".join(f"'{state}'" for state in sorted(states))


accounts = Table(
    "accounts",
    metadata,
    Column("id", Integer, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    # The pacer: the moment at which the next request of this account may be sent (store/budget.py).
    moment("next_slot_at", nullable=False, default_now=True),
    # A pause: why, by whom (operator, settings, key, throttled), until when. While it lasts nothing is claimed.
    moment("paused_until"),
    Column("pause_kind", Text),
    Column("pause_reason", Text),
    # What LeadByte bears just now, as a share of the budget, and the state of the breaker (worker/domain/manners.py).
    Column("rate_share", Double, nullable=False, server_default="1"),
    Column("strain", Double, nullable=False, server_default="0"),
    Column("strained_in_a_row", Integer, nullable=False, server_default="0"),
    Column("trips", Integer, nullable=False, server_default="0"),
    moment("pressure_changed_at"),
    moment("suspect_waits_until"),  # a permit is left free till then, see store/suspects.py
    # Sent since midnight (UTC), for a budget a day.
    Column("requests_day", Date),
    Column("requests_today", Integer, nullable=False, server_default="0"),
    CheckConstraint("(paused_until is null) = (pause_kind is null)", "pause_has_a_kind"),
)

claims = Table(
    "claims",
    metadata,
    # The id is the fencing token: a worker may write about a lead only while the lead still carries it.
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("permits", Integer, nullable=False),  # of the account's concurrency
    moment("lease_until", nullable=False),  # of the permits alone (worker/permits.py): leads have a lease of their own
    Column("run", BigInteger),  # of polling that still sends under it (store/handing_over.py)
    Index("ix_claims_by_account", "account_id"),
)

leads = Table(
    "leads",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("queue_id", Text, nullable=False),
    Column("reference", Text),
    Column("state", Text, nullable=False, server_default=State.QUEUED),
    Column("state_reason", Text),
    moment("tracked_at", nullable=False, default_now=True),
    moment("submitted_at", nullable=False, default_now=True),
    moment("resolved_at"),
    # What finished watches have counted; a watch still under way has its own on top.
    Column("polls", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    UniqueConstraint("account_id", "queue_id"),
    CheckConstraint(f"state in ({_quote_all(frozenset(State))})", "state_is_known"),
    CheckConstraint(f"(resolved_at is not null) = (state in ({_quote_all(FINAL)}))", "resolved_at_means_final"),
    # Looked at with every update. As one pattern with a count in it, it took half of Postgres' time.
    CheckConstraint("queue_id !~ '[^0-9A-Za-z-]' and length(queue_id) between 8 and 64", "queue_id_is_short_and_plain"),
    Index("ix_leads_by_submission", "submitted_at"),
    Index("ix_leads_unresolved", "account_id", "state", postgresql_where=text("resolved_at is null")),
    Index("ix_leads_by_resolution", "resolved_at", postgresql_where=text("resolved_at is not null")),
)

# One row for every lead there is something to ask about, gone as soon as there is not. Each poll writes here twice, so
# these rows are kept apart from the leads: narrow, few (only the open ones), with two small indexes.
watches = Table(
    "watches",
    metadata,
    Column("lead_id", ForeignKey("leads.id", ondelete="CASCADE"), primary_key=True),
    Column("account_id", Integer, nullable=False),
    Column("queue_id", Text, nullable=False),
    moment("watched_since", nullable=False),  # ages count from here; redrive starts anew
    # NULL: parked, and the lead's state_reason says why.
    moment("next_poll_at"),
    # The lease: both set or both null.
    Column("claim_id", BigInteger),
    moment("lease_until"),
    Column("polls", Integer, nullable=False, server_default="0"),
    Column("failures", Integer, nullable=False, server_default="0"),
    Column("failure_streak", SmallInteger, nullable=False, server_default="0"),
    Column("crashes", SmallInteger, nullable=False, server_default="0"),  # leases lost in a row: the poison guard
    moment("last_poll_at"),
    moment("open_until"),  # an answer before the last one, which said "not yet": what the schedule learns from
    Column("last_note", Text),  # what the last poll said, in one line
    moment("not_found_since"),
    Column("told_digest", BigInteger),  # of the last reading: an unchanged one is not journalled again
    Column("is_recheck", Boolean, nullable=False, server_default=text("false")),  # of a final lead: nobody waits for it
    CheckConstraint("(claim_id is null) = (lease_until is null)", "lease_has_an_end"),
    # Leased and parked watches are in neither the way of the claim nor in its index.
    Index(
        "ix_watches_due",
        "account_id",
        "next_poll_at",
        postgresql_where=text("claim_id is null and next_poll_at is not null"),
    ),
    Index("ix_watches_leased", "lease_until", postgresql_where=text("claim_id is not null")),
    Index("ix_watches_rechecked", "account_id", postgresql_where=text("is_recheck")),
    # Mostly empty: see `SUSPECT_CRASHES`.
    Index("ix_watches_suspect", "account_id", postgresql_where=text("crashes >= 2")),
)

# The journal: appended to, never changed; forgotten when it is old (see store/forgetting.py).
replies = Table(
    "replies",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _lead_key(),
    Column("claim_id", BigInteger, nullable=False),
    moment("received_at", nullable=False),
    Column("http_status", SmallInteger, nullable=False),
    Column("body", Text, nullable=False),  # as sent, made storable, without lead data, cut at the cap
    Column("cut", Text),  # what was taken out of the body, if anything
    # One poll tells one thing once: a doubled journal write is refused here, whatever went wrong before it.
    UniqueConstraint("lead_id", "claim_id"),
    Index("ix_replies_by_age", "received_at"),
)

outcomes = Table(
    "outcomes",
    metadata,
    _lead_key(primary=True),
    Column("campaign_accepted", Boolean),
    Column("result_code", Integer),
    Column("result_reason", Text),
    Column("leadbyte_lead_id", Text),
    Column("rejection_id", Text),
    Column("campaign_id", Text),
    Column("campaign_name", Text),
    Column("supplier_id", Text),
    Column("supplier_name", Text),
    Column("sold", Boolean),
    Column("buyers_told", Boolean, nullable=False),  # false: no reply ever had the block; "none" is another thing
    Column("deliveries_told", Boolean, nullable=False),
    Column("revenue", Numeric(18, 6)),
    Column("payout", Numeric(18, 6)),
    Column("payout_pending", Boolean),
    Column("currency", Text),
    Column("quarantine_id", Text),
    moment("processed_at"),
    Column("processed_raw", Text),
    Column("fields_present", ARRAY(Text)),  # lead-data fields that LeadByte shows as filled: names, never values
    Column("last_reply_id", BigInteger, nullable=False),
    # Set: replies were forgotten, so what they told is known from here alone.
    moment("journal_cut_at"),
)

buyers = Table(
    "buyers",
    metadata,
    _lead_key(primary=True),
    Column("key", Text, primary_key=True),
    Column("buyer_id", Text),
    Column("bid", Text),
    Column("name", Text),
    Column("status", Text),
    Column("revenue", Numeric(18, 6)),
    Column("currency", Text),
)

deliveries = Table(
    "deliveries",
    metadata,
    _lead_key(primary=True),
    Column("key", Text, primary_key=True),
    Column("delivery_id", Text),
    Column("name", Text),
    Column("buyer_id", Text),
    Column("status", Text),
    Column("reason", Text),
    Column("revenue", Numeric(18, 6)),
    moment("first_seen_at", nullable=False),
    moment("last_seen_at", nullable=False),
)

lead_events = Table(
    "lead_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _lead_key(),
    moment("at", nullable=False),
    Column("from_state", Text),  # NULL: the lead's first event
    Column("to_state", Text, nullable=False),
    Column("cause", Text, nullable=False),
    Column("reply_id", BigInteger),  # the reply that says so, where one does
    # A reply moves a lead once, however often it is persisted.
    UniqueConstraint("reply_id"),
    Index("ix_lead_events_by_lead", "lead_id", "id"),
)

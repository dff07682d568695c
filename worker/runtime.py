"""What one process owns: its settings, its engine, its client; made on first use, which is after any fork."""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from functools import cache

from sqlalchemy import Engine

from worker.accounts import Account, load_accounts
from worker.domain.backoff import DEFAULT_SCHEDULE
from worker.domain.decide import Policy
from worker.domain.learning.bounds import Bounds
from worker.leadbyte.acting import ActingClient
from worker.leadbyte.choice import open_transport
from worker.leadbyte.client import LeadByteClient
from worker.learning import Learning
from worker.poller import Poller
from worker.results import Rules
from worker.schedule_book import ScheduleBook
from worker.sending import Sender
from worker.settings import load_settings
from worker.store.db import open_engine
from worker.store.rechecks import Recheck


def open_process_engine() -> Engine:
    """This process's engine; a forked child gets its own, since two processes on one connection mix up answers."""
    return _open_engine(os.getpid())


@cache
def read_accounts() -> Mapping[str, Account]:
    """The configured accounts; none where only another process has the key (intake needs none)."""
    return load_accounts(load_settings())


def read_rules() -> Rules:
    """What is configured of recording what replies tell."""
    return Rules(read_accounts(), read_recheck())


def read_recheck() -> Recheck | None:
    """How final leads are looked at again; None: they are not."""
    settings = load_settings()
    if not settings.lead_resolver_recheck_days:
        return None
    return Recheck(
        lasts=timedelta(days=settings.lead_resolver_recheck_days),
        every=timedelta(hours=settings.lead_resolver_recheck_every_hours),
        share=settings.lead_resolver_recheck_share,
    )


def make_poller() -> Poller:
    """All that polling needs in this process."""
    return _make_poller(os.getpid())


def make_sender() -> Sender:
    """All that acting on held leads needs in this process."""
    settings = load_settings()
    return Sender(
        engine=open_process_engine(),
        client=ActingClient(settings.leadbyte_timeout_seconds),
        accounts=read_accounts(),
        follow=settings.action_follow,
    )


def make_schedule_book() -> ScheduleBook:
    """The learned schedules as this process knows them."""
    return _make_schedule_book(os.getpid())


def read_learning() -> Learning:
    """The settings of learning."""
    settings = load_settings()
    return Learning(
        price=settings.lead_resolver_poll_price_seconds,
        bounds=Bounds(settings.longest_gap.total_seconds(), settings.lead_resolver_first_minute_gap_seconds),
        deadline=settings.abandon_after.total_seconds(),
        half_life_leads=settings.lead_resolver_learn_half_life_leads,
        is_used=settings.lead_resolver_learn,
    )


@cache
def _make_schedule_book(_pid: int) -> ScheduleBook:
    settings = load_settings()
    return ScheduleBook(open_process_engine(), settings.longest_gap, is_used=settings.lead_resolver_learn)


@cache
def _open_engine(_pid: int) -> Engine:
    return open_engine(load_settings().required_database_url())


@cache
def _make_poller(_pid: int) -> Poller:
    settings = load_settings()
    return Poller(
        engine=open_process_engine(),
        client=LeadByteClient(open_transport(settings.lead_resolver_transport), settings.leadbyte_timeout_seconds),
        accounts=read_accounts(),
        policy=Policy(settings.abandon_after, settings.not_found_grace, DEFAULT_SCHEDULE),
        batch_size=settings.lead_resolver_batch_size,
        keep_lead_data=settings.lead_resolver_keep_lead_data,
        reads_facts=read_recheck() is not None,
        choose_schedule=make_schedule_book().choose_schedule,
    )

"""What Approved and Rejected mean where LeadByte's own setting decides it: "system accept" or "buyer-delivery accept".

The setting is LeadByte's, and no reply shows it, so it is told to us (LEADBYTE_ACCEPTANCE, or the accounts file). What
a reply itself shows always outweighs it. Neighbours: `worker.domain.classify` reads replies without it,
`worker.results` applies it to what is known of the lead by then, its campaign included.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from msgspec.structs import replace

from worker.domain.facts import Facts, Named
from worker.domain.lifecycle import State


class Acceptance(StrEnum):
    """Who accepts a lead, and with it what a verdict tells beside itself."""

    TOLD = "told"  # not known: nothing is concluded beyond what a reply shows
    SYSTEM = "system"  # the campaign's own rules: Approved may be unsold, Rejected is refused by the campaign
    BUYER = "buyer"  # a buyer's delivery: Approved is sold, Rejected may be refused or unsold


@dataclass(frozen=True, slots=True)
class CampaignRules:
    """What is configured of one campaign; None: as the account has it."""

    acceptance: Acceptance | None = None
    release_when_fields: Sequence[str] | None = None
    reject_after_days: float | None = None


_NO_RULES = CampaignRules()


def find_rules(campaigns: Mapping[str, CampaignRules], campaign: Named | None) -> CampaignRules:
    """The rules of a campaign, which is named in them by its id or by its name."""
    if campaign is None or not campaigns:
        return _NO_RULES
    by_name = {name.strip().casefold(): rules for name, rules in campaigns.items()}
    told = (name.casefold() for name in (campaign.id, campaign.name) if name is not None)
    return next((by_name[name] for name in told if name in by_name), _NO_RULES)


def conclude(facts: Facts, state: State, acceptance: Acceptance) -> Facts:
    """The facts, with what the verdict tells under this setting where no reply told it."""
    if acceptance is Acceptance.TOLD:
        return facts
    if _says_refused(facts, state, acceptance) and facts.campaign_accepted is None:
        return replace(facts, campaign_accepted=False)
    if _says_sold(facts, state, acceptance) and facts.sold is None:
        return replace(facts, sold=True)
    return facts


def forget_conclusion(facts: Facts, state: State, acceptance: Acceptance) -> Facts:
    """The facts without what `conclude` may have added: more may be told by now, of the campaign as well."""
    if acceptance is Acceptance.TOLD:
        return facts
    if _says_refused(facts, state, acceptance) and facts.campaign_accepted is False:
        return replace(facts, campaign_accepted=None)
    if _says_sold(facts, state, acceptance) and facts.sold is True:
        return replace(facts, sold=None)
    return facts


def _says_refused(facts: Facts, state: State, acceptance: Acceptance) -> bool:
    if acceptance is not Acceptance.SYSTEM or state is not State.REJECTED:
        return False
    shows_refusal = (facts.result_code is not None and facts.result_code < 0) or facts.rejection_id is not None
    return not shows_refusal


def _says_sold(facts: Facts, state: State, acceptance: Acceptance) -> bool:
    if acceptance is not Acceptance.BUYER or state is not State.APPROVED or facts.buyers is not None:
        return False
    deliveries = facts.deliveries or ()
    shows_sale = any(delivery.sold for delivery in deliveries)
    shows_none = bool(deliveries) and all(delivery.declined for delivery in deliveries)
    return not (shows_sale or shows_none)

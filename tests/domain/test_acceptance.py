"""LeadByte's "system accept" and "buyer-delivery accept": what a verdict tells beside itself under each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.acceptance import Acceptance, CampaignRules, conclude, find_rules, forget_conclusion
from worker.domain.facts import Buyer, Delivery, Facts, Named
from worker.domain.lifecycle import State

TOLD, SYSTEM, BUYER = Acceptance.TOLD, Acceptance.SYSTEM, Acceptance.BUYER
APPROVED, REJECTED = State.APPROVED, State.REJECTED


@pytest.mark.parametrize(
    ("facts", "state", "by_acceptance"),
    [
        # facts, state, (campaign_accepted, sold) under told, system, buyer
        (Facts(), REJECTED, [(None, None), (False, None), (None, None)]),
        (Facts(campaign_accepted=True, lead_id="7", result_code=1), REJECTED, [(True, None)] * 3),
        (Facts(campaign_accepted=False, result_code=-8), REJECTED, [(False, None)] * 3),
        (Facts(campaign_accepted=True), APPROVED, [(True, None), (True, None), (True, True)]),
        (Facts(campaign_accepted=True, buyers=(), sold=False), APPROVED, [(True, False)] * 3),
        (Facts(campaign_accepted=True, buyers=(Buyer("1"),)), APPROVED, [(True, None)] * 3),
        (Facts(campaign_accepted=True, deliveries=(Delivery("1", status="Skipped"),)), APPROVED, [(True, None)] * 3),
        (Facts(), State.PENDING, [(None, None)] * 3),
        (Facts(), State.QUARANTINED, [(None, None)] * 3),
    ],
)
def test_a_verdict_tells_what_the_setting_makes_it_tell(
    facts: Facts, state: State, by_acceptance: list[tuple[bool | None, bool | None]]
) -> None:
    concluded = [conclude(facts, state, acceptance) for acceptance in (TOLD, SYSTEM, BUYER)]
    assert [(known.campaign_accepted, known.sold) for known in concluded] == by_acceptance


facts = st.builds(
    Facts,
    campaign_accepted=st.none() | st.booleans(),
    result_code=st.none() | st.sampled_from([1, -2]),
    lead_id=st.none() | st.just("7"),
    rejection_id=st.none() | st.just("9"),
    sold=st.none() | st.booleans(),
    buyers=st.none() | st.just(()),
    deliveries=st.none() | st.just((Delivery("1", status="Sold"),)),
)


@given(facts, st.sampled_from(State), st.sampled_from(Acceptance))
def test_what_a_reply_shows_outweighs_the_setting_and_concluding_can_be_taken_back(
    known: Facts, state: State, acceptance: Acceptance
) -> None:
    concluded = conclude(known, state, acceptance)
    for name in ("campaign_accepted", "sold"):
        assert getattr(known, name) in {None, getattr(concluded, name)}
    assert conclude(concluded, state, acceptance) == concluded
    assert conclude(forget_conclusion(concluded, state, acceptance), state, acceptance) == concluded


@pytest.mark.parametrize(
    ("campaign", "acceptance"),
    [
        (Named("565", "Solar"), SYSTEM),
        (Named(None, "solar uk"), BUYER),
        (Named("7", " Solar UK".strip()), BUYER),
        (Named("565", "Solar UK"), SYSTEM),
        (Named("7", "Life"), None),
        (None, None),
    ],
)
def test_a_campaign_is_known_by_its_id_or_its_name(campaign: Named | None, acceptance: Acceptance | None) -> None:
    campaigns = {"565": CampaignRules(SYSTEM), "Solar UK": CampaignRules(BUYER)}
    assert find_rules(campaigns, campaign).acceptance == acceptance

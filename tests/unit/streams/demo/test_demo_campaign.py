"""The demo's campaign is one that workers serve, and speaks of segments that the shipped policy has."""

from models.decisions.campaign import parse
from models.policy import load
from streams.campaigns.published import readable
from streams.demo.campaign import CONSENT, DOCUMENT, NAME
from streams.settings import Settings


def test_the_demo_s_campaign_is_served_and_its_consent_assumed() -> None:
    """A renamed segment or channel would make the demo show nothing."""
    campaign = readable(DOCUMENT)
    assert parse(DOCUMENT, load()) == campaign
    assert campaign.name == NAME
    assert Settings(assumed_consent=CONSENT).consent == {campaign.consent: True}

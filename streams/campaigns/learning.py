"""Learning live campaigns: rewards from their topic in, weights for the workers out."""

from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

from models.bandits.live import LearntCampaign, learn
from models.decisions.campaign import Campaign
from schemas.topics import CAMPAIGNS
from streams.campaigns.published import CampaignRefused, publish_weights, published, weights_key
from streams.campaigns.reporting import rewards_of
from streams.kafka.broadcast import read_latest
from streams.settings import Settings

# Rewards with their features take 3 KB each in memory; older ones than these say little about the shop of today.
MOST_REWARDS = 50_000


class Lesson(NamedTuple):
    """What a campaign has learnt.

    Attributes:
        campaign: its served version.
        learnt: None: too few decisions are over.
        sent: the weights are new, and workers were given them.
    """

    campaign: Campaign
    learnt: LearntCampaign | None
    sent: bool


async def learn_campaigns(settings: Settings, names: Sequence[str] = ()) -> AsyncIterator[Lesson]:
    """Learns each campaign that chooses by bandit, or those of these names; publishes weights that are new.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: a topic is missing.
        CampaignRefused: there is no such campaign, or it has fixed shares.
        WeightsRefused: there are too many arms for one record.
    """
    campaigns = await published(settings)
    if unknown := [name for name in names if name not in campaigns]:
        raise CampaignRefused(f"there is no campaign {unknown[0]}, only {', '.join(campaigns) or 'none at all'}")
    before = await read_latest(settings, CAMPAIGNS)
    for name in names or campaigns:
        campaign = campaigns[name].campaign
        if campaign is None or campaign.choose.by != "bandit":
            if name in names:
                raise CampaignRefused(f"{name} cannot be read or has fixed shares: there is nothing to learn")
            continue
        rewards, _ = await rewards_of(settings, name, MOST_REWARDS)
        found = learn(rewards, campaign)
        is_new = found is not None and found.weights.encode() != before.get(weights_key(name))
        if found is not None and is_new:
            await publish_weights(settings, found.weights)
        yield Lesson(campaign, found, is_new)

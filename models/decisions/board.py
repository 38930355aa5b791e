"""The campaigns that are served, ready to decide by."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from models.decisions.campaign import Campaign
from models.decisions.decide import Decider, Values
from models.decisions.ledger import Ledger
from models.decisions.weights import LearntWeights
from schemas.changes import Cause, EventCause, SilenceCause


class Board:
    """Campaigns by what makes them decide.

    Attributes:
        deciders: by name of the campaign.
    """

    def __init__(self, campaigns: Iterable[Campaign] = (), weights: Iterable[LearntWeights] = ()) -> None:
        """A board to decide by.

        Args:
            campaigns: each name once; those that are paused are left out.
            weights: what was learnt; of a campaign with other arms than theirs they do not count.
        """
        self.deciders = {each.name: Decider(each) for each in sorted(campaigns, key=lambda campaign: campaign.name)}
        self._weights = {
            each.campaign: each
            for each in weights
            if (decider := self.deciders.get(each.campaign)) is not None and each.fits(decider.campaign)
        }
        self._by_entry: dict[tuple[str, str], list[Decider]] = {}
        for decider in self.deciders.values():
            if (when := decider.campaign.when) is not None:
                self._by_entry.setdefault((when.dimension, when.to), []).append(decider)

    def entered(self, dimension: str, segment: str, cause: Cause) -> list[Decider]:
        """Who decides when a customer enters a segment: only where the customer did something, or nothing for so long.

        Another policy, model or baseline is no news of the customer. Ordered by the campaigns' names.
        """
        if not self._by_entry or not isinstance(cause, EventCause | SilenceCause):
            return []
        return self._by_entry.get((dimension, segment), [])

    def values(self, campaign: str, features: bytes) -> Values | None:
        """What the arms are held to be worth for a customer with these features; None: nothing was learnt."""
        weights = self._weights.get(campaign)
        return None if weights is None else weights.values(features)


class CampaignTerms(NamedTuple):
    """On what terms a partition's customers are decided about.

    Attributes:
        board: the campaigns that are served.
        ledger: what the partition has spent.
        consent: channel -> whether customers of whom nothing is known are taken to have consented.
    """

    board: Board
    ledger: Ledger = Ledger()
    consent: Mapping[str, bool] = {}

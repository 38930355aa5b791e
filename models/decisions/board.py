"""The campaigns that are served, ready to decide by."""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from models.decisions.campaign import Campaign
from models.decisions.decide import Decider
from models.decisions.ledger import Ledger
from schemas.changes import Cause, EventCause, SilenceCause


class Board:
    """Campaigns by what makes them decide.

    Attributes:
        deciders: by name of the campaign.
    """

    def __init__(self, campaigns: Iterable[Campaign] = ()) -> None:
        """Args: campaigns: each name once; those that are paused are left out."""
        self.deciders = {each.name: Decider(each) for each in sorted(campaigns, key=lambda campaign: campaign.name)}
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

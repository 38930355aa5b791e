"""The campaigns that a worker decides by, as the topic `campaigns` gives them."""

import structlog

from models.decisions.board import Board
from models.decisions.campaign import Campaign, CampaignError
from models.decisions.weights import LearntWeights, WeightsRefused
from streams.campaigns.published import paused_name, readable, weights_name

log = structlog.get_logger(__name__)


class ServedCampaigns:
    """Takes records of the topic, one after another.

    Attributes:
        refused: documents that could not be served, since the start.
    """

    def __init__(self) -> None:
        self._campaigns: dict[str, Campaign] = {}
        self._paused: set[str] = set()
        self._weights: dict[str, LearntWeights] = {}
        self.refused = 0

    def take(self, key: bytes, value: bytes | None) -> bool:
        """Takes one record; False: its document is refused, and the one before it is served on."""
        if (name := paused_name(key)) is not None:
            self._pause(name, value is not None)
            return True
        if (name := weights_name(key)) is not None:
            return self._learn(name, value)
        name = key.decode(errors="replace")
        if value is None:
            if self._campaigns.pop(name, None) is not None:
                log.info("campaign ended", campaign=name)
            return True
        try:
            campaign = readable(value)
            if campaign.name != name:
                raise CampaignError(f"the campaign {campaign.name} stands under the key {name}")
        except CampaignError as exc:
            self.refused += 1
            log.error("published campaign refused, the one before it decides on", campaign=name, why=str(exc))
            return False
        self._campaigns[name] = campaign
        log.info("campaign served", campaign=campaign.label, paused=name in self._paused)
        return True

    def _pause(self, name: str, paused: bool) -> None:
        if paused:
            self._paused.add(name)
        else:
            self._paused.discard(name)
        log.info("campaign paused" if paused else "campaign resumed", campaign=name)

    def _learn(self, name: str, value: bytes | None) -> bool:
        if value is None:
            self._weights.pop(name, None)
            return True
        try:
            weights = LearntWeights.decode(value)
            if weights.campaign != name:
                raise WeightsRefused(f"weights of {weights.campaign} under the key of {name}")
        except WeightsRefused as exc:
            self.refused += 1
            log.error("weights refused, those before are served on", campaign=name, why=str(exc))
            return False
        self._weights[name] = weights
        log.info("weights served", campaign=name, model=weights.model)
        return True

    def board(self) -> Board:
        """The campaigns that decide now."""
        served = (campaign for name, campaign in self._campaigns.items() if name not in self._paused)
        return Board(served, self._weights.values())

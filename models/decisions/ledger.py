"""One budget over many partitions without a coordinator: each partition has a fixed share and never spends more.

The shares of all partitions sum to the budget, so the budget holds whatever happens to workers: what a partition has spent
is stored in the same write as the decisions that spent it. The price: a partition that has used up its share suppresses
with the reason `budget` while others may have money left.
"""

from typing import NamedTuple

from models.decisions.budget import window_of
from models.decisions.campaign import Campaign
from schemas.campaigns import CampaignSpend
from schemas.times import DAY_S


def share_minor(amount_minor: int, partition: int, partitions: int) -> int:
    """What one of `partitions` may spend in a window; the first ones get what does not divide evenly.

    >>> [share_minor(10, partition, 4) for partition in range(4)]
    [3, 3, 2, 2]
    """
    each, over = divmod(amount_minor, partitions)
    return each + (partition < over)


def amount_minor(campaign: Campaign) -> int | None:
    """The budget of a window in whole minor units; None: the campaign has none."""
    limit = campaign.limits.budget
    return None if limit is None else int(limit.amount * campaign.unit_minor + 1e-6)


class Ledger(NamedTuple):
    """What one partition has spent of each budget. A value: `after` gives another one.

    Attributes:
        partition: its number.
        partitions: how many there are.
        spends: of each campaign that has spent, in the latest window in which it has.
    """

    partition: int = 0
    partitions: int = 1
    spends: tuple[CampaignSpend, ...] = ()

    def left_minor(self, campaign: Campaign, at: float) -> int | None:
        """What `campaign` may still spend here at `at` (epoch seconds); None: it has no budget."""
        amount, limit = amount_minor(campaign), campaign.limits.budget
        if amount is None or limit is None:
            return None
        spent = self._spent(campaign, window_of(at, limit.days), limit.days)
        return max(share_minor(amount, self.partition, self.partitions) - spent, 0) if spent is not None else 0

    def after(self, campaign: Campaign, at: float, minor: int) -> "Ledger":
        """The ledger after `campaign` spent `minor` at `at`.

        Raises:
            ValueError: there is not as much left; the decision should have suppressed the arm.
        """
        limit, left = campaign.limits.budget, self.left_minor(campaign, at)
        if limit is None or left is None or not minor:
            return self
        if minor > left:
            raise ValueError(f"{campaign.label} spends {minor} of a share that has {left} left")
        window = window_of(at, limit.days)
        spent = self._spent(campaign, window, limit.days) or 0
        kept = CampaignSpend(campaign.name, limit.days, window, spent + minor)
        return self._replace(spends=(*(each for each in self.spends if each.campaign != campaign.name), kept))

    def _spent(self, campaign: Campaign, window: int, days: float) -> int | None:
        """Minor units spent in a window; None: a later window has begun, and an earlier one is closed.

        Where a new version has windows of another length, what was spent in a window that overlaps counts again: a
        change of the document can make a campaign spend less, never more.
        """
        known = next((each for each in self.spends if each.campaign == campaign.name), None)
        if known is None:
            return 0
        if known.days == days:
            return known.minor if window == known.window else (0 if window > known.window else None)
        begins, ended = window * days * DAY_S, (known.window + 1) * known.days * DAY_S
        return known.minor if begins < ended else 0

"""The decision: one campaign, one customer, one moment in; one `Action` out.

The order is fixed, and the first reason that holds for an arm is the one recorded:

1. holdout: the customer is never contacted.
2. consent: to the campaign, to the arm's channel, to profiling.
3. cap: too many contacts within the days before.
4. quiet hours where the customer is.
5. budget: what is left of the lease does not pay for the arm.

`none` is never suppressed. The arms that are left share the probability; the draw is made by hash. Nothing here knows the
time of day, a random generator or what was decided for anybody else.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from models.decisions.campaign import CHANNELS, Arm, Campaign
from models.decisions.draw import FloatArray, drawn, floored, fraction, is_held_out, seed_of, shares_of_wins
from models.decisions.quiet import quiet_hours
from schemas.actions import NONE, Action, Suppression, action_id
from schemas.changes import Cause, Contribution
from schemas.times import DAY_S, to_rfc3339

PROFILING = "profiling"
HOUR_S = 3600.0


class Recipient(NamedTuple):
    """What a decision needs to know of one customer.

    Attributes:
        customer_id: the customer.
        decisions: of this campaign about them so far; the next has n = decisions + 1.
        contacts: when earlier decisions of this campaign contacted them, epoch seconds, any order.
        consent: as in `attributes`; what is absent is refused for channels and granted for profiling.
        time_zone: IANA; None: the campaign's.
    """

    customer_id: str
    decisions: int = 0
    contacts: tuple[float, ...] = ()
    consent: Mapping[str, bool] = {}
    time_zone: str | None = None


class Values(NamedTuple):
    """What a model holds the arms to be worth for one customer.

    Attributes:
        samples: (samples, arms): draws of each arm's reward, costs taken off where the campaign asks for it, in the order
            of `Campaign.arm_names`.
        model: version of the bandit.
        reasons: which features made an arm the better one, by arm.
        steady: (samples, arms), the same for everybody; None: only `samples` count.
        share: of the probability that follows `samples`, where there is `steady`.
    """

    samples: FloatArray
    model: str
    reasons: Mapping[str, tuple[Contribution, ...]] = {}
    steady: FloatArray | None = None
    share: float = 1.0


class Cell(NamedTuple):
    """Who is asked for at which moment, and why: what is the same for all arms."""

    recipient: Recipient
    at: float
    cause: Cause


class Decider:
    """A campaign compiled for deciding, once a version."""

    __slots__ = ("_costs_minor", "_quiet", "campaign", "global_holdout", "global_salt")

    def __init__(self, campaign: Campaign, global_holdout: float = 0.0, global_salt: str = "") -> None:
        """Args: global_holdout: share of customers whom no campaign contacts, and the salt of that draw."""
        self.campaign = campaign
        self.global_holdout, self.global_salt = global_holdout, global_salt
        self._costs_minor = {arm.name: round(arm.cost * campaign.unit_minor) for arm in campaign.arms}
        span = campaign.limits.quiet_hours
        self._quiet = None if span is None else quiet_hours(span)

    def cost_minor(self, arm: str) -> int:
        """What an arm costs, in minor units; 0 for `none`."""
        return self._costs_minor.get(arm, 0)

    def in_holdout(self, customer_id: str) -> bool:
        """Whether a customer is in the campaign's holdout or in that of all campaigns."""
        campaign = self.campaign
        return is_held_out(
            campaign.holdout, campaign=campaign.name, salt=campaign.salt, customer_id=customer_id
        ) or is_held_out(self.global_holdout, campaign="", salt=self.global_salt, customer_id=customer_id)

    def suppressed(self, recipient: Recipient, at: float, lease_minor: int | None) -> dict[str, Suppression]:
        """Arm -> why it can't be drawn for `recipient` at `at` (epoch seconds)."""
        if self.in_holdout(recipient.customer_id):
            return {arm.name: "holdout" for arm in self.campaign.arms}
        return self._limited(recipient, at, lease_minor)

    def reachable(self, recipient: Recipient, at: float, lease_minor: int | None) -> tuple[str, ...]:
        """The arms that can be drawn, or could but for the holdout: whom a holdout is to be compared with."""
        why = self._limited(recipient, at, lease_minor)
        return tuple(name for name in self.campaign.arm_names if name not in why)

    def _limited(self, recipient: Recipient, at: float, lease_minor: int | None) -> dict[str, Suppression]:
        campaign = self.campaign
        capped = self._is_capped(recipient, at)
        quiet = self._quiet is not None and self._quiet.covers(at, recipient.time_zone or campaign.time_zone)
        why: dict[str, Suppression] = {}
        for arm in campaign.arms:
            if not self._consents(recipient, arm):
                why[arm.name] = "consent"
            elif capped:
                why[arm.name] = "cap"
            elif quiet:
                why[arm.name] = "quiet_hours"
            elif campaign.limits.budget is not None and self._costs_minor[arm.name] > (lease_minor or 0):
                why[arm.name] = "budget"
        return why

    def propensities(self, eligible: Sequence[str], values: Values | None) -> FloatArray:
        """(eligible,): the probability of each eligible arm, summing to 1."""
        names, choose = self.campaign.arm_names, self.campaign.choose
        if choose.by == "fixed":
            shares = np.array([(choose.shares or {}).get(name, 0.0) for name in eligible])
            total = shares.sum()
            # Where all arms with a share are suppressed, nothing is done.
            return shares / total if total > 0 else np.array([float(name == NONE) for name in eligible])
        if values is None:
            return np.full(len(eligible), 1.0 / len(eligible))
        columns = [names.index(name) for name in eligible]
        wins = shares_of_wins(values.samples, columns)
        if values.steady is not None:
            wins = values.share * wins + (1.0 - values.share) * shares_of_wins(values.steady, columns)
        return floored(wins, choose.floor or 0.0)

    def decide(self, cell: Cell, *, lease_minor: int | None = None, values: Values | None = None) -> Action:
        """The decision and everything it was made of.

        Args:
            cell: the customer, the moment (epoch seconds) and what brought the decision about.
            lease_minor: what this partition may still spend, in minor units; None counts as nothing where there is a budget.
            values: what the bandit holds the arms to be worth; None: nothing was learnt, all eligible arms are equal.
        """
        campaign, recipient, at = self.campaign, cell.recipient, cell.at
        n = recipient.decisions + 1
        why = self.suppressed(recipient, at, lease_minor)
        eligible = tuple(name for name in campaign.arm_names if name not in why)
        chances = self.propensities(eligible, values)
        seed = seed_of("draw", campaign.salt, recipient.customer_id, campaign.name, campaign.version, str(n))
        arm = eligible[drawn(chances, fraction(seed))]
        offered = next((each for each in campaign.arms if each.name == arm), None)
        learnt = campaign.choose.by == "bandit" and values is not None
        return Action(
            action_id=action_id(recipient.customer_id, campaign.name, n),
            customer_id=recipient.customer_id,
            campaign=campaign.name,
            version=campaign.version,
            decided_at=to_rfc3339(at),
            cause=cell.cause,
            arm=arm,
            channel=None if offered is None else offered.channel,
            cost=0.0 if offered is None else offered.cost,
            propensities=dict(zip(eligible, chances.tolist(), strict=True)),
            eligible=eligible,
            suppressed=why,
            holdout="holdout" in why.values(),
            model=values.model if learnt and values is not None else None,
            seed=seed,
            expires_at=to_rfc3339(at + campaign.expires_hours * HOUR_S),
            reasons=values.reasons.get(arm, ()) if learnt and values is not None else (),
        )

    def _consents(self, recipient: Recipient, arm: Arm) -> bool:
        consent = recipient.consent
        if not consent.get(PROFILING, True):
            return False
        needed = {self.campaign.consent, arm.channel if arm.channel in CHANNELS else None} - {None}
        return all(consent.get(name or "", False) for name in needed)

    def _is_capped(self, recipient: Recipient, at: float) -> bool:
        limit = self.campaign.limits.per_customer
        if limit is None:
            return False
        since = at - limit.days * DAY_S
        # A contact later than `at` counts as well: a late event must not open a gap that an earlier decision has filled.
        return sum(1 for contact in recipient.contacts if contact > since) >= limit.actions

"""Campaigns: who is to be decided about, what may be done, what counts as success, and how much may be spent.

A campaign is a document (YAML). Read it with `load`; a mistake is a `CampaignError` that names the line and column.
"""

from math import isclose
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import msgspec
from msgspec import Meta, Struct

from models.decisions.conditions import Condition, dimensions_of, read_condition
from models.decisions.quiet import is_zone, quiet_hours
from models.marks import Mark, Marked, NotYaml
from models.policy.document import Policy
from models.policy.loading import MOST_BYTES
from schemas.actions import NONE
from schemas.currencies import unit_minor_of

# Consents to a channel. An arm on one of these channels needs it beside the campaign's own.
CHANNELS = ("email", "sms", "push")
# An id holds the campaign's name between colons.
_NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"
# More held back than reached is a slip: 10 for 10 %, or the two mixed up.
_LARGEST_HOLDOUT = 0.5
_DAYS_LIMIT = 3650.0

Name = Annotated[str, Meta(min_length=1, max_length=64, pattern=_NAME)]
Days = Annotated[float, Meta(gt=0, le=_DAYS_LIMIT)]
Money = Annotated[float, Meta(ge=0, le=1e9)]


class CampaignError(Exception):
    """The campaign document can't be served; the message says where and what would be right.

    Attributes:
        mark: line and column; None where it is no matter of a place.
    """

    def __init__(self, why: str, mark: Mark | None = None) -> None:
        super().__init__(why if mark is None else f"line {mark.line}, column {mark.column}: {why}")
        self.mark = mark


class Entering(Struct, frozen=True, forbid_unknown_fields=True):
    """A decision on each change of `dimension` to the segment `to`."""

    dimension: Annotated[str, Meta(min_length=1, max_length=64)]
    to: Annotated[str, Meta(min_length=1, max_length=64)]


class Arm(Struct, frozen=True, forbid_unknown_fields=True):
    """One thing that may be done; `cost` in units of the campaign's currency."""

    name: Name
    channel: Annotated[str, Meta(min_length=1, max_length=64)] | None = None
    cost: Money = 0.0


class Reward(Struct, frozen=True, forbid_unknown_fields=True):
    """What counts as success: what happens within `days` of the decision."""

    target: Literal["spend", "purchase"]
    days: Days
    less_cost: bool = False


class Choose(Struct, frozen=True, forbid_unknown_fields=True):
    """How an arm is chosen: learnt (`bandit`, `floor` for each arm at least), or by fixed `shares` (an A/B test)."""

    by: Literal["bandit", "fixed"]
    floor: Annotated[float, Meta(gt=0, le=0.5)] | None = None
    shares: dict[str, Annotated[float, Meta(ge=0, le=1)]] | None = None


class CustomerLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """At most so many contacts (arms other than `none`) of one customer in any stretch of so many days."""

    actions: Annotated[int, Meta(ge=1, le=1000)]
    days: Days


class BudgetLimit(Struct, frozen=True, forbid_unknown_fields=True):
    """At most `amount`, in units of the currency, in each window of `days`; the first window begins 1970-01-01."""

    amount: Annotated[float, Meta(gt=0, le=1e12)]
    days: Days


class Limits(Struct, frozen=True, forbid_unknown_fields=True):
    """What a campaign never exceeds."""

    per_customer: CustomerLimit | None = None
    budget: BudgetLimit | None = None
    quiet_hours: str | None = None


class Campaign(Struct, frozen=True, forbid_unknown_fields=True):
    """What a document says. `condition` and `channels` are made of it.

    Attributes:
        holding: the tree under `while`: a decision each `every_days` as long as it holds.
        salt: changes every draw and every holdout of a campaign that is run again under its old name.
        expires_hours: a decision that was not carried out by then must not be.
        time_zone: of customers whose zone is not known.
    """

    name: Name = msgspec.field(name="campaign")
    version: Annotated[str, Meta(min_length=1, max_length=64)]
    arms: Annotated[tuple[Arm, ...], Meta(min_length=1, max_length=50)]
    reward: Reward
    choose: Choose
    when: Entering | None = None
    holding: Any = msgspec.field(name="while", default=None)
    every_days: Days = 7.0
    holdout: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    limits: Limits = Limits()
    consent: Literal["email", "sms", "push"] | None = None
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "GBP"
    time_zone: str = "UTC"
    expires_hours: Annotated[float, Meta(gt=0, le=24 * 90)] = 24.0
    salt: Annotated[str, Meta(max_length=64)] = ""

    @property
    def label(self) -> str:
        """Name and version."""
        return f"{self.name}-{self.version}"

    @property
    def arm_names(self) -> tuple[str, ...]:
        """All arms in their order, `none` first: the order of every row of numbers about arms."""
        return (NONE, *(arm.name for arm in self.arms))

    @property
    def unit_minor(self) -> int:
        """Minor units in a unit of the currency; 100 where the currency is not known here."""
        return unit_minor_of(self.currency) or 100

    @property
    def condition(self) -> Condition | None:
        """What stands under `while`, read; None: the campaign waits for a change."""
        return None if self.holding is None else read_condition(self.holding, "$.while", _refuse_unplaced)


def parse(document: str, policy: Policy | None = None) -> Campaign:
    """The campaign in a YAML document.

    Args:
        document: the YAML.
        policy: whose dimensions and segments it speaks of; None: they are not looked up.

    Raises:
        CampaignError: not YAML, or no campaign.
    """
    if len(document.encode()) > MOST_BYTES:
        raise CampaignError(f"{len(document.encode()):,} bytes; a campaign has at most {MOST_BYTES:,}")
    try:
        marked = Marked(document)
    except NotYaml as exc:
        raise CampaignError(f"not YAML: {exc}", exc.mark) from exc
    try:
        campaign = msgspec.convert(marked.tree, Campaign)
    except msgspec.ValidationError as exc:
        raise CampaignError(*marked.explain(exc)) from exc
    _Checks(campaign, marked, policy).run()
    return campaign


def load(path: Path, policy: Policy | None = None) -> Campaign:
    """The campaign in the file at `path`.

    Raises:
        CampaignError: the file can't be read, or holds no campaign; the message begins with its path.
    """
    try:
        return parse(path.read_text(encoding="utf-8"), policy)
    except OSError as exc:
        raise CampaignError(f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise CampaignError(f"{path}: not UTF-8 (byte {exc.start})") from exc
    except CampaignError as exc:
        placed = CampaignError(f"{path}: {exc}")
        placed.mark = exc.mark
        raise placed from exc


def _refuse_unplaced(where: str, why: str, key: str | None = None) -> NoReturn:
    raise CampaignError(f"{where}: {why}")


class _Checks:
    """What a schema can't say about one campaign; each check raises `CampaignError`."""

    def __init__(self, campaign: Campaign, marked: Marked, policy: Policy | None) -> None:
        self._campaign, self._marked, self._policy = campaign, marked, policy

    def run(self) -> None:
        """All checks, in the order of the document."""
        self._trigger()
        self._arms()
        self._choose()
        self._limits()

    def refuse(self, where: str, why: str, key: str | None = None) -> NoReturn:
        """Raises with the place of `key` in what stands at `where`."""
        raise CampaignError(f"{where}: {why}", self._marked.mark(where, key))

    def _trigger(self) -> None:
        campaign = self._campaign
        if (campaign.when is None) == (campaign.holding is None):
            self.refuse(
                "$",
                "a campaign needs `when` (on entering a segment) or `while` (as long as a rule holds), one",
                "while",
            )
        if campaign.when is not None:
            if "every_days" in self._marked.tree:
                self.refuse("$", "`every_days` belongs to `while`; `when` decides on each change", "every_days")
            self._known({campaign.when.dimension: {campaign.when.to}}, "$.when.dimension", "$.when.to")
        else:
            named = dimensions_of(read_condition(campaign.holding, "$.while", self.refuse))
            self._known(named, "$.while", "$.while")

    def _known(self, named: dict[str, set[str]], at_dimension: str, at_segment: str) -> None:
        if self._policy is None:
            return
        known = {each.name: tuple(segment.name for segment in each.segments) for each in self._policy.dimensions}
        for dimension, segments in named.items():
            if dimension not in known:
                self.refuse(
                    at_dimension, f"{self._policy.label} has no dimension '{dimension}', only {', '.join(known)}"
                )
            for segment in sorted(segments - set(known[dimension])):
                self.refuse(at_segment, f"'{dimension}' has no segment '{segment}', only {', '.join(known[dimension])}")

    def _arms(self) -> None:
        seen: set[str] = set()
        for i, arm in enumerate(self._campaign.arms):
            where = f"$.arms[{i}]"
            if arm.name == NONE:
                self.refuse(f"{where}.name", "`none` is always an arm; it is not written down")
            if arm.name in seen:
                self.refuse(f"{where}.name", f"'{arm.name}' stands twice")
            seen.add(arm.name)
            minor = arm.cost * self._campaign.unit_minor
            if not isclose(minor, round(minor), abs_tol=1e-6):
                self.refuse(
                    f"{where}.cost", f"{arm.cost:g} is no whole number of minor units of {self._campaign.currency}"
                )

    def _choose(self) -> None:
        choose, arms = self._campaign.choose, self._campaign.arm_names
        if choose.by == "bandit":
            if choose.shares is not None:
                self.refuse("$.choose", "a bandit finds its shares; `shares` belong to `by: fixed`", "shares")
            if choose.floor is None:
                self.refuse("$.choose", "a bandit needs a `floor`, as 0.05: what is never tried can never be judged")
            if choose.floor * len(arms) > 1:
                most = 1 / len(arms)
                self.refuse(
                    "$.choose.floor", f"{len(arms)} arms with `none` share a probability of 1: at most {most:.3g}"
                )
            return
        if choose.floor is not None:
            self.refuse("$.choose", "fixed shares are their own floor; `floor` belongs to `by: bandit`", "floor")
        if choose.shares is None:
            self.refuse("$.choose", f"`by: fixed` needs `shares`, one for each of {', '.join(arms)}")
        for name in choose.shares:
            if name not in arms:
                self.refuse("$.choose.shares", f"'{name}' is no arm of this campaign", name)
        total = sum(choose.shares.values())
        if not isclose(total, 1.0, abs_tol=1e-9):
            self.refuse("$.choose.shares", f"shares sum to {total:.6g}, not to 1")

    def _limits(self) -> None:
        campaign, limits = self._campaign, self._campaign.limits
        if campaign.holdout > _LARGEST_HOLDOUT:
            self.refuse(
                "$.holdout",
                f"{campaign.holdout:g} of all customers would never be reached; at most {_LARGEST_HOLDOUT:g}",
            )
        if limits.quiet_hours is not None:
            try:
                quiet_hours(limits.quiet_hours)
            except ValueError as exc:
                self.refuse("$.limits.quiet_hours", str(exc))
        costs = [arm.cost for arm in campaign.arms if arm.cost]
        if limits.budget is not None and costs and limits.budget.amount < min(costs):
            self.refuse(
                "$.limits.budget.amount", f"{limits.budget.amount:g} does not pay for any arm that costs something"
            )
        if not is_zone(campaign.time_zone):
            self.refuse("$.time_zone", f"'{campaign.time_zone}' is no time zone known here, as Europe/London or UTC")

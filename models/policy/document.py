"""The records of a policy document, and the error for a document that can't be served."""

from hashlib import blake2b
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from models.features import NAMES
from models.marks import Mark
from schemas.learning import SCORES

DAYS_SINCE_PURCHASE = "days_since_purchase"

# The features that a dimension may be cut on. Left out: a component of the text vector means nothing by itself, and the
# season is the same for every customer.
COUNTABLE = tuple(
    name for name in NAMES if not name.startswith(("text_", "season_")) or name in ("text_days", "text_weight")
)

# All numbers that a dimension may be cut on.
NUMBERS = (DAYS_SINCE_PURCHASE, *SCORES, *COUNTABLE)


class PolicyError(Exception):
    """The policy document can't be served. The message says where the mistake is and what would be right.

    Attributes:
        mark: line and column; None where the mistake has no place.
    """

    def __init__(self, why: str, mark: Mark | None = None) -> None:
        super().__init__(why if mark is None else f"line {mark.line}, column {mark.column}: {why}")
        self.mark = mark


class Segment(Struct, frozen=True, forbid_unknown_fields=True):
    """One segment.

    Attributes:
        name: the segment's name.
        bound: where it begins; None for the lowest segment, which also takes customers who never bought.
        quantile: stands for a bound in a document that is still to be calibrated; it is never served.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    bound: float | None = msgspec.field(default=None, name="from")
    quantile: Annotated[float, Meta(gt=0, lt=1)] | None = msgspec.field(default=None, name="from_quantile")


class Dimension(Struct, frozen=True, forbid_unknown_fields=True):
    """Ordered segments over one number."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    over: str
    segments: Annotated[tuple[Segment, ...], Meta(min_length=2)]
    exit_margin: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    dwell_days: Annotated[float, Meta(ge=0)] = 0.0


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """A policy as it is served. `models.step` judges by it, and every change carries its label, `<name>-<version>`.

    Attributes:
        flap_budget: how many reversals within 7 days per 1,000 changes are accepted (`models.flaps` counts them).
        season: twelve indices of how much is bought per month, January first; None: the usual season.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Annotated[str, Meta(min_length=1, max_length=64)]
    dimensions: Annotated[tuple[Dimension, ...], Meta(min_length=1)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "GBP"
    unit_minor: Annotated[int, Meta(ge=1)] = 100
    time_zone: str | None = None
    flap_budget: Annotated[float, Meta(ge=0, le=1000)] | None = None
    season: (
        Annotated[tuple[Annotated[float, Meta(ge=0.01, le=100)], ...], Meta(min_length=12, max_length=12)] | None
    ) = None

    @property
    def label(self) -> str:
        """Name and version, as changes carry them."""
        return f"{self.name}-{self.version}"

    @property
    def tag(self) -> int:
        """A 32-bit hash of the policy's content, never 0. Policies that differ in anything have different tags."""
        content = msgspec.to_builtins(self)
        # A field that was added later does not change the tag of a policy without it, so no customer is judged anew.
        for name in _ADDED_LATER:
            if content[name] is None:
                del content[name]
        return int.from_bytes(blake2b(msgspec.json.encode(content), digest_size=4).digest()) or 1


_ADDED_LATER = ("time_zone", "flap_budget", "season")

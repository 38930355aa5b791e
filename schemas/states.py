"""The state of a customer: one value a key in the changelog and the local store, stored as `schemas.stored` says.

New fields go to the end of a struct, with a default; a field's meaning never changes. Times are epoch seconds; where `0.0`
means "never", the count beside it is 0.
"""

from collections.abc import Sequence
from typing import NamedTuple

from msgspec import Struct

from schemas.campaigns import CampaignSpend, CampaignState
from schemas.groups import Browsing, Spending, Voice
from schemas.positions import Incarnation
from schemas.times import DAY_S

NEVER = float("inf")

# A label matures at a moment computed by another sum; a millisecond covers the rounding.
THIRTY_S = 30 * DAY_S - 0.001
NINETY_S = 90 * DAY_S - 0.001


class Held(NamedTuple):
    """A customer's place in one dimension."""

    segment: str
    since: float


class Promise(NamedTuple):
    """What happens at `at` if nothing more is heard: `dimension` becomes `segment`."""

    at: float
    dimension: str
    segment: str


class Exposure(Struct, frozen=True, array_like=True, gc=False):
    """Features kept at a moment until what the customer did next is known."""

    at: float
    features: bytes  # float16, in the order of models.features.NAMES; zeros at the end are left out
    purchases: int  # heard so far, and those heard later whose time isn't after `at`: what came next counts from here
    spend_minor: int
    half: bool = False  # the 30-day label has matured, the 90-day one has not
    feature_set: str = ""


class CustomerState(Struct, frozen=True, array_like=True, gc=False):
    """All that is known of a customer.

    Of who was erased and not heard of since a remainder is kept (`models.state.erased`): a state in which nobody is.
    """

    # positions (schemas.positions) of the last applied record of clickstream, purchases, reviews
    offsets: tuple[int, int, int] = (-1, -1, -1)
    sequence: int = 0
    segments: dict[str, Held] = {}
    first_event_at: float = 0.0
    last_event_at: float = 0.0
    as_of: float = 0.0  # the latest moment at which segments were judged; never goes back
    landmark: float = 0.0  # origin of the decayed sums
    spending: Spending | None = None
    browsing: Browsing | None = None
    voice: Voice | None = None
    seen: tuple[bytes, bytes, bytes] = (b"", b"", b"")  # 8-byte hashes of the latest event ids, a topic each
    scores: tuple[float, ...] = ()
    promise: Promise | None = None
    exposures: tuple[Exposure, ...] = ()
    ruled: int = 0  # which policy it was judged by last (models.policy.Policy.tag); 0: written before this was kept
    erased_at: float | None = None  # no event up to this moment counts; None: never erased
    campaigns: CampaignState | None = None  # None: no campaign has decided about this customer

    @property
    def is_erased(self) -> bool:
        """Whether it is the remainder of an erased customer of whom nothing has been heard since."""
        return self.first_event_at == NEVER

    @property
    def purchases(self) -> int:
        """Number of purchases."""
        return 0 if self.spending is None else self.spending.purchases

    @property
    def refunds(self) -> int:
        """Number of refunds."""
        return 0 if self.spending is None else self.spending.refunds

    @property
    def spend_minor(self) -> int:
        """Gross sum of purchases, in minor units."""
        return 0 if self.spending is None else self.spending.spend_minor

    @property
    def refunded_minor(self) -> int:
        """Sum of refunds, in minor units."""
        return 0 if self.spending is None else self.spending.refunded_minor

    @property
    def clicks(self) -> int:
        """Number of clickstream events."""
        return 0 if self.browsing is None else self.browsing.clicks

    @property
    def reviews(self) -> int:
        """Number of reviews and support texts."""
        return 0 if self.voice is None else self.voice.reviews + self.voice.supports

    @property
    def first_purchase_at(self) -> float | None:
        """Epoch seconds, or None: never bought."""
        return self.spending.first_purchase_at if self.spending is not None and self.spending.purchases else None

    @property
    def last_purchase_at(self) -> float | None:
        """Epoch seconds, or None: never bought."""
        return self.spending.last_purchase_at if self.spending is not None and self.spending.purchases else None


class PartitionState(Struct, frozen=True, array_like=True, gc=False):
    """What a partition knows beside its customers: event time per input topic, its policy, its topics, its budgets."""

    times: tuple[float | None, float | None, float | None] = (None, None, None)
    ruled: int = 0  # the policy that it serves (models.policy.Policy.tag)
    ruled_at: float | None = None  # partition time when it took that policy: the moment as of which it counts
    incarnations: tuple[Incarnation, ...] = ()  # of each input topic, which one its customers' positions are of
    spends: tuple[CampaignSpend, ...] = ()  # of each campaign with a budget


def ripe_at(exposures: Sequence[Exposure]) -> float:
    """No label matures before this moment; exposures stand in the order in which they were kept."""
    halves = NEVER
    for kept in exposures:
        if not kept.half:
            return min(halves, kept.at + THIRTY_S)
        halves = min(halves, kept.at + NINETY_S)
    return halves

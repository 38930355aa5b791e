"""The figures of a shop's report: what each is, and nothing of how it is read or shown.

Days are days in UTC. Money is in minor units of `currency`.
"""

from msgspec import Struct

# A purchase of a customer whose segment at that time is not known: the change into it has left the log.
UNKNOWN_SEGMENT = "(not known)"
# Before the first change: the customer has no segment.
NO_SEGMENT = "(none)"


class Migration(Struct, frozen=True):
    """How many moves there were in one dimension from one segment to another."""

    dimension: str
    previous: str
    current: str
    moves: int


class SegmentCount(Struct, frozen=True):
    """Customers in a segment at the end of a day."""

    dimension: str
    segment: str
    day: str
    customers: int


class SegmentRevenue(Struct, frozen=True):
    """What was bought and returned in the window by customers who were in the segment just before."""

    dimension: str
    segment: str
    purchases: int
    spend_minor: int
    refunds: int
    refunded_minor: int


class SilentMove(Struct, frozen=True):
    """Customers who move within the next days if nothing more is heard of them."""

    dimension: str
    previous: str
    current: str
    customers: int
    net_spend_minor: int  # so far: purchases less refunds
    expected_spend: float  # in the next 90 days, units of the currency


class LostCustomer(Struct, frozen=True):
    """A customer whose latest move came of silence, and who has not bought since."""

    customer_id: str
    dimension: str
    segment: str
    moved_at: str
    net_spend_minor: int
    last_purchase_at: str


class ReasonCount(Struct, frozen=True):
    """How many moves had this feature as their strongest reason, by the way in which it pushed the number."""

    dimension: str
    feature: str
    up: int
    down: int


class CampaignEffect(Struct, frozen=True):
    """What a campaign did: numbers of `regulars campaign report`. Values are None where too little is known."""

    name: str
    label: str
    paused: bool
    decisions: int
    over: int
    currency: str
    effect: float | None
    low: float | None
    high: float | None
    words: str
    page: str


class InputQuality(Struct, frozen=True):
    """What is odd about the topic `purchases` as a whole: counts of records."""

    purchases: int
    repeated: int
    late: int
    refused: int
    foreign: int


class ServedModelNote(Struct, frozen=True):
    """What the latest snapshot says of itself."""

    version: str
    labels: int
    learnt_to: str
    quality: dict[str, float]  # of p_purchase_30d, measure -> value, judged before learnt


class ShopReport(Struct, frozen=True):
    """Every number of the page."""

    since: str
    until: str
    log_begins: str  # the first day of which all moves are known; empty: the log is whole
    as_of: str
    currency: str
    unit_minor: int
    customers: int
    dimensions: dict[str, list[str]]  # segments in the policy's order
    migrations: list[Migration]
    courses: list[SegmentCount]
    revenue: list[SegmentRevenue]
    risk_days: int
    at_risk: list[SilentMove]
    lost: list[LostCustomer]
    reasons: list[ReasonCount]
    quality: InputQuality
    dead_letters: dict[str, int]
    campaigns: list[CampaignEffect] = []
    model: ServedModelNote | None = None

"""What is kept of campaigns: per customer, so that a decision counts the ones before; per partition, what was spent.

New fields go to the end of a struct, with a default; a field's meaning never changes. Times are epoch seconds, money is in
whole minor units.
"""

import math
import struct
from collections.abc import Callable
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta, Struct

from schemas.times import LATEST_S


class OpenDecision(Struct, frozen=True, array_like=True, gc=False):
    """A decision whose reward is not known yet."""

    n: int
    at: float
    until: float  # purchases after `at` and up to here count
    version: str  # of the campaign
    arm: str
    propensities: dict[str, float]
    reachable: tuple[str, ...]  # the arms that could have been drawn, or could but for the holdout
    holdout: bool
    cost_minor: int
    features: bytes  # as of the decision, float16, in the order of models.features.NAMES; zeros at the end are left out
    feature_set: str
    purchases: int = 0
    spend_minor: int = 0  # net of refunds


class CampaignMemory(Struct, frozen=True, array_like=True, gc=False):
    """One campaign about one customer. Of who was erased only `decisions` is kept: no `action_id` comes twice."""

    campaign: str
    decisions: int
    contacts: tuple[float, ...] = ()  # when arms other than `none` were drawn, the latest ones
    open: tuple[OpenDecision, ...] = ()


class CampaignState(Struct, frozen=True, array_like=True, gc=False):
    """All campaigns about one customer.

    `due` is when the rest of the state must be looked at again; the state as a whole, when that or the first reward is due.
    """

    due: float
    memories: tuple[CampaignMemory, ...] = ()

    @property
    def reward_due(self) -> float:
        """When the first open decision is over; infinite: none is open."""
        return min((each.until for memory in self.memories for each in memory.open), default=math.inf)


class CampaignSpend(NamedTuple):
    """What one partition has spent of one campaign's budget in one window."""

    campaign: str
    days: float  # how long a window is
    window: int  # the number of the window (models.decisions.budget.window_of)
    minor: int


class MaturedReward(Struct, frozen=True):
    """What came of one decision: one record of `action-rewards`. Equal `reward_id`, equal bytes.

    The customer's name is a pseudonym of their own in each campaign, and the times tell the day alone: `actions` names the
    customer with the second. The reward itself is what the campaign's `reward` makes of it.
    """

    reward_id: Annotated[str, Meta(description="<pseudonym>:<campaign>:<n>")]
    campaign: str
    version: str
    decided_at: Annotated[float, Meta(ge=0, le=LATEST_S, description="epoch seconds: the day, from 00:00 UTC")]
    matured_at: Annotated[float, Meta(ge=0, le=LATEST_S, description="epoch seconds: decided_at + the reward's days")]
    arm: str
    propensities: Annotated[dict[str, float], Meta(description="arm -> probability that it was drawn; sums to 1")]
    reachable: Annotated[
        tuple[str, ...], Meta(description="arms that could have been drawn, or could but for the holdout")
    ]
    holdout: bool
    cost_minor: Annotated[int, Meta(ge=0, description="of the arm, in minor units of the campaign's currency")]
    purchases: Annotated[int, Meta(ge=0, description="after the decision, within the reward's days, by their own time")]
    spend_minor: Annotated[int, Meta(description="of those purchases, less refunds of the same days, in minor units")]
    feature_set: Annotated[str, Meta(description="digest of the feature names, in order")]
    features: Annotated[tuple[float, ...], Meta(description="as of the decision")]


_encoder = msgspec.json.Encoder()
_reward = msgspec.json.Decoder(MaturedReward)
_packer = msgspec.msgpack.Encoder()
_memories = msgspec.msgpack.Decoder(tuple[CampaignMemory, ...])
# How many bytes at the end of a stored state say how long the part before them is.
_SIZE = 4
_dues = struct.Struct("<dd")


def reward_id(pseudonym: Callable[[str], str], customer_id: str, campaign: str, n: int) -> str:
    """The id of the reward of the n-th decision of `campaign` about a customer; `pseudonym` is the keyed digest of labels.

    >>> reward_id(str.upper, "anna", "win-back", 2)
    'WIN-BACK:ANNA:win-back:2'
    """
    return f"{pseudonym(f'{campaign}:{customer_id}')}:{campaign}:{n}"


def encode_reward(reward: MaturedReward) -> bytes:
    """The body of an `action-rewards` record."""
    return _encoder.encode(reward)


def decode_reward(body: bytes) -> MaturedReward:
    """Raises msgspec.DecodeError where `body` is no reward."""
    return _reward.decode(body)


def pack_tail(state: CampaignState) -> bytes:
    """The last part of a stored state: `due`, `reward_due`, msgpack of the memories, in 4 bytes how long all of it is."""
    packed = _packer.encode(state.memories)
    size = (_dues.size + len(packed) + _SIZE).to_bytes(_SIZE, "little")
    return b"".join((_dues.pack(state.due, state.reward_due), packed, size))


def dues_in(tail: bytes) -> tuple[float, float]:
    """`due` and `reward_due` of a tail, without reading the memories."""
    due, reward_due = _dues.unpack_from(tail)
    return due, reward_due


def with_due(tail: bytes, due: float) -> bytes:
    """The tail with another `due`."""
    return _dues.pack(due, dues_in(tail)[1]) + tail[_dues.size :]


def tail_of(value: bytes) -> bytes:
    """That part of a stored state that has one.

    Raises:
        ValueError: the state ends too early.
    """
    size = int.from_bytes(value[-_SIZE:], "little")
    if not _SIZE + _dues.size < size <= len(value):
        raise ValueError(f"a tail of {size} bytes in a stored state of {len(value)}")
    return value[-size:]


def unpack_tail(tail: bytes) -> CampaignState:
    """The inverse of `pack_tail`. Raises msgspec.DecodeError where it is none."""
    return CampaignState(dues_in(tail)[0], _memories.decode(memoryview(tail)[_dues.size : -_SIZE]))


def memory_of(state: CampaignState | None, campaign: str) -> CampaignMemory:
    """What is kept of one campaign; a new memory where there is none."""
    for memory in () if state is None else state.memories:
        if memory.campaign == campaign:
            return memory
    return CampaignMemory(campaign, 0)

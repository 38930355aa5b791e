"""Which customers would move if a policy were published, and the numbers at its quantiles.

Reads every customer's state from the changelog, one partition after the other, and does what workers do when they start to
serve a policy: it judges each customer as of the partition's time, by the served model, thousands of them as one matrix. In
memory are a block of customers and the counts; the states of a partition lie in a temporary folder meanwhile.
"""

import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np

from models.clock import PartitionClock
from models.features import FloatArray, rows
from models.policy import Policy, Rules, Ruling
from models.scores import Scorer
from models.step import anew_at
from schemas.campaigns import CampaignSpend
from schemas.states import CustomerState, PartitionState
from schemas.stored import decode_partition, decode_state
from streams.kafka.changelog import changelog
from streams.kafka.spool import Spool
from streams.ops.served_model import served_scorer
from streams.settings import Settings

# States that are scored at once: their features, 0.5 KB per customer, fit into a core's cache.
BLOCK = 4096


class Moved(NamedTuple):
    """A customer who would move, and where to."""

    customer_id: str
    dimension: str
    previous: str | None
    current: str
    number: float | None  # the value of the dimension for this customer; None: they never bought


class Preview(NamedTuple):
    """What a policy would do."""

    customers: int
    moving: int  # customers who would move in at least one dimension
    moves: Counter[tuple[str, str | None, str]]  # dimension, previous, current
    places: Counter[tuple[str, str]]  # dimension, segment: how many customers would stand there
    sample: tuple[Moved, ...]
    model: str
    # As `moves`: of these, customers whom the served policy would move there as well, if no dwell held them.
    lifted: Counter[tuple[str, str | None, str]]
    # As `places`: where all stand now, also in dimensions and segments that the policy drops.
    before: Counter[tuple[str, str]]


class Block(NamedTuple):
    """At most `BLOCK` customers of one partition, and how far that is."""

    partition: int
    keys: list[bytes]
    states: list[CustomerState]
    at: float  # partition time
    spends: tuple[CampaignSpend, ...] = ()  # of each campaign with a budget


class _Numbers(NamedTuple):
    """The values of a policy's dimensions for the customers of a block; nan: the customer never bought."""

    rulings: tuple[Ruling, ...]
    values: FloatArray  # (dimensions, customers)


async def preview(settings: Settings, policy: Policy, sample: int = 20, served: Policy | None = None) -> Preview:
    """Which customers would move if `policy` were published now.

    Publishing lifts dwells: every customer is judged anew. `served` tells the moves that come from that alone.

    Args:
        settings: which cluster, changelog and clock.
        policy: the policy to preview.
        sample: how many of the moving customers are named, spread over the kinds of move.
        served: the policy that is served now; None: no move is told apart.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no changelog: no worker has run.
    """
    rules, scorer = Rules(policy), await served_scorer(settings)
    moves: Counter[tuple[str, str | None, str]] = Counter()
    places: Counter[tuple[str, str]] = Counter()
    lifted: Counter[tuple[str, str | None, str]] = Counter()
    before: Counter[tuple[str, str]] = Counter()
    served_rules = None if served is None else Rules(served)
    customers = moving = 0
    examples: dict[tuple[str, str | None, str], list[Moved]] = {}
    async for part in population(settings):
        numbers = _numbers(part, rules, scorer)
        customers += len(part.keys)
        known = {} if served_rules is None else _places_served(part, served_rules, scorer, numbers, policy)
        before.update((name, held.segment) for state in part.states for name, held in state.segments.items())
        anyone = np.zeros(len(part.keys), dtype=bool)
        outdated = np.array([state.ruled != rules.tag for state in part.states], dtype=bool)
        for ruling, own in zip(numbers.rulings, numbers.values, strict=True):
            held = [
                None if (place := state.segments.get(ruling.name)) is None else place.segment for state in part.states
            ]
            current = np.array([-1 if name is None else ruling.index(name) for name in held], dtype=np.int64)
            target = ruling.places(own, current)
            move = (target != current) & outdated
            anyone |= move
            for i, count in enumerate(
                np.bincount(np.where(outdated, target, np.maximum(current, 0)), minlength=1).tolist()
            ):
                if count:
                    places[ruling.name, ruling.segments[i]] += count
            for i in np.flatnonzero(move).tolist():
                kind = (ruling.name, held[i], ruling.segments[target[i]])
                moves[kind] += 1
                lifted[kind] += ruling.name in known and known[ruling.name][i] == kind[2]
                of_kind = examples.setdefault(kind, [])
                if len(of_kind) < sample:
                    number = None if np.isnan(own[i]) else float(own[i])
                    of_kind.append(Moved(part.keys[i].decode(), *kind, number))
        moving += int(anyone.sum())
    return Preview(
        customers, moving, moves, places, _spread(list(examples.values()), sample), scorer.version, +lifted, before
    )


async def quantiles(settings: Settings, policy: Policy) -> tuple[int, list[list[float | None]]]:
    """How many customers there are, and the number at the quantile of each dimension and segment; None: it has none.

    In a dimension over days since the last purchase only customers who bought count. Raises as `preview`, and:

    Raises:
        ValueError: a dimension with quantiles has no customer who counts.
    """
    rules, scorer = Rules(policy), await served_scorer(settings)
    columns: list[list[FloatArray]] = [[] for _ in policy.dimensions]
    customers = 0
    async for part in population(settings):
        customers += len(part.keys)
        for column, values in zip(columns, _numbers(part, rules, scorer).values, strict=True):
            column.append(values[~np.isnan(values)])
    numbers: list[list[float | None]] = []
    for dimension, column in zip(policy.dimensions, columns, strict=True):
        values = np.concatenate(column) if column else np.empty(0)
        wanted = [segment.quantile for segment in dimension.segments]
        if not len(values) and any(q is not None for q in wanted):
            raise ValueError(f"dimension {dimension.name}: no customer has {dimension.over} yet")
        numbers.append([None if q is None else float(np.quantile(values, q)) for q in wanted])
    return customers, numbers


def _numbers(part: Block, rules: Rules, scorer: Scorer) -> _Numbers:
    rulings = rules.rulings
    moments = [anew_at(state, part.at) for state in part.states]
    scores = rules.numbers(scorer).score(rows(part.states, [at for _, at in moments], rules.shop))
    days = np.array(
        [
            np.nan if (bought_at := state.last_purchase_at) is None else rules.days_since(bought_at, timed_at)
            for state, (timed_at, _) in zip(part.states, moments, strict=True)
        ]
    )
    values = [days if ruling.score is None else scores[:, ruling.score] for ruling in rulings]
    return _Numbers(rulings, np.array(values))


def _places_served(
    part: Block, rules: Rules, scorer: Scorer, numbers: _Numbers, policy: Policy
) -> dict[str, list[str]]:
    """By dimension of the served policy: where it would place each customer now, without dwell.

    Args:
        part: the customers.
        rules: of the served policy.
        scorer: that is served.
        numbers: those of `policy`, which are used where both policies compute them alike.
        policy: the one that is previewed.
    """
    own = rules.policy
    alike = (own.time_zone, own.season, own.currency, own.unit_minor) == (
        policy.time_zone, policy.season, policy.currency, policy.unit_minor,
    )  # fmt: skip
    over = {each.over: row for each, row in zip(policy.dimensions, numbers.values, strict=True)} if alike else {}
    if all(each.over in over for each in own.dimensions):
        values = [over[each.over] for each in own.dimensions]
    else:
        values = list(_numbers(part, rules, scorer).values)
    places = {}
    for ruling, row in zip(rules.rulings, values, strict=True):
        held = [state.segments.get(ruling.name) for state in part.states]
        current = np.array([-1 if place is None else ruling.index(place.segment) for place in held], dtype=np.int64)
        places[ruling.name] = [ruling.segments[i] for i in ruling.places(row, current).tolist()]
    return places


def _spread(kinds: Sequence[list[Moved]], most: int) -> tuple[Moved, ...]:
    """At most `most` customers, one of each kind in turn."""
    longest = max(map(len, kinds), default=0)
    return tuple(kind[i] for i in range(longest) for kind in kinds if i < len(kind))[:most]


async def population(settings: Settings) -> AsyncIterator[Block]:
    """Every customer as the changelog has them now, one partition after the other."""
    async with changelog(settings) as log:
        for number in range(log.partitions):
            with Spool() as spool:
                stored = (await log.read(number, spool)).partition_state
                partition = PartitionState() if stored is None else decode_partition(stored)
                at = _time(settings, partition)
                for page in spool.pages(BLOCK):
                    yield _block(number, page, at, partition.spends)


def _block(number: int, page: list[tuple[bytes, bytes]], at: float, spends: tuple[CampaignSpend, ...]) -> Block:
    # Decoding makes no reference cycles; passes of the garbage collector would more than double its time.
    gc.disable()
    try:
        states = {key: decode_state(value) for key, value in page}
    finally:
        gc.enable()
    states = {key: state for key, state in states.items() if not state.is_erased}
    return Block(number, list(states), list(states.values()), at, spends)


def _time(settings: Settings, partition: PartitionState) -> float:
    """The partition's time on a worker that has no backlog."""
    clock = PartitionClock(settings.clock, settings.clock_grace_s)
    for topic, at in enumerate(partition.times):
        if at is not None:
            clock.heard(topic, at)
        clock.idle(topic, time.time())
    return clock.now()

"""Who would move under a policy, before anyone does; and what its quantiles are in numbers.

Reads every customer's state from the changelog, a partition at a time, and does what workers do when they take a
policy: each customer is judged as of their partition's time, by the model that is served, thousands as one matrix.
"""

import gc
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple

import numpy as np
from aiokafka import TopicPartition

from models.clock import PartitionClock
from models.features import FloatArray, rows
from models.policy import Policy, Rules, Ruling
from models.scores import Scorer
from models.step import anew_at
from schemas.states import PARTITION_KEY, CustomerState, PartitionState, decode_partition, decode_state
from streams.kafka.readers import connect, layout, read_span, reader
from streams.ops.served_model import served_scorer
from streams.settings import Settings

# States decoded and scored at once: their features, 0.5 KB each, stay within a core's cache.
BLOCK = 4096


class Moved(NamedTuple):
    """One customer who would move."""

    customer_id: str
    dimension: str
    previous: str | None
    current: str
    number: float | None  # that the dimension is cut on; None: never bought


class Preview(NamedTuple):
    """What a policy would do."""

    customers: int
    moving: int  # customers who move in one dimension or more
    moves: Counter[tuple[str, str | None, str]]  # dimension, previous, current
    places: Counter[tuple[str, str]]  # dimension, segment: where all would stand
    sample: tuple[Moved, ...]
    model: str


class _Partition(NamedTuple):
    keys: list[bytes]
    states: list[CustomerState]
    at: float  # partition time


class _Numbers(NamedTuple):
    """What a policy cuts a partition's customers on, a row a dimension; nan: never bought."""

    rulings: tuple[Ruling, ...]
    values: FloatArray  # (dimensions, customers)


async def preview(settings: Settings, policy: Policy, sample: int = 20) -> Preview:
    """Who would move if `policy` were published now; `sample` of them are named, spread over the kinds of move.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: no changelog: no worker has run.
    """
    rules, scorer = Rules(policy), await served_scorer(settings)
    moves: Counter[tuple[str, str | None, str]] = Counter()
    places: Counter[tuple[str, str]] = Counter()
    customers = moving = 0
    examples: dict[tuple[str, str | None, str], list[Moved]] = {}
    async for part in _population(settings):
        numbers = _numbers(part, rules, scorer)
        customers += len(part.keys)
        anyone = np.zeros(len(part.keys), dtype=bool)
        anew = np.array([state.ruled != rules.tag for state in part.states], dtype=bool)
        for ruling, own in zip(numbers.rulings, numbers.values, strict=True):
            held = [
                None if (place := state.segments.get(ruling.name)) is None else place.segment for state in part.states
            ]
            current = np.array([-1 if name is None else ruling.index(name) for name in held], dtype=np.int64)
            target = ruling.places(own, current)
            move = (target != current) & anew
            anyone |= move
            for i, count in enumerate(
                np.bincount(np.where(anew, target, np.maximum(current, 0)), minlength=1).tolist()
            ):
                if count:
                    places[ruling.name, ruling.segments[i]] += count
            for i in np.flatnonzero(move).tolist():
                kind = (ruling.name, held[i], ruling.segments[target[i]])
                moves[kind] += 1
                named = examples.setdefault(kind, [])
                if len(named) < sample:
                    number = None if np.isnan(own[i]) else float(own[i])
                    named.append(Moved(part.keys[i].decode(), *kind, number))
        moving += int(anyone.sum())
    return Preview(customers, moving, moves, places, _spread(list(examples.values()), sample), scorer.version)


async def quantiles(settings: Settings, policy: Policy) -> tuple[int, list[list[float | None]]]:
    """How many customers there are, and for each dimension and segment the number at its quantile; None: it has none.

    Of a dimension over days since the last purchase those count who bought. Raises as `preview`, and:

    Raises:
        ValueError: nobody there to be counted, in a dimension that has quantiles.
    """
    rules, scorer = Rules(policy), await served_scorer(settings)
    found: list[list[FloatArray]] = [[] for _ in policy.dimensions]
    customers = 0
    async for part in _population(settings):
        customers += len(part.keys)
        for own, values in zip(found, _numbers(part, rules, scorer).values, strict=True):
            own.append(values[~np.isnan(values)])
    numbers: list[list[float | None]] = []
    for dimension, parts in zip(policy.dimensions, found, strict=True):
        known = np.concatenate(parts) if parts else np.empty(0)
        wanted = [segment.quantile for segment in dimension.segments]
        if not len(known) and any(q is not None for q in wanted):
            raise ValueError(f"dimension {dimension.name}: no customer has {dimension.over} yet")
        numbers.append([None if q is None else float(np.quantile(known, q)) for q in wanted])
    return customers, numbers


def _numbers(part: _Partition, rules: Rules, scorer: Scorer) -> _Numbers:
    rulings = rules.rulings
    values: FloatArray = np.empty((len(rulings), len(part.states)))
    scorer = rules.numbers(scorer)
    for start in range(0, len(part.states), BLOCK):
        states = part.states[start : start + BLOCK]
        moments = [anew_at(state, part.at) for state in states]
        scores = scorer.score(rows(states, [at for _, at in moments], rules.shop))
        days = np.array(
            [
                np.nan if (bought_at := state.last_purchase_at) is None else rules.days_since(bought_at, timed_at)
                for state, (timed_at, _) in zip(states, moments, strict=True)
            ]
        )
        for d, ruling in enumerate(rulings):
            values[d, start : start + len(states)] = days if ruling.score is None else scores[:, ruling.score]
    return _Numbers(rulings, values)


def _spread(kinds: Sequence[list[Moved]], most: int) -> tuple[Moved, ...]:
    """At most `most`, in turn of each kind."""
    longest = max(map(len, kinds), default=0)
    return tuple(kind[i] for i in range(longest) for kind in kinds if i < len(kind))[:most]


async def _population(settings: Settings) -> AsyncIterator[_Partition]:
    """Every partition's customers as the changelog has them now."""
    client = await connect(settings)
    try:
        tps = list(await layout(client, [settings.changelog_topic], settings.bootstrap_servers))
    finally:
        await client.close()
    async with reader(settings) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for tp in tps:
            values: dict[bytes, bytes] = {}
            own = PartitionState()
            async for records in read_span(consumer, {TopicPartition(*tp): (starts[tp], ends[tp])}):
                for record in records:
                    key, value = record.key, record.value
                    if key[:1] == b"\xff":
                        if key == PARTITION_KEY:
                            own = decode_partition(value)
                    elif value is None:
                        values.pop(key, None)
                    else:
                        values[key] = value
            # Decoding makes no cycles, and the collector's walks over what is alive would more than double its time.
            gc.disable()
            try:
                states = {key: decode_state(value) for key, value in values.items()}
            finally:
                gc.enable()
            states = {key: state for key, state in states.items() if not state.is_erased}
            yield _Partition(list(states), list(states.values()), _time(settings, own))


def _time(settings: Settings, own: PartitionState) -> float:
    """What the partition's time is for a worker that is caught up."""
    clock = PartitionClock(settings.clock, settings.clock_grace_s)
    for topic, at in enumerate(own.times):
        if at is not None:
            clock.heard(topic, at)
        clock.idle(topic, time.time())
    return clock.now()

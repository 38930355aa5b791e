"""Laws of the sweep in a partition: when other rules begin to count, whom they concern, what survives a restart."""

from collections.abc import Sequence

from aiokafka.structs import ConsumerRecord
from hypothesis import given
from hypothesis import strategies as st

from histories import START_S, purchase
from models.policy import Rules, load, parse, read
from models.scores import PriorScorer
from models.shadow import Shadow
from models.state import Reading
from models.step import Customer, Terms, step
from schemas.changes import decode_change
from schemas.headers import CLOCK_HEADER
from schemas.states import NEVER
from schemas.stored import decode_partition, decode_state, encode_state
from schemas.times import DAY_S, to_rfc3339
from streams.kafka.changelog import PARTITION_KEY
from streams.plane.records import Put
from streams.settings import Settings
from streams.worker.chunk import ChunkWork
from streams.worker.scoring import WAVE, ScoringJob

SETTINGS = Settings(clock="event", partitions=1)
OLD = Rules(load())
NEW = Rules(parse(read().replace('version: "1"', 'version: "2"').replace("at_risk, from: 30", "at_risk, from: 20")))


class NoTexts:
    """Nobody wrote anything, and nothing waits."""

    version = None

    def cached(self, texts: Sequence[str]) -> list[Reading | None]:
        """See `streams.worker.decoding.KnownReadings`."""
        return [None] * len(texts)

    def put(self, partition: int, waiting: object) -> None:
        """See `streams.worker.scoring.WaitingRecords`."""
        raise AssertionError("nobody wrote anything")

    def drop(self, partition: int) -> None:
        """See `streams.worker.scoring.WaitingRecords`."""


class Nobody:
    """An observer who doesn't look; `restored` must still take what it is given."""

    def events(self, partition: int, counts: object) -> None:
        """Nothing."""

    def changes(self, partition: int, *arguments: object) -> None:
        """Nothing."""

    def restored(self, partition: int, places: object) -> None:
        """Nothing."""

    def revoked(self, partition: int) -> None:
        """Nothing."""


class Worker:
    """A job with one partition and a store of its own."""

    def __init__(self, rules: Rules, store: dict[bytes, bytes] | None = None) -> None:
        self.store = {} if store is None else store
        self.job = ScoringJob(SETTINGS, rules, PriorScorer(), readings=NoTexts(), waiting=NoTexts(), observer=Nobody())
        list(self.job.restored(0, iter(sorted(self.store.items()))))
        self.moved: list[tuple[str, str, str]] = []  # customer, segment, kind of cause
        self._offset = 0

    def apply(self, work: ChunkWork) -> list[Put]:
        """As the pipeline does."""
        puts = self.job.step(0, work, [self.store.get(key) for key in work.keys]).puts
        for put in puts:
            assert put.value is not None
            self.store[put.key] = put.value
            for output in put.outputs:
                if output.topic == "segment-changes":
                    change = decode_change(output.value or b"")
                    kind = type(change.cause).__name__.removesuffix("Cause").lower()
                    if change.dimension == "lifecycle":
                        self.moved.append((change.customer_id, change.current, kind))
        return puts

    def clock(self, at: float) -> None:
        """Time has come so far in every topic."""
        header = [(CLOCK_HEADER, to_rfc3339(at).encode())]
        records = []
        for topic in self.job.topics:
            self._offset += 1
            records.append(ConsumerRecord(topic, 0, self._offset, 0, 0, None, b"", None, -1, 0, tuple(header)))
        self.apply(self.job.decode(0, records))

    def silence(self) -> None:
        """Everybody who is due."""
        while (work := self.job.silence(0)) is not None:
            self.apply(work)

    def sweep(self, most: int = 10_000) -> int:
        """At most so many waves; how many there were."""
        for n in range(most):
            if (work := self.job.sweep(0)) is None:
                return n
            assert 0 < len(work.keys) <= WAVE
            self.apply(work)
        return most


def customers(days: Sequence[float]) -> dict[bytes, bytes]:
    """A store with customers who bought so many days after the start, each judged by the old rules."""
    store = {}
    for n, day in enumerate(days):
        outcome = step(
            Customer(f"c{n}", None, NEVER, [purchase(0, START_S + day * DAY_S)]), Terms(OLD, PriorScorer(), -NEVER)
        )
        assert outcome.state is not None
        store[f"c{n}".encode()] = encode_state(outcome.state, outcome.due)
    return store


def test_what_fell_due_before_is_the_old_rules_matter() -> None:
    """Silence is through before other rules count: who was at risk by the old bound becomes so by silence."""
    worker = Worker(OLD, customers([0, 5, 15, 29]))
    worker.clock(START_S + 31 * DAY_S)
    worker.job.rules = NEW
    worker.silence()
    assert worker.moved == [("c0", "at_risk", "silence")]
    assert worker.sweep() == 1
    assert worker.moved[1:] == [("c1", "at_risk", "policy")]
    worker.clock(START_S + 36 * DAY_S)
    worker.silence()
    assert worker.moved[2:] == [("c2", "at_risk", "silence")]
    assert worker.sweep() == 0


@given(st.lists(st.floats(0, 60), min_size=1, max_size=150), st.integers(0, 3))
def test_a_sweep_that_a_restart_cuts_off_is_finished_and_moves_nobody_twice(days: list[float], waves: int) -> None:
    """Whoever takes the partition over goes on with those who are left, as of the same moment."""
    now = START_S + 61 * DAY_S
    whole, cut = Worker(OLD, customers(days)), Worker(OLD, customers(days))
    for worker in (whole, cut):
        worker.clock(now)
        worker.silence()
        worker.job.rules = NEW
    whole.sweep()
    cut.sweep(waves)
    taker = Worker(NEW, cut.store)
    if waves:
        taker.clock(now + DAY_S / 2)
    taker.sweep()
    by_policy = [move for move in cut.moved + taker.moved if move[2] == "policy"]
    assert sorted(by_policy) == sorted(move for move in whole.moved if move[2] == "policy")
    states = [decode_state(value) for key, value in taker.store.items() if key != PARTITION_KEY]
    assert {state.ruled for state in states} == {NEW.tag}
    assert Worker(NEW, taker.store).sweep() == 0
    if waves:
        assert decode_partition(taker.store[PARTITION_KEY]).ruled_at == now


def test_rules_that_are_served_already_sweep_nobody() -> None:
    """A restart under the same policy judges nobody anew."""
    worker = Worker(OLD, customers([0, 5]))
    worker.clock(START_S + 10 * DAY_S)
    assert worker.sweep() == 0
    assert worker.job.unswept() == 0


def test_without_a_partition_time_other_rules_wait() -> None:
    """There is no moment from which they could count."""
    worker = Worker(OLD, customers([0, 5]))
    worker.job.rules = NEW
    assert worker.sweep() == 0
    assert worker.job.unswept() == 2
    worker.clock(START_S + 26 * DAY_S)
    assert worker.sweep() == 1
    assert worker.job.unswept() == 0
    assert [move[2] for move in worker.moved] == ["policy", "policy"]


@given(st.lists(st.floats(0, 60), min_size=1, max_size=40), st.lists(st.floats(30, 70), max_size=5))
def test_a_shadow_moves_nobody_and_says_whom_a_sweep_would(days: list[float], ticks: list[float]) -> None:
    """The store and the moves are those without it; the difference it counts is what then moves on publication."""
    plain, shadowed = Worker(OLD, customers(days)), Worker(OLD, customers(days))
    shadowed.job.shadow = Shadow(NEW)
    for worker in (plain, shadowed):
        for day in [*sorted(ticks), 71.0]:
            worker.clock(START_S + day * DAY_S)
            worker.silence()
    assert shadowed.store == plain.store
    assert shadowed.moved == plain.moved
    comparison = shadowed.job.shadow.comparison()
    assert (comparison.policy, comparison.customers) == ("default-2", len(days))  # features are kept every ten days
    assert sum(n for (dimension, *_), n in comparison.pairs.items() if dimension == "lifecycle") == comparison.customers
    differing = {pair[1:]: n for pair, n in comparison.pairs.items() if pair[0] == "lifecycle" and pair[1] != pair[2]}
    assert comparison.elsewhere >= max(differing.values(), default=0)

    before = len(plain.moved)
    plain.job.rules = NEW
    plain.sweep()
    assert sum(differing.values()) == len(plain.moved[before:])
    shadowed.job.revoked(0)
    assert shadowed.job.shadow.comparison().customers == 0

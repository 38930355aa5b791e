"""What a worker keeps in memory of one partition: its clock, its rules, and when each customer must be looked at.

All of it is rebuilt from the stored states after a restart.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

from models.clock import UNKNOWN, PartitionClock
from models.policy import Rules
from schemas.campaigns import CampaignSpend
from schemas.events import GROUP_TOPICS
from schemas.positions import Incarnation
from schemas.states import PartitionState
from schemas.stored import decode_partition, glance
from streams.kafka.changelog import PARTITION_KEY, RESERVED
from streams.worker.chunk import Waiting
from streams.worker.due import DueTimes

# Customers that are read before others get a turn: one or two milliseconds.
PORTION = 250


class Partition:
    """The memory of one partition.

    Attributes:
        clock: its event time.
        rules: the rules that judge its customers. The job's newer rules follow once silence is through under these.
        ruled_at: partition time from which the rules count; None: it isn't known yet.
        incarnations: which topic the positions of its customers are of, per input topic.
        unswept: customers who may have been judged by other rules last, in no order.
        stored: the partition's own state as it was last stored.
        spends: what its customers' campaigns have spent of each budget.
        customers: how many customers it has; the erased don't count.
        due: when each customer must be looked at again, by key; `NEVER`: only when an event comes. Nobody who is erased.
        bases: the position of offset 0 in each input topic (schemas.positions).
        behind: records that wait for texts, counted by topic and key. Later ones of the same must wait behind them.
    """

    def __init__(self, clock: PartitionClock, rules: Rules) -> None:
        self.clock, self.rules = clock, rules
        self.ruled_at: float | None = None
        self.incarnations: tuple[Incarnation, ...] = ()
        self.bases: tuple[int, ...] = (0,) * len(GROUP_TOPICS)
        self.spends: tuple[CampaignSpend, ...] = ()
        self.unswept: list[bytes] = []
        self.stored = PartitionState()
        self.customers = 0
        self.due = DueTimes()
        self.behind: Counter[tuple[int, bytes]] = Counter()

    def restore(self, items: Iterator[tuple[bytes, bytes]], places: Counter[tuple[str, str]]) -> Iterator[None]:
        """Fills a new memory from every stored key and state; yields after every `PORTION`, so that others get a turn.

        Args:
            items: keys and states, in any order.
            places: counts the customers by dimension and segment.
        """
        put, unswept, tag = self.due.put, self.unswept, self.rules.tag
        together = Counter[tuple[tuple[str, str], ...]]()
        for number, (key, value) in enumerate(items):
            if number % PORTION == 0:
                yield
            if key[:1] == RESERVED:
                if key == PARTITION_KEY:
                    self._restore_own(decode_partition(value))
                continue
            seen = glance(value)
            if seen.is_erased:
                continue
            put(key, seen.due)
            if seen.ruled != tag:
                unswept.append(key)
            together[seen.places] += 1
        self.customers += len(self.due)
        for each, customers in together.items():
            for place in each:
                places[place] += customers

    def _restore_own(self, stored: PartitionState) -> None:
        self.stored = stored
        self.incarnations, self.spends = stored.incarnations, stored.spends
        self._set_bases()
        if stored.ruled == self.rules.tag:
            self.ruled_at = stored.ruled_at
        for topic, at in enumerate(stored.times):
            if at is not None:
                self.clock.heard(topic, at)

    def meet(self, topic_ids: Sequence[str]) -> list[int]:
        """The input topics have these ids now (empty: not known); gives the indexes of those that were made anew.

        Call it after `restore`. A partition that has met no topic yet takes these for those that it knows.
        """
        known = self.incarnations + (Incarnation(),) * (len(topic_ids) - len(self.incarnations))
        anew = [i for i, now in enumerate(topic_ids) if now and known[i].topic_id not in ("", now)]
        self.incarnations = tuple(
            Incarnation(now or kept.topic_id, kept.number + (i in anew))
            for i, (kept, now) in enumerate(zip(known, topic_ids, strict=True))
        )
        self._set_bases()
        return anew

    def _set_bases(self) -> None:
        if self.incarnations:
            missing = len(GROUP_TOPICS) - len(self.incarnations)  # stored before a topic was added
            self.bases = (*(each.base for each in self.incarnations), *(0,) * missing)

    def schedule(self, key: bytes, due: float) -> None:
        """The customer of `key` is to be looked at again at `due`."""
        self.due.put(key, due)

    def forget(self, key: bytes) -> None:
        """The customer of `key` is erased."""
        self.due.drop(key)

    def pop_due(self, until: float, most: int) -> list[bytes]:
        """At most `most` keys that are due strictly before `until`, earliest first."""
        return self.due.pop(until, most)

    def hold(self, waiting: Waiting) -> None:
        """Records wait for their texts; later ones of the same customers and topics wait behind them."""
        for key, heard, _ in waiting.entries:
            self.clock.hold(heard.topic, heard.at)
            self.behind[heard.topic, key] += 1

    def serve(self, waiting: Waiting) -> None:
        """The records of `waiting` are applied now."""
        for key, heard, _ in waiting.entries:
            self.clock.serve(heard.topic, heard.at)
            self.behind[heard.topic, key] -= 1
            if not self.behind[heard.topic, key]:
                del self.behind[heard.topic, key]

    def now(self) -> float:
        """Partition time, epoch seconds."""
        return self.clock.now()

    def counts_from(self) -> float:
        """Since when the rules count: as stored, else from now on, once there is a partition time."""
        if self.ruled_at is None and (now := self.now()) != UNKNOWN:
            self.ruled_at = now
        return UNKNOWN if self.ruled_at is None else self.ruled_at

    def adopt(self, rules: Rules) -> None:
        """Other rules count from now on, for every customer."""
        self.rules, self.ruled_at = rules, self.now()
        self.unswept = list(self.due)

    def state(self, spends: tuple[CampaignSpend, ...]) -> PartitionState:
        """What is to be stored of the partition, once its campaigns have spent `spends`."""
        kept = self.clock.kept
        return PartitionState((kept(0), kept(1), kept(2)), self.rules.tag, self.ruled_at, self.incarnations, spends)

    def keep(self, state: PartitionState) -> None:
        """`state` is written with the chunk's customers."""
        self.stored, self.spends = state, state.spends

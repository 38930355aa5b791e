"""Outcomes of the step in; records out: states, segment changes, standings and labels."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.learning.published import ids_between, published
from models.standing import change, standing
from models.state import CLICK, PURCHASE
from models.step import Heard, Outcome
from schemas.changes import Change, Trace, Versions, cloudevent_headers, encode_change, encode_standing, erased_headers
from schemas.events import Purchase
from schemas.learning import encode_label
from schemas.states import CustomerState, encode_state
from schemas.times import to_rfc3339
from schemas.topics import CUSTOMER_SEGMENTS, MODEL_TRAIN, SEGMENT_CHANGES
from streams.plane.records import Output, Put
from streams.settings import Settings
from streams.worker.chunk import ChunkWork
from streams.worker.partition import Partition


class Written(NamedTuple):
    """What the outcomes of one chunk become.

    Attributes:
        puts: new states, each with every record that it causes.
        changes: the segment changes among those records.
        bodies: the same changes, encoded.
    """

    puts: list[Put]
    changes: list[Change]
    bodies: list[bytes]


class OutcomeWriter:
    """Writes outcomes as records.

    Args:
        settings: names of the topics.
        pseudonym: names a customer in labels.

    Attributes:
        foreign: applied purchases in another currency than the policy's, by full name of their topic, since the start.
    """

    def __init__(self, settings: Settings, pseudonym: Callable[[str], str]) -> None:
        self._changes, self._standings = settings.topic(SEGMENT_CHANGES), settings.topic(CUSTOMER_SEGMENTS)
        self._train, self._source = settings.topic(MODEL_TRAIN), settings.source
        self.foreign: Counter[str] = Counter()
        self._pseudonym = pseudonym

    def write(
        self, work: ChunkWork, part: Partition, outcomes: Sequence[Outcome], versions: Versions, scored_at: float
    ) -> Written:
        """The records of `outcomes`; counts what was not applied, and notes in `part` when each customer is due."""
        trace = Trace(to_rfc3339(work.consumed_at), to_rfc3339(scored_at), to_rfc3339(time.time()))
        currency = part.rules.policy.currency
        written = Written([], [], [])
        for outcome in outcomes:
            before, state = outcome.customer.state, outcome.state
            self._count(work, outcome, currency)
            key = outcome.customer.customer_id.encode()
            now = before if state is None else state
            if now is None or now.is_erased:
                part.forget(key)
            else:
                part.schedule(key, outcome.due)
            if state is None:
                continue
            part.customers += (not state.is_erased) - (before is not None and not before.is_erased)
            outputs = self._outputs(written, key, outcome, state, versions, trace)
            written.puts.append(Put(key, encode_state(state, outcome.due), outputs))
        return written

    def _count(self, work: ChunkWork, outcome: Outcome, currency: str) -> None:
        passed_over = (("duplicate", outcome.repeated), ("replayed", outcome.replayed), ("void", outcome.void))
        for name, events in passed_over:
            for heard in events:
                work.counts[heard.topic, "applied"] -= 1
                work.counts[heard.topic, name] += 1
        for heard in outcome.customer.heard:
            if heard.topic == PURCHASE and _is_foreign(heard, outcome, currency):
                self.foreign[heard.topic_name] += 1

    def _outputs(
        self, written: Written, key: bytes, outcome: Outcome, state: CustomerState, versions: Versions, trace: Trace
    ) -> list[Output]:
        """The records that the customer's new state causes, in order; adds the changes among them to `written`."""
        customer_id, before = outcome.customer.customer_id, outcome.customer.state
        outputs: list[Output] = []
        if outcome.erased:  # first, because the customer may come back in the same chunk
            assert state.erased_at is not None
            headers = erased_headers(state.erased_at, 0 if before is None else before.sequence)
            outputs.append(Output(self._standings, key, None, headers))
            outputs += self._forgotten(customer_id, before)
        for move in outcome.moves:
            moved = change(customer_id, move, versions, trace)
            body = encode_change(moved)
            written.changes.append(moved)
            written.bodies.append(body)
            outputs.append(Output(self._changes, key, body, cloudevent_headers(moved, self._source)))
        if outcome.moves or (not state.is_erased and _needs_standing(outcome, before, state)):
            outputs.append(Output(self._standings, key, encode_standing(standing(customer_id, state, versions)), []))
        outputs += [
            Output(self._train, label.label_id.encode(), encode_label(label), [])
            for label in map(published, outcome.labels)
        ]
        return outputs

    def _forgotten(self, customer_id: str, before: CustomerState | None) -> list[Output]:
        """What deletes the labels that an erased customer can have in `model-train`: a null under each of their ids."""
        if before is None or before.is_erased:
            return []
        ids = ids_between(self._pseudonym(customer_id), before.first_event_at, max(before.as_of, before.last_event_at))
        return [Output(self._train, label_id.encode(), None, []) for label_id in ids]


def _is_foreign(heard: Heard, outcome: Outcome, currency: str) -> bool:
    event = heard.event
    if not isinstance(event, Purchase) or event.currency == currency:
        return False
    return not any(heard is other for other in (*outcome.repeated, *outcome.replayed, *outcome.void))


def _needs_standing(outcome: Outcome, before: CustomerState | None, state: CustomerState) -> bool:
    """Whether a standing is due though nobody moved: there was more than clicks, or another segment comes next.

    A click that only delays what comes next is no reason: the standing says as of when it was promised.
    """
    if before is None:
        return True
    promised, now = before.promise, state.promise
    if (promised is None) != (now is None) or (promised is not None and now is not None and promised[1:] != now[1:]):
        return True
    return any(heard.topic != CLICK for heard in outcome.customer.heard)

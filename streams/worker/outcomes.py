"""Outcomes of the step in; records out: states, segment changes, standings and labels."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.learning.published import ids_between, published
from models.policy import Rules
from models.standing import Wording, change, standing
from models.state import PURCHASE
from models.step import Heard, Outcome
from schemas.actions import Action, action_headers, encode_action
from schemas.campaigns import encode_reward, reward_id
from schemas.changes import (
    Change,
    Trace,
    Versions,
    cloudevent_headers,
    encode_change,
    encode_standing,
    erased_headers,
    standing_headers,
)
from schemas.events import Purchase
from schemas.learning import encode_label
from schemas.times import to_rfc3339
from schemas.topics import ACTION_REWARDS, ACTIONS, CUSTOMER_SEGMENTS, MODEL_TRAIN, SEGMENT_CHANGES
from streams.plane.records import Output, Put
from streams.settings import Settings
from streams.worker.chunk import ChunkWork
from streams.worker.conflicts import Conflicts
from streams.worker.partition import Partition


class Written(NamedTuple):
    """What the outcomes of one chunk become.

    Attributes:
        puts: new states, each with every record that it causes.
        changes: the segment changes among those records.
        bodies: the same changes, encoded.
        actions: what campaigns decided, among those records.
    """

    puts: list[Put]
    changes: list[Change]
    bodies: list[bytes]
    actions: list[Action]


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
        self._actions, self._rewards = settings.topic(ACTIONS), settings.topic(ACTION_REWARDS)
        self._train, self._source = settings.topic(MODEL_TRAIN), settings.source
        self.foreign: Counter[str] = Counter()
        self._conflicts = Conflicts()
        self._rules: Rules | None = None
        self._wording: Wording
        self._pseudonym = pseudonym

    def write(
        self, work: ChunkWork, part: Partition, outcomes: Sequence[Outcome], versions: Versions, scored_at: float
    ) -> Written:
        """The records of `outcomes`; counts what was not applied, and notes in `part` when each customer is due."""
        trace = Trace(to_rfc3339(work.consumed_at), to_rfc3339(scored_at), to_rfc3339(time.time()))
        wording = self._wording_of(part.rules)
        written = Written([], [], [], [])
        puts = written.puts
        for outcome in outcomes:
            customer, value = outcome.customer, outcome.value
            key = customer.customer_id.encode()
            if outcome.repeated or outcome.replayed or outcome.void:
                _count_passed_over(work, outcome)
            self._count_purchases(work, outcome, wording.currency)
            if outcome.is_there:
                part.schedule(key, outcome.due)
            else:
                part.forget(key)
            if value is None:
                continue
            if outcome.is_there is not outcome.was_there:
                part.customers += outcome.is_there - outcome.was_there
            is_quiet = not (
                outcome.shows
                or outcome.moves
                or outcome.labels
                or outcome.erased
                or outcome.decisions
                or outcome.rewards
            )
            outputs = [] if is_quiet else self._outputs(written, key, outcome, versions, trace, wording)
            puts.append(Put(key, value, outputs))
        return written

    def _wording_of(self, rules: Rules) -> Wording:
        if self._rules is not rules:
            self._rules, self._wording = rules, Wording.of(rules.policy)
        return self._wording

    def _count_purchases(self, work: ChunkWork, outcome: Outcome, currency: str) -> None:
        """Counts purchases in another currency, and those whose id came before with another content."""
        purchases = [heard for heard in outcome.customer.heard if heard.topic == PURCHASE]
        if not purchases:
            return
        self.foreign.update(heard.topic_name for heard in purchases if _is_foreign(heard, outcome, currency))
        for heard in self._conflicts.among(purchases, outcome.repeated):
            work.counts[heard.topic, "duplicate"] -= 1
            work.counts[heard.topic, "conflict"] += 1

    def _outputs(
        self, written: Written, key: bytes, outcome: Outcome, versions: Versions, trace: Trace, wording: Wording
    ) -> list[Output]:
        """The records that the customer's new state causes, in order; adds the changes among them to `written`."""
        customer_id = outcome.customer.customer_id
        outputs: list[Output] = []
        if outcome.erased:  # first, because the customer may come back in the same chunk
            outputs.append(Output(self._standings, key, None, _erased_headers(outcome)))
            outputs += self._forgotten(outcome)
        for move in outcome.moves:
            moved = change(customer_id, move, versions, trace, wording)
            body = encode_change(moved)
            written.changes.append(moved)
            written.bodies.append(body)
            outputs.append(Output(self._changes, key, body, cloudevent_headers(moved, self._source)))
        for action, *_ in outcome.decisions:
            written.actions.append(action)
            outputs.append(Output(self._actions, key, encode_action(action), action_headers(action, self._source)))
        if outcome.shows:
            assert outcome.state is not None
            stands = standing(customer_id, outcome.state, versions, wording)
            headers = standing_headers(stands, self._source)
            outputs.append(Output(self._standings, key, encode_standing(stands), headers))
        outputs += [
            Output(self._train, label.label_id.encode(), encode_label(label), [])
            for label in map(published, outcome.labels)
        ]
        outputs += [
            Output(self._rewards, reward.reward_id.encode(), encode_reward(reward), []) for reward in outcome.rewards
        ]
        return outputs

    def _forgotten(self, outcome: Outcome) -> list[Output]:
        """What deletes an erased customer's labels and rewards: a null under each id that one of them can have."""
        before = outcome.customer.state
        if before is None or before.is_erased:
            return []
        rewards = [
            reward_id(self._pseudonym, outcome.customer.customer_id, memory.campaign, n)
            for memory in (() if before.campaigns is None else before.campaigns.memories)
            for n in range(1, memory.decisions + 1)
        ]
        ids = ids_between(
            self._pseudonym(outcome.customer.customer_id),
            before.first_event_at,
            max(before.as_of, before.last_event_at),
        )
        return [
            *(Output(self._train, label_id.encode(), None, []) for label_id in ids),
            *(Output(self._rewards, each.encode(), None, []) for each in rewards),
        ]


def _count_passed_over(work: ChunkWork, outcome: Outcome) -> None:
    passed_over = (("duplicate", outcome.repeated), ("replayed", outcome.replayed), ("void", outcome.void))
    for name, events in passed_over:
        for heard in events:
            work.counts[heard.topic, "applied"] -= 1
            work.counts[heard.topic, name] += 1


def _is_foreign(heard: Heard, outcome: Outcome, currency: str) -> bool:
    event = heard.event
    if not isinstance(event, Purchase) or event.currency == currency:
        return False
    return not any(heard is other for other in (*outcome.repeated, *outcome.replayed, *outcome.void))


def _erased_headers(outcome: Outcome) -> list[tuple[str, bytes]]:
    before, state = outcome.customer.state, outcome.state
    assert state is not None
    assert state.erased_at is not None
    return erased_headers(state.erased_at, 0 if before is None else before.sequence)

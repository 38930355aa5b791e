"""What must hold after a run, from the topics alone: the inputs say what the states, changes and dead letters must be.

Shares no code with the product. Its rules are those of docs/guarantees.md, written a second time, on purpose in another
way: sets and sums over whole topics instead of a stream of states.

    lost, doubled       a state counts fewer or more events (or less or more money) than the input topics hold
    stranger            a state, standing or change of a customer who is in no input topic
    hole                a sequence number that is missing from a customer's changes
    bytes               one change_id with two bodies
    order               a customer's sequence seen for the first time after a higher one, or in two partitions
    chain               a change whose `previous` isn't the segment that the change before it led to
    cause               a change whose cause is no input record, or a second one of the same record and dimension
    fold                a standing or state whose segments or sequence aren't those of the changes
    letter              a record that is no event and has no dead letter; a dead letter of an event, or with other bytes
                        (those of a record over 2 MiB may end early, if the letter says so)

What must hold of campaigns is in `decided`. Deliveries beyond the first of the same bytes are allowed; they are counted as
`repeated`.
"""

import contextlib
import json
import re
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple

from tests.faults import decided

CLASSES = (
    "lost",
    "doubled",
    "stranger",
    "hole",
    "bytes",
    "order",
    "chain",
    "cause",
    "fold",
    "letter",
    *decided.CLASSES,
)
INPUTS = ("clickstream", "purchases", "reviews")
TYPES = {
    "clickstream": {"view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout"},
    "purchases": {"purchase", "refund"},
    "reviews": {"review", "support"},
}
COUNTS = ("purchases", "refunds", "spend_minor", "refunded_minor", "clicks", "reviews")
LIMIT_BYTES = 65_536
CUT_BEYOND_BYTES = 2 * 1024 * 1024
KEY_KEPT_BYTES = 1024
EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
FUTURE_LIMIT_S = 3_600
SHOWN = 5


class Record(NamedTuple):
    """One record as a consumer gets it; `topic` without the prefix."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


@dataclass
class Evidence:
    """Everything that a run left behind: whole topics, and the exported states by customer."""

    inputs: list[Record]
    changes: list[Record]
    standings: list[Record]
    letters: list[Record]
    states: dict[str, dict[str, Any]]  # COUNTS, sequence, segments, first_purchase_at, last_purchase_at
    actions: list[Record]


@dataclass
class Verdict:
    """What was found: faults by class, and how much was looked at."""

    faults: dict[str, list[str]] = field(default_factory=lambda: {name: [] for name in CLASSES})
    events: int = 0
    customers: int = 0
    changes: int = 0
    actions: int = 0
    letters: int = 0
    repeated: int = 0

    @property
    def good(self) -> bool:
        """Whether nothing is wrong."""
        return not any(self.faults.values())

    @property
    def counts(self) -> dict[str, int]:
        """Faults by class, only those that occurred."""
        return {name: len(found) for name, found in self.faults.items() if found}

    def __str__(self) -> str:
        if self.good:
            return "nothing wrong"
        return "; ".join(
            f"{name}: {len(found)} ({' | '.join(found[:SHOWN])})" for name, found in self.faults.items() if found
        )


@dataclass
class _Customer:
    """What the input topics say of one customer."""

    sums: Counter[str] = field(default_factory=Counter)
    ids: set[tuple[str, str]] = field(default_factory=set)
    bought_at: list[datetime] = field(default_factory=list)


def judge(evidence: Evidence) -> Verdict:
    """Compares everything with everything; changes nothing."""
    verdict = Verdict()
    events, refused = _sort_out(evidence.inputs)
    customers = _expected(events)
    verdict.events = sum(len(customer.ids) for customer in customers.values())
    verdict.customers = len(customers)
    segments, sequences = _judge_log(verdict, evidence.changes, events)
    _judge_actions(verdict, evidence)
    _judge_states(verdict, customers, evidence.states, segments, sequences)
    _judge_standings(verdict, customers, evidence.standings, segments, sequences)
    _judge_letters(verdict, refused, evidence.letters)
    return verdict


# --- what must be --------------------------------------------------------------------------------------------------


def _sort_out(inputs: Iterable[Record]) -> tuple[dict[tuple[str, int, int], dict[str, Any]], dict[Any, Record]]:
    """Events, and records that are none, by (topic, partition, offset)."""
    events: dict[tuple[str, int, int], dict[str, Any]] = {}
    refused: dict[Any, Record] = {}
    for record in inputs:
        place = record.topic, record.partition, record.offset
        if not record.key and _says_time(record):
            continue
        event = _event(record)
        if event is None:
            refused[place] = record
        else:
            events[place] = event
    return events, refused


def _says_time(record: Record) -> bool:
    """Whether the record's first clock header holds a time, with an offset and within 1990 to an hour from now."""
    for name, value in record.headers:
        if name == "regulars-clock":
            with contextlib.suppress(ValueError):
                at = datetime.fromisoformat(value.decode())
                return at.tzinfo is not None and at >= EARLIEST and at.timestamp() < time.time() + FUTURE_LIMIT_S
            return False
    return False


def _event(record: Record) -> dict[str, Any] | None:
    """The record's event; None where it is none."""
    if not record.key or record.value is None or len(record.value) > LIMIT_BYTES:
        return None
    try:
        event = json.loads(record.value.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(event, dict):
        return None
    needed: dict[str, type] = {"event_id": str, "customer_id": str, "event_time": str, "type": str}
    needed |= {
        "clickstream": {"session_id": str},
        "purchases": {"order_id": str, "amount_minor": int, "currency": str},
        "reviews": {"text": str},
    }[record.topic]
    if any(type(event.get(name)) is not kind for name, kind in needed.items()):
        return None
    with contextlib.suppress(ValueError):
        at = datetime.fromisoformat(event["event_time"])
        amount, rating = event.get("amount_minor", 1), event.get("rating")
        if (
            at.tzinfo is not None
            and at >= EARLIEST
            and 1 <= len(event["event_id"]) <= 64
            and 1 <= len(event["customer_id"]) <= 128
            and not re.search(r"[\x00-\x1f\x7f-\x9f]", event["customer_id"])
            and event["customer_id"].encode() == record.key
            and event["type"] in TYPES[record.topic]
            and (record.topic != "purchases" or (amount > 0 and re.fullmatch("[A-Z]{3}", event["currency"])))
            and (record.topic != "reviews" or rating is None or (type(rating) is int and 1 <= rating <= 5))
        ):
            return event | {"at": at}
    return None


def _expected(events: Mapping[tuple[str, int, int], dict[str, Any]]) -> dict[str, _Customer]:
    customers: dict[str, _Customer] = defaultdict(_Customer)
    for (topic, _, _), event in events.items():
        customer = customers[event["customer_id"]]
        if (topic, event["event_id"]) in customer.ids:
            continue  # a producer's retry
        customer.ids.add((topic, event["event_id"]))
        if event["type"] == "purchase":
            customer.sums.update(purchases=1, spend_minor=event["amount_minor"])
            customer.bought_at.append(event["at"])
        elif event["type"] == "refund":
            customer.sums.update(refunds=1, refunded_minor=event["amount_minor"])
        else:
            customer.sums["clicks" if topic == "clickstream" else "reviews"] += 1
    return dict(customers)


# --- what is -------------------------------------------------------------------------------------------------------


def _judge_log(
    verdict: Verdict, changes: Iterable[Record], events: Mapping[tuple[str, int, int], dict[str, Any]]
) -> tuple[dict[str, dict[str, str]], dict[str, int]]:
    """Judges `segment-changes`; the segments it leads to, and the last sequence, by customer."""
    faults = verdict.faults
    bodies: dict[tuple[str, int], bytes | None] = {}
    highest: dict[str, int] = {}
    homes: dict[str, int] = {}
    known = {event["customer_id"] for event in events.values()}
    for record in changes:
        change = json.loads(record.value or b"{}")
        customer, sequence = change.get("customer_id", ""), change.get("sequence", 0)
        name = f"{customer}:{sequence}"
        if change.get("change_id") != name or record.key != customer.encode():
            faults["bytes"].append(
                f"{record.topic}[{record.partition}]@{record.offset}: {name} under another name or key"
            )
            continue
        if customer not in known:
            faults["stranger"].append(f"change {name}")
        if homes.setdefault(customer, record.partition) != record.partition:
            faults["order"].append(f"{name} in partition {record.partition}, others in {homes[customer]}")
        if (customer, sequence) in bodies:
            verdict.repeated += 1
            if bodies[customer, sequence] != record.value:
                faults["bytes"].append(f"{name} has two bodies")
            continue
        bodies[customer, sequence] = record.value
        if sequence < highest.get(customer, 0):
            faults["order"].append(f"{name} came after {highest[customer]}")
        highest[customer] = max(highest.get(customer, 0), sequence)
    verdict.changes = len(bodies)
    return _fold(verdict, bodies, events), highest


def _fold(
    verdict: Verdict,
    bodies: Mapping[tuple[str, int], bytes | None],
    events: Mapping[tuple[str, int, int], dict[str, Any]],
) -> dict[str, dict[str, str]]:
    faults = verdict.faults
    segments: dict[str, dict[str, str]] = defaultdict(dict)
    expected: Counter[str] = Counter()
    causes: set[tuple[Any, ...]] = set()
    for customer, sequence in sorted(bodies):
        change = json.loads(bodies[customer, sequence] or b"{}")
        dimension, cause, held = change["dimension"], change["cause"], segments[customer]
        expected[customer] += 1
        if sequence != expected[customer]:
            faults["hole"].append(f"{customer}: {expected[customer]} to {sequence - 1} missing")
            expected[customer] = sequence
        if change["previous"] != held.get(dimension) or change["current"] == held.get(dimension):
            told = f"{change['previous']} -> {change['current']}"
            faults["chain"].append(f"{customer}:{sequence} {dimension} {told} after {held.get(dimension)}")
        held[dimension] = change["current"]
        if cause["kind"] == "event":
            topic = next((name for name in INPUTS if cause["topic"].endswith(name)), cause["topic"])
            event = events.get((topic, cause["partition"], cause["offset"]), {})
            found = event.get("customer_id"), event.get("event_id"), event.get("type")
            if found != (customer, cause["event_id"], cause["event_type"]):
                faults["cause"].append(
                    f"{customer}:{sequence}: no event at {topic}[{cause['partition']}]@{cause['offset']}"
                )
            mark: tuple[Any, ...] = (customer, dimension, topic, cause["offset"])
        else:
            mark = (customer, dimension, change["changed_at"], json.dumps(cause, sort_keys=True))
        if mark in causes:
            faults["cause"].append(f"{customer}:{sequence}: a second {dimension} change of one cause")
        causes.add(mark)
    return dict(segments)


def _judge_actions(verdict: Verdict, evidence: Evidence) -> None:
    """Judges `actions` by the changes that ask for them."""
    once = {(record.key, record.value): json.loads(record.value or b"{}") for record in evidence.changes}
    changes = {(body.get("customer_id", ""), body.get("sequence", 0)): body for body in once.values()}
    records = [(record.key, record.value) for record in evidence.actions]
    repeated = decided.judge_actions(verdict.faults, records, [changes[place] for place in sorted(changes)])
    verdict.actions = len(records) - repeated
    verdict.repeated += repeated


def _judge_states(
    verdict: Verdict,
    customers: Mapping[str, _Customer],
    states: Mapping[str, dict[str, Any]],
    segments: Mapping[str, dict[str, str]],
    sequences: Mapping[str, int],
) -> None:
    faults = verdict.faults
    faults["stranger"] += [f"state of {customer}" for customer in states.keys() - customers.keys()]
    for customer, must in customers.items():
        state = states.get(customer)
        if state is None:
            faults["lost"].append(f"{customer} has no state")
            continue
        for name in COUNTS:
            if state[name] != must.sums[name]:
                kind = "lost" if state[name] < must.sums[name] else "doubled"
                faults[kind].append(f"{customer}: {name} {state[name]}, must be {must.sums[name]}")
        times = (min(must.bought_at), max(must.bought_at)) if must.bought_at else (None, None)
        if (state["first_purchase_at"], state["last_purchase_at"]) != times:
            faults["lost"].append(f"{customer}: first and last purchase are not those of the input")
        if state["segments"] != segments.get(customer, {}) or state["sequence"] != sequences.get(customer, 0):
            faults["fold"].append(
                f"state of {customer} at {state['sequence']} {state['segments']}, "
                f"changes lead to {sequences.get(customer, 0)} {segments.get(customer, {})}"
            )
        if not segments.get(customer):
            faults["lost"].append(f"{customer} has no changes")


def _judge_standings(
    verdict: Verdict,
    customers: Mapping[str, _Customer],
    standings: Iterable[Record],
    segments: Mapping[str, dict[str, str]],
    sequences: Mapping[str, int],
) -> None:
    faults = verdict.faults
    latest = {(record.key or b"").decode(): record.value for record in standings}
    faults["stranger"] += [f"standing of {customer}" for customer in latest.keys() - customers.keys()]
    for customer, must in customers.items():
        standing = json.loads(latest.get(customer) or b"{}")
        is_ = standing.get("sequence", 0), standing.get("segments", {})
        wanted = sequences.get(customer, 0), segments.get(customer, {})
        if is_ != wanted:
            faults["fold"].append(f"standing of {customer} {is_}, changes lead to {wanted}")
        profile = standing.get("profile", {})
        # A click alone sends no new standing, so that its count may be behind; everything else may not.
        for name in COUNTS:
            if name != "clicks" and profile.get(name, 0) != must.sums[name]:
                faults["fold"].append(f"standing of {customer}: {name} {profile.get(name)}, must be {must.sums[name]}")


def _judge_letters(verdict: Verdict, refused: Mapping[Any, Record], letters: Iterable[Record]) -> None:
    faults = verdict.faults
    seen: set[Any] = set()
    for letter in letters:
        headers = {name: value.decode(errors="replace") for name, value in letter.headers}
        topic = next((name for name in INPUTS if headers.get("regulars-topic", "").endswith(name)), "")
        place = topic, int(headers.get("regulars-partition", -1)), int(headers.get("regulars-offset", -1))
        record = refused.get(place)
        if record is None:
            faults["letter"].append(f"{place}: a dead letter of a record that is an event, or isn't there")
        elif (letter.key or b"", letter.value) != _letter_must_be(record, headers.get("regulars-truncated")):
            faults["letter"].append(f"{place}: other bytes than the record's")
        elif not headers.get("regulars-reason"):
            faults["letter"].append(f"{place}: no reason")
        if place in seen:
            verdict.repeated += 1
        seen.add(place)
    verdict.letters = len(seen)
    faults["letter"] += [f"{place}: no dead letter" for place in refused.keys() - seen]


def _letter_must_be(record: Record, cut: str | None) -> tuple[bytes, bytes | None] | None:
    """Key and value of the letter; None where it says that it was cut and must not have been, or by other sizes."""
    key, value = record.key or b"", record.value
    if cut is None:
        return key, value
    own = sum(len(name.encode()) + len(said) + 4 for name, said in record.headers)
    sizes = dict(part.split("=") for part in cut.split())
    if sizes != {"key": str(len(key)), "value": str(len(value or b"")), "headers": str(own)}:
        return None
    if len(key) + len(value or b"") + own <= CUT_BEYOND_BYTES:
        return None
    return key[:KEY_KEPT_BYTES], None if value is None else value[:LIMIT_BYTES]

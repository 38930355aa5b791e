"""Good runs made up without the product, and ways to damage them: what the oracle must catch, each under its name."""

import copy
import json
import random
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from tests.faults.decided import RULES
from tests.faults.oracle import COUNTS, Evidence, Record, judge

START = datetime(2026, 1, 1, tzinfo=UTC)
SEGMENTS = {"lifecycle": ("prospect", "active", "at_risk"), "value": ("low", "mid", "high")}


def good_run(seed: int, customers: int = 6, events: int = 120) -> Evidence:
    """What a product without faults would leave behind, made up without it."""
    rnd = random.Random(seed)
    run = Evidence([], [], [], [], {}, [])
    sums: dict[str, Counter[str]] = {}
    bought: dict[str, list[datetime]] = {}
    offsets: Counter[Any] = Counter()
    entries: Counter[str] = Counter()
    contacted: dict[str, datetime] = {}

    def add(log: list[Record], topic: str, key: str | None, value: bytes, headers: Any = ()) -> Record:
        partition = int(key[1:]) % 3 if key else 0
        made = Record(topic, partition, offsets[topic, partition], key.encode() if key else None, value, headers)
        offsets[topic, partition] += 1
        log.append(made)
        return made

    for number in range(events):
        customer = f"c{rnd.randrange(customers)}"
        topic = rnd.choice(("clickstream", "purchases", "reviews"))
        at = START + timedelta(hours=number)
        kind = {"clickstream": "view", "purchases": rnd.choice(("purchase", "refund")), "reviews": "review"}[topic]
        event = _event(number, customer, at, kind) | (
            {"amount_minor": rnd.randrange(1, 9000)} if topic == "purchases" else {}
        )
        record = add(run.inputs, topic, customer, json.dumps(event).encode())
        if number % 10 == 0:  # a producer's retry
            add(run.inputs, topic, customer, json.dumps(event).encode())
        if number % 15 == 0:
            bad = add(run.inputs, topic, customer, b"{" + str(number).encode())
            add(run.letters, "dead-letters", customer, bad.value or b"", _letter_headers(topic, bad))
        total = sums.setdefault(customer, Counter())
        if kind == "purchase":
            total.update(purchases=1, spend_minor=event["amount_minor"])
            bought.setdefault(customer, []).append(at)
        elif kind == "refund":
            total.update(refunds=1, refunded_minor=event["amount_minor"])
        else:
            total["clicks" if topic == "clickstream" else "reviews"] += 1
        state = run.states.setdefault(customer, {"sequence": 0, "segments": {}})
        moves = [name for name in SEGMENTS if name not in state["segments"]] or rnd.sample(
            list(SEGMENTS), rnd.choice((0, 0, 1))
        )
        for dimension in moves:
            previous = state["segments"].get(dimension)
            current = rnd.choice([segment for segment in SEGMENTS[dimension] if segment != previous])
            state["sequence"] += 1
            state["segments"] = state["segments"] | {dimension: current}
            cause = {"kind": "event", "topic": f"x-{topic}", "partition": record.partition, "offset": record.offset}
            cause |= {"event_id": event["event_id"], "event_type": kind}
            change = {"change_id": f"{customer}:{state['sequence']}", "customer_id": customer, "dimension": dimension}
            change |= {"sequence": state["sequence"], "previous": previous, "current": current, "cause": cause}
            change |= {"changed_at": at.isoformat()}
            sent = add(run.changes, "segment-changes", customer, json.dumps(change).encode())
            if number % 12 == 0:  # delivered again, as after a crash
                add(run.changes, "segment-changes", customer, sent.value or b"")
            if (dimension, current) == (RULES.dimension, RULES.segment):
                entries[customer] += 1
                action = _action(customer, entries[customer], change, rnd, contacted, run)
                made = add(run.actions, "actions", customer, json.dumps(action).encode())
                if number % 9 == 0:
                    add(run.actions, "actions", customer, made.value or b"")
        state |= {name: total[name] for name in COUNTS}
        times = bought.get(customer)
        state |= {"first_purchase_at": times and min(times), "last_purchase_at": times and max(times)}
        standing = {"sequence": state["sequence"], "segments": state["segments"], "profile": dict(total)}
        add(run.standings, "customer-segments", customer, json.dumps(standing).encode())
    return run


def _action(
    customer: str, n: int, change: dict[str, Any], rnd: random.Random, contacted: dict[str, datetime], run: Evidence
) -> dict[str, Any]:
    """A decision as a campaign makes it: nobody twice within the days, nothing over the budget, one customer held out."""
    at, spent = (
        datetime.fromisoformat(change["changed_at"]),
        sum(json.loads(r.value or b"")["cost"] for r in run.actions),
    )
    last = contacted.get(customer)
    free = customer != "c0" and (last is None or at - last >= timedelta(days=RULES.contact_days))
    may = free and 100 * (spent + 1.0) <= RULES.budget_minor
    arm = rnd.choice(("none", "small")) if may else "none"
    if arm != "none":
        contacted[customer] = at
    action = {"action_id": f"{customer}:{RULES.name}:{n}", "customer_id": customer, "decided_at": change["changed_at"]}
    action |= {"cause": change["cause"], "arm": arm, "cost": float(arm != "none"), "holdout": customer == "c0"}
    return action | {"propensities": {"none": 0.5, "small": 0.5} if may else {"none": 1.0}}


def _event(number: int, customer: str, at: datetime, kind: str) -> dict[str, Any]:
    event: dict[str, Any] = {"event_id": f"e{number}", "customer_id": customer, "event_time": at.isoformat()}
    return event | {"type": kind, "session_id": "s", "order_id": "o", "currency": "GBP", "text": ""}


def _letter_headers(topic: str, bad: Record) -> tuple[tuple[str, bytes], ...]:
    return (
        ("regulars-topic", topic.encode()),
        ("regulars-reason", b"not-json"),
        ("regulars-partition", b"%d" % bad.partition),
        ("regulars-offset", b"%d" % bad.offset),
    )


# --- damage: each takes a good run and breaks one promise; the classes that must be among the faults


def _of(run: Evidence, rnd: random.Random) -> dict[str, Any]:
    return run.states[rnd.choice(sorted(run.states))]


def _drop_effect(run: Evidence, rnd: random.Random) -> None:
    _of(run, rnd)["clicks"] -= 1


def _double_effect(run: Evidence, rnd: random.Random) -> None:
    _of(run, rnd)["reviews"] += 1


def _miss_money(run: Evidence, rnd: random.Random) -> None:
    _of(run, rnd)["spend_minor"] -= 1


def _count_a_retry(run: Evidence, rnd: random.Random) -> None:
    """A retry that counted: one event more than there are ids."""
    _of(run, rnd)["refunds"] += 1


def _lose_customer(run: Evidence, rnd: random.Random) -> None:
    del run.states[rnd.choice(sorted(run.states))]


def _invent_customer(run: Evidence, rnd: random.Random) -> None:
    run.states["nobody"] = copy.deepcopy(_of(run, rnd))


def _shift_first_purchase(run: Evidence, rnd: random.Random) -> None:
    state = rnd.choice([state for state in run.states.values() if state["purchases"]])
    state["first_purchase_at"] += timedelta(seconds=1)


def _firsts(run: Evidence) -> list[int]:
    """Places of changes that are delivered once."""
    times = Counter(record.value for record in run.changes)
    return [place for place, record in enumerate(run.changes) if times[record.value] == 1]


def _body(record: Record, **changed: Any) -> Record:
    return record._replace(value=json.dumps(json.loads(record.value or b"") | changed).encode())


def _hole(run: Evidence, rnd: random.Random) -> None:
    inner = [p for p in _firsts(run) if (run.changes[p].key, _sequence(run.changes[p])) not in _lasts(run)]
    del run.changes[rnd.choice(inner)]


def _lasts(run: Evidence) -> set[tuple[bytes | None, int]]:
    last: dict[bytes | None, int] = {}
    for record in run.changes:
        last[record.key] = max(last.get(record.key, 0), _sequence(record))
    return set(last.items())


def _sequence(record: Record) -> int:
    return int(json.loads(record.value or b"")["sequence"])


def _lose_last_change(run: Evidence, rnd: random.Random) -> None:
    lasts = _lasts(run)
    key, sequence = rnd.choice(sorted(lasts, key=str))
    run.changes = [record for record in run.changes if (record.key, _sequence(record)) != (key, sequence)]


def _other_bytes(run: Evidence, rnd: random.Random) -> None:
    record = rnd.choice(run.changes)
    run.changes.append(_body(record, trace="another"))


def _wrong_key(run: Evidence, rnd: random.Random) -> None:
    place = rnd.randrange(len(run.changes))
    run.changes[place] = run.changes[place]._replace(key=b"c99")


def _swap(run: Evidence, rnd: random.Random) -> None:
    places = _firsts(run)
    pairs = [(a, b) for i, a in enumerate(places) for b in places[i + 1 :] if run.changes[a].key == run.changes[b].key]
    a, b = rnd.choice(pairs)
    run.changes[a], run.changes[b] = run.changes[b], run.changes[a]


def _other_partition(run: Evidence, rnd: random.Random) -> None:
    place = rnd.choice([p for p, record in enumerate(run.changes) if _sequence(record) > 1])
    run.changes[place] = run.changes[place]._replace(partition=7)


def _break_chain(run: Evidence, rnd: random.Random) -> None:
    place = rnd.choice([p for p in _firsts(run) if json.loads(run.changes[p].value or b"")["previous"] is not None])
    run.changes[place] = _body(run.changes[place], previous="elsewhere")


def _false_cause(run: Evidence, rnd: random.Random) -> None:
    place = rnd.choice(_firsts(run))
    cause = json.loads(run.changes[place].value or b"")["cause"]
    run.changes[place] = _body(run.changes[place], cause=cause | {"offset": cause["offset"] + 1000})


def _move_twice(run: Evidence, rnd: random.Random) -> None:
    """The effect of one event applied twice: the second change has an id of its own and is a fault all the same."""
    body = json.loads(rnd.choice(run.changes).value or b"")
    customer = body["customer_id"]
    state = run.states[customer]
    state["sequence"] += 1
    body |= {"sequence": state["sequence"], "change_id": f"{customer}:{state['sequence']}"}
    run.changes.append(
        Record("segment-changes", int(customer[1:]) % 3, 10**6, customer.encode(), json.dumps(body).encode())
    )


def _wrong_fold(run: Evidence, rnd: random.Random) -> None:
    place = max(p for p, record in enumerate(run.standings) if record.key == run.standings[-1].key)
    run.standings[place] = _body(run.standings[place], segments={"lifecycle": "nowhere"})


def _old_standing_wins(run: Evidence, rnd: random.Random) -> None:
    """What a zombie does: an older standing written last."""
    key = rnd.choice(run.standings).key
    run.standings.append(next(record for record in run.standings if record.key == key))


def _old_state_wins(run: Evidence, rnd: random.Random) -> None:
    state = _of(run, rnd)
    state["sequence"] -= 1


def _lose_letter(run: Evidence, rnd: random.Random) -> None:
    del run.letters[rnd.randrange(len(run.letters))]


def _cut_letter(run: Evidence, rnd: random.Random) -> None:
    place = rnd.randrange(len(run.letters))
    run.letters[place] = run.letters[place]._replace(value=b"")


def _cut_a_small_letter(run: Evidence, rnd: random.Random) -> None:
    place = rnd.randrange(len(run.letters))
    letter = run.letters[place]
    cut = b"key=%d value=%d headers=0" % (len(letter.key or b""), len(letter.value or b""))
    run.letters[place] = letter._replace(value=b"", headers=(*letter.headers, ("regulars-truncated", cut)))


def _refuse_an_event(run: Evidence, rnd: random.Random) -> None:
    good = next(record for record in run.inputs if b"event_id" in (record.value or b""))
    headers = (("regulars-topic", good.topic.encode()), ("regulars-reason", b"schema"))
    headers += (("regulars-partition", b"%d" % good.partition), ("regulars-offset", b"%d" % good.offset))
    run.letters.append(Record("dead-letters", 0, 10**6, good.key, good.value, headers))


def _once(run: Evidence, rnd: random.Random, among: Callable[[Any], bool] = lambda _: True) -> tuple[int, Any]:
    """The place and body of an action that is delivered once."""
    times = Counter(record.value for record in run.actions)
    bodies = [(p, json.loads(r.value or b"")) for p, r in enumerate(run.actions) if times[r.value] == 1]
    return rnd.choice([each for each in bodies if among(each[1])])


def _lose_action(run: Evidence, rnd: random.Random) -> None:
    del run.actions[_once(run, rnd)[0]]


def _decide_twice(run: Evidence, rnd: random.Random) -> None:
    """The same entry decided again under a number of its own."""
    place, body = _once(run, rnd)
    run.actions.append(_body(run.actions[place], action_id=f"{body['customer_id']}:{RULES.name}:99"))


def _decide_for_another_reason(run: Evidence, rnd: random.Random) -> None:
    place, _ = _once(run, rnd)
    run.actions[place] = _body(run.actions[place], decided_at=(START - timedelta(days=1)).isoformat())


def _other_action_bytes(run: Evidence, rnd: random.Random) -> None:
    place, body = _once(run, rnd)
    run.actions.append(_body(run.actions[place], cost=body["cost"] + 1))


def _contact_anew(run: Evidence, rnd: random.Random) -> None:
    """Whoever was decided about twice within the days is contacted both times."""
    by_customer: dict[str, list[int]] = {}
    for place, record in enumerate(run.actions):
        by_customer.setdefault(json.loads(record.value or b"")["customer_id"], []).append(place)
    places = next(places for places in by_customer.values() if len({run.actions[p].value for p in places}) > 1)
    for place in places:
        run.actions[place] = _body(run.actions[place], arm="small", propensities={"none": 0.5, "small": 0.5})


def _overspend(run: Evidence, rnd: random.Random) -> None:
    place, _ = _once(run, rnd)
    run.actions[place] = _body(run.actions[place], cost=RULES.budget_minor / 100 + 1)


def _draw_what_cannot_be(run: Evidence, rnd: random.Random) -> None:
    place, _ = _once(run, rnd)
    run.actions[place] = _body(run.actions[place], arm="large")


def _contact_the_holdout(run: Evidence, rnd: random.Random) -> None:
    place, _ = _once(run, rnd)
    run.actions[place] = _body(run.actions[place], holdout=True, arm="small", propensities={"small": 1.0})


Damage = Callable[[Evidence, random.Random], None]
DAMAGES: dict[Damage, str] = {
    _drop_effect: "lost",
    _double_effect: "doubled",
    _miss_money: "lost",
    _count_a_retry: "doubled",
    _lose_customer: "lost",
    _invent_customer: "stranger",
    _shift_first_purchase: "lost",
    _hole: "hole",
    _lose_last_change: "fold",
    _other_bytes: "bytes",
    _wrong_key: "bytes",
    _swap: "order",
    _other_partition: "order",
    _break_chain: "chain",
    _false_cause: "cause",
    _move_twice: "cause",
    _wrong_fold: "fold",
    _old_standing_wins: "fold",
    _old_state_wins: "fold",
    _lose_letter: "letter",
    _cut_letter: "letter",
    _cut_a_small_letter: "letter",
    _refuse_an_event: "letter",
    _lose_action: "undecided",
    _decide_twice: "decided",
    _decide_for_another_reason: "decided",
    _other_action_bytes: "bytes",
    _contact_anew: "cap",
    _overspend: "budget",
    _draw_what_cannot_be: "propensity",
    _contact_the_holdout: "propensity",
}


def table(seeds: int = 3) -> tuple[list[str], bool]:
    """One line a damage: under which class it must be caught, and in how many runs it was; whether in all."""
    lines, caught_all = [f"{'oracle: a good run damaged so':<40} {'class':<10} caught"], True
    for damage, kind in DAMAGES.items():
        caught = 0
        for seed in range(seeds):
            run = good_run(seed)
            damage(run, random.Random(seed))
            caught += kind in judge(run).counts
        caught_all = caught_all and caught == seeds
        lines.append(f"{damage.__name__.strip('_').replace('_', ' '):<40} {kind:<10} {caught} of {seeds}")
    return lines, caught_all

"""The reference step and the present one, over the same random histories.

`PYTHONPATH=.:tests/support python tests/support/equality.py --seeds 100` takes as many as there is time for.
"""

import argparse
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

import tests.reference.state as former_state
import tests.reference.states as former_states
import tests.reference.step as former
from histories import START_S, click, purchase, review
from models.dispatch import LEAST, advance_stored
from models.learning.scorer import SnapshotScorer
from models.policy import Policy, Rules, load, parse, read
from models.scores import PriorScorer, Scorer
from models.state import Erasure
from models.step import Customer, Heard, Outcome, Terms
from policies import ZONES, featured, zoned
from schemas.positions import Incarnation
from schemas.states import NEVER
from schemas.stored import decode_state, due_of, encode_state
from schemas.times import DAY_S
from training import direct

KINDS = ("view", "view", "view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout")


class Shop:
    """Customers who do things in random order, late and repeated, and are sometimes erased.

    Args:
        seed: of chance.
        customers: how many.
    """

    def __init__(self, seed: int, customers: int) -> None:
        self.rnd = random.Random(seed)
        self.customers = [f"c{i}" for i in range(customers)]
        self.pace_days = {name: self.rnd.choice((0.01, 0.3, 4.0, 25.0, 300.0)) for name in self.customers}
        self.at = dict.fromkeys(self.customers, START_S)
        self.heard: dict[str, list[Heard]] = {name: [] for name in self.customers}
        self.large = 10**13 if self.rnd.random() < 0.1 else 25_000  # the largest amount that is accepted
        # A position holds the incarnation of its topic: some shops' topics were made anew before.
        self.offset = Incarnation("", self.rnd.choice((0, 0, 3))).base

    def events(self, name: str, most: int) -> list[Heard]:
        """What is heard of a customer next."""
        rnd, events = self.rnd, []
        for _ in range(rnd.randint(0, most)):
            self.at[name] += round(rnd.expovariate(1.0 / self.pace_days[name]) * DAY_S, rnd.choice((0, 3)))
            known = self.heard[name]
            if known and rnd.random() < 0.04:  # a retry, or a record that comes again
                again = rnd.choice(known)
                events.append(again if rnd.random() < 0.3 else again._replace(offset=self._next()))
                continue
            at = self.at[name]
            if rnd.random() < 0.1:
                at -= round(rnd.random() * 60 * DAY_S)
            if rnd.random() < 0.01:
                at = known[-1].at if known else at  # the very second
            event = self._event(at)
            known.append(event)
            events.append(event)
        return events

    def erasure(self, name: str) -> Erasure | None:
        """Rarely, one."""
        return _erasure(self._next(), self.at[name]) if self.rnd.random() < 0.004 else None

    def _next(self) -> int:
        self.offset += 1
        return self.offset

    def _event(self, at: float) -> Heard:
        rnd, offset, which = self.rnd, self._next(), self.rnd.random()
        if which < 0.6:
            event = click(offset, at, rnd.choice(KINDS), session=f"s{rnd.randrange(3)}")
            if rnd.random() < 0.1:
                event = event._replace(reading=review(offset, at, None, rnd.uniform(-1, 1)).reading)
            return event
        if which < 0.9:
            kind = "refund" if rnd.random() < 0.15 else "purchase"
            return purchase(offset, at, rnd.choice((1, 999, rnd.randrange(1, 200_000), self.large)), kind)
        text = review(offset, at, rnd.choice((None, 1, 3, 5)), rnd.uniform(-1, 1))
        return text if rnd.random() < 0.8 else text._replace(reading=None)


def plain(value: object) -> Any:
    """A state, move or label as builtins, to compare."""
    if isinstance(value, tuple):
        return [plain(each) for each in value]
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


def described(outcome: object) -> object:
    """All of an outcome but its state."""
    names = ("due", "labels", "repeated", "replayed", "void", "erased")
    moves = [plain(move)[: len(former.Move._fields)] for move in getattr(outcome, "moves", ())]
    return [moves, *(plain(getattr(outcome, name)) for name in names)]


def is_equal(a: object, b: object, tolerance: float) -> bool:
    """Whether two plain values are equal; numbers that aren't whole within `tolerance`, relative or absolute."""
    if not tolerance:
        return a == b
    if isinstance(a, float) and isinstance(b, float):
        return a == b or abs(a - b) <= tolerance * max(1.0, abs(a), abs(b))
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(is_equal(x, y, tolerance) for x, y in zip(a, b, strict=True))
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(is_equal(each, b[name], tolerance) for name, each in a.items())
    return a == b


def _erasure(position: int, at: float) -> Erasure:
    """A request in `purchases`, as the step of before knows it."""
    return Erasure(at, (-1, position, -1), in_purchases=True)


def _former(name: str, value: bytes | None, heard: list[Heard], erasure: Erasure | None) -> former.Customer:
    return former.Customer(
        name,
        None if value is None else former_states.decode_state(value),
        NEVER if value is None else former_states.due_of(value),
        [former.Heard(*h[:6], None if h.reading is None else former_state.Reading(*h.reading)) for h in heard],
        None if erasure is None else former_state.Erasure(erasure.before[1], erasure.at),
    )


def _present(name: str, value: bytes | None, heard: list[Heard], erasure: Erasure | None) -> Customer:
    return Customer(name, None, NEVER if value is None else due_of(value), heard, erasure, value)


def _assert_same(a: former.Outcome, b: Outcome, tolerance: float, where: tuple[int, int, str]) -> None:
    """The outcome of the reference and that of the present step, whose state is stored as it is said to be."""
    assert is_equal(described(b), described(a), tolerance), where
    if a.state is None:
        assert b.state is None, where
        return
    assert b.state is not None
    assert b.value is not None
    assert b.state.campaigns is None  # of which the reference knows nothing
    assert is_equal(plain(b.state)[:-1], plain(a.state), tolerance), where
    assert due_of(b.value) == b.due
    assert b.value == encode_state(b.state, b.due), (*where, "layout")
    assert decode_state(b.value) == b.state


def agree(
    seed: int,
    policies: list[Rules],
    scorer: Scorer,
    customers: int,
    chunks: int,
    most: int,
    least: int,
    tolerance: float = 0.0,
) -> Iterator[int]:
    """Takes chunk after chunk both ways and asserts that they agree; yields the events of each.

    States are kept as the reference stores them and as the present step does, in turns of either layout.

    Args:
        seed: of chance.
        policies: which may serve, the first at first.
        scorer: of both.
        customers: how many there are.
        chunks: how many are taken.
        most: events of a customer in a chunk.
        least: customers from which on a round is taken over arrays.
        tolerance: 0 where the scorer gives a row the same bits whatever rows stand beside it. A matrix product doesn't:
            a learned scorer's numbers are compared with a tolerance.
    """
    shop = Shop(seed, customers)
    rnd = shop.rnd
    old: dict[str, bytes] = {}
    new: dict[str, bytes] = {}
    rules, ruled_at = policies[0], -NEVER
    now = START_S
    pseudonym: Callable[[str], str] = str
    for k in range(chunks):
        if k and len(policies) > 1 and rnd.random() < 0.1:
            rules, ruled_at = rnd.choice(policies), now
        who = [name for name in shop.customers if rnd.random() < 0.7]
        heard = {name: shop.events(name, most) for name in who}
        now = max((shop.at[name] for name in who), default=now)
        horizon = rnd.choice((-NEVER, now - 5 * DAY_S, now, now + rnd.random() * 100 * DAY_S, now + 3000 * DAY_S))
        purchases_known = rnd.choice((NEVER, now - 20 * DAY_S))
        erasures = {name: shop.erasure(name) for name in who}
        times = (horizon, purchases_known, ruled_at)
        before = former.Terms(rules, scorer, *times, pseudonym)
        expected = former.advance([_former(name, old.get(name), heard[name], erasures[name]) for name in who], before)
        given = [_present(name, new.get(name), heard[name], erasures[name]) for name in who]
        (found,) = advance_stored([(given, Terms(rules, scorer, *times, pseudonym))], least)
        for name, a, b in zip(who, expected, found, strict=True):
            _assert_same(a, b, tolerance, (seed, k, name))
            if a.state is not None and b.value is not None:
                old[name] = former_states.encode_state(a.state, a.due)
                new[name] = old[name] if rnd.random() < 0.02 else b.value
        yield sum(map(len, heard.values()))


OTHER = parse(
    read()
    .replace('version: "1"', 'version: "2"')
    .replace("at_risk, from: 30", "at_risk, from: 20")
    .replace("{name: mid, from: 50.00}", "{name: middle, from: 30.00}")
)

#: Policies that serve one after another.
POLICIES: dict[str, list[Policy]] = {
    "default": [load()],
    "featured": [featured()],
    "one after another": [load(), OTHER, featured()],
    **{zone: [zoned(zone)] for zone in ZONES},
}

#: Relative difference of what a matrix product gives for a row, by the rows that stand beside it.
ROUNDING = 1e-12


def learned_scorer() -> Scorer:
    """A scorer that has learnt from labels."""
    return SnapshotScorer(direct(range(3000), 0), PriorScorer())


def main() -> None:
    """Takes every policy and both scorers for each seed; prints events as it goes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first", type=int, default=0)
    args = parser.parse_args()
    scorers = [(PriorScorer(), 0.0), (learned_scorer(), ROUNDING)]
    rules = {name: [Rules(policy) for policy in policies] for name, policies in POLICIES.items()}
    events, began = 0, time.monotonic()
    for seed in range(args.first, args.first + args.seeds):
        for name, served in rules.items():
            for scorer, tolerance in scorers:
                least, most = random.Random(f"{seed}{name}").choice(((1, 3), (8, 3), (LEAST, 12)))
                events += sum(agree(seed, served, scorer, 60, 8, most, least, tolerance))
        print(f"seeds to {seed}: {events} events agree, {time.monotonic() - began:.0f} s", flush=True)


if __name__ == "__main__":
    main()

"""The reference step and the present one, over the same random histories."""

import random
from collections.abc import Callable, Iterator

import msgspec

import tests.reference.state as former_state
import tests.reference.states as former_states
import tests.reference.step as former
from histories import START_S, click, purchase, review
from models.dispatch import advance_stored
from models.policy import Rules
from models.scores import Scorer
from models.state import Erasure
from models.step import Customer, Heard, Terms
from schemas.states import NEVER, decode_state, due_of, encode_state
from schemas.times import DAY_S

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
        self.offset = 0

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
        return Erasure(self._next(), self.at[name]) if self.rnd.random() < 0.004 else None

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
            return purchase(offset, at, rnd.choice((1, 999, rnd.randrange(1, 200_000))), kind)
        text = review(offset, at, rnd.choice((None, 1, 3, 5)), rnd.uniform(-1, 1))
        return text if rnd.random() < 0.8 else text._replace(reading=None)


def _former(heard: Heard) -> former.Heard:
    reading = None if heard.reading is None else former_state.Reading(*heard.reading)
    return former.Heard(*heard[:6], reading)


def plain(state: object) -> object:
    """A state as builtins, to compare."""
    return msgspec.to_builtins(state)


def described(outcome: object) -> tuple[object, ...]:
    """All of an outcome but its state."""
    names = ("due", "moves", "labels", "repeated", "replayed", "void", "erased")
    return tuple(_tuples(getattr(outcome, name)) for name in names)


def _tuples(value: object) -> object:
    if isinstance(value, tuple):
        return tuple(_tuples(each) for each in value)
    return msgspec.to_builtins(value) if isinstance(value, msgspec.Struct) else value


def agree(
    seed: int, policies: list[Rules], scorer: Scorer, customers: int, chunks: int, most: int, least: int
) -> Iterator[int]:
    """Takes chunk after chunk both ways and asserts that they agree; yields the events of each.

    States are kept as the reference stores them and as the present step does, in turns of either layout.
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
        expected = former.advance(
            [
                former.Customer(
                    name,
                    former_states.decode_state(old[name]) if name in old else None,
                    former_states.due_of(old[name]) if name in old else NEVER,
                    [
                        former.Heard(*h[:6], None if h.reading is None else former_state.Reading(*h.reading))
                        for h in heard[name]
                    ],
                    None if erasures[name] is None else former_state.Erasure(*erasures[name]),
                )
                for name in who
            ],
            before,
        )
        given = [
            Customer(
                name, None, due_of(new[name]) if name in new else NEVER, heard[name], erasures[name], new.get(name)
            )
            for name in who
        ]
        (found,) = advance_stored([(given, Terms(rules, scorer, *times, pseudonym))], least)
        for name, a, b in zip(who, expected, found, strict=True):
            assert described(b) == described(a), (seed, k, name)
            if a.state is None:
                assert b.state is None, (seed, k, name)
                continue
            assert b.state is not None
            assert b.value is not None
            assert plain(b.state) == plain(a.state), (seed, k, name)
            assert due_of(b.value) == b.due
            assert b.value == encode_state(b.state, b.due), (seed, k, name, "layout")
            assert decode_state(b.value) == b.state
            old[name] = former_states.encode_state(a.state, a.due)
            new[name] = old[name] if rnd.random() < 0.02 else b.value
        yield sum(map(len, heard.values()))

"""A synthetic shop: what its customers do, as events in event-time order. The seed alone decides them.

One queue (a heap by time) holds the visits, purchases and texts to come, so memory grows with the customers, not with the
days. Nothing here uses a broker or a clock: `SimulatedShop.history` is a pure function of its plan. All data is marked as
made up: ids begin with `synthetic-`, device and channel are `synthetic`.
"""

import heapq
import itertools
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from schemas.events import Click, Event, Item, Purchase, Review
from schemas.headers import SYNTHETIC_HEADER
from schemas.times import DAY_S
from streams.sources.catalogue import CATEGORIES, Catalogue, Product
from streams.sources.customers import Behaviour, SimulatedCustomer, draw_customer, logistic
from streams.sources.events import ClockRecord, EventRecord, RecordStream, event_record, with_clocks
from streams.sources.shop_texts import review_text, support_text

CURRENCY = "GBP"
LABEL = "synthetic"
HEADER = (SYNTHETIC_HEADER, b"1")

# A session begins 3 to 30 minutes before its purchase.
LEAD_S = (180.0, 1800.0)
# Customers write 2 to 10 days after a purchase and send things back within about a week.
WRITES_AFTER_S = (2 * DAY_S, 10 * DAY_S)
REFUND_MEAN_S = 5 * DAY_S
COUPONS = ("synthetic-WELCOME10", "synthetic-SPRING15", "synthetic-FREESHIP")
# How often a live shop sends clock records, so that event time moves in silent topics too.
LIVE_CLOCK_S = 10.0

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class ShopPlan:
    """Everything that decides the shop's events.

    Attributes:
        seed: equal plans give equal bytes.
        customers: how many arrive in `days`, evenly; in a live shop they continue to arrive at that rate.
        days: length of the history.
        end_s: when the history ends, epoch seconds.
    """

    seed: int
    customers: int
    days: float
    end_s: float
    behaviour: Behaviour = field(default_factory=Behaviour)

    def __post_init__(self) -> None:
        if self.customers < 1 or not self.days > 0:
            raise ValueError("a shop needs at least one customer and more than 0 days")


class SimulatedShop:
    """The events of a shop: `history` first and then, if wanted, `live`. Each event comes once."""

    def __init__(self, plan: ShopPlan) -> None:
        self.plan = plan
        self.customers: list[SimulatedCustomer] = []
        self._rng = random.Random(plan.seed)
        self._catalogue = Catalogue(self._rng)
        self._behaviour = plan.behaviour
        # (time in ms, order of scheduling, what to call, or None for an event, and the arguments or fields); the
        # order makes ties, and with them the bytes, certain.
        self._queue: list[tuple[int, int, Callable[..., Any] | None, tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._left: set[str] = set()
        self._visits = 0
        self._emitted = 0
        # Two runs of one seed that end at other times are other histories: their event ids differ too.
        self._run = f"synthetic-{plan.seed}-{round(plan.end_s):x}"
        start_s = plan.end_s - plan.days * DAY_S
        for arrived_s in sorted(self._rng.uniform(start_s, plan.end_s) for _ in range(plan.customers)):
            self._at(arrived_s, self._arrive, arrived_s)
        self._arrivals_after(plan.end_s)

    def history(self) -> Iterator[EventRecord]:
        """The events up to the plan's end."""
        return self._events(math.floor(self.plan.end_s * 1000), None)

    def live(self, now_s: Callable[[], float]) -> Iterator[EventRecord]:
        """The events after the history, without end. Each has the time `now_s()` of the moment at which it is pulled.

        The shop's own time runs as fast as events are pulled, so its customers do more per minute than real ones.
        """
        return self._events(None, now_s)

    def history_timeline(self, limit: int | None = None) -> RecordStream:
        """The history, or its first `limit` events, with clock records; the last at the plan's end or at the limit."""
        yield from with_clocks(itertools.islice(self.history(), limit), 0.0)
        if limit is None or self._emitted < limit:
            yield ClockRecord(self.plan.end_s)

    def live_timeline(self, now_s: Callable[[], float], limit: int | None = None) -> RecordStream:
        """`live`, or its first `limit` events, with clock records every `LIVE_CLOCK_S`."""
        return with_clocks(itertools.islice(self.live(now_s), limit), 0.0, every_s=LIVE_CLOCK_S)

    def _events(self, until_ms: int | None, now_s: Callable[[], float] | None) -> Iterator[EventRecord]:
        queue, emit = self._queue, self._emit
        last_ms = 0
        while queue and (until_ms is None or queue[0][0] <= until_ms):
            at_ms, _, call, arguments = heapq.heappop(queue)
            if call is not None:
                call(*arguments)
                continue
            if now_s is not None:
                # A wall clock may step back; event time in a partition must not.
                last_ms = at_ms = max(last_ms, math.floor(now_s() * 1000))
            yield emit(at_ms, *arguments)

    def _emit(self, at_ms: int, kind: type[Event], customer_id: str, *rest: Any) -> EventRecord:
        self._emitted += 1
        event_id = f"{self._run}-{self._emitted}"
        return event_record(at_ms / 1000, kind(event_id, customer_id, _EPOCH + timedelta(milliseconds=at_ms), *rest))

    def _at(self, at_s: float, call: Callable[..., Any], *arguments: Any) -> None:
        heapq.heappush(self._queue, (math.floor(at_s * 1000), next(self._order), call, arguments))

    def _happens(self, at_s: float, kind: type[Event], *fields: Any) -> None:
        """Schedules an event; `fields` begin with the customer id, and the event time is put between."""
        heapq.heappush(self._queue, (math.floor(at_s * 1000), next(self._order), None, (kind, *fields)))

    # --- customers

    def _arrivals_after(self, after_s: float) -> None:
        arrived_s = after_s + self._rng.expovariate(self.plan.customers / (self.plan.days * DAY_S))
        self._at(arrived_s, self._arrive_and_go_on, arrived_s)

    def _arrive_and_go_on(self, arrived_s: float) -> None:
        self._arrive(arrived_s)
        self._arrivals_after(arrived_s)

    def _arrive(self, arrived_s: float) -> None:
        customer = draw_customer(self._rng, self._behaviour, len(self.customers) + 1, arrived_s)
        self.customers.append(customer)
        if customer.rate > 0.0:
            self._plan_purchase(customer, arrived_s, arrived_s + self._rng.uniform(*LEAD_S), first=True)
            self._plan_browsing(customer, arrived_s)
        else:
            self._prospect(customer, arrived_s)

    def _prospect(self, customer: SimulatedCustomer, at_s: float) -> None:
        """Schedules a customer who looks around a few times, some days apart, and never buys."""
        self._browse(customer, at_s)
        if self._rng.random() < 0.7:
            later_s = at_s + self._rng.expovariate(1 / (10 * DAY_S))
            self._at(later_s, self._prospect, customer, later_s)

    # --- visits

    def _plan_browsing(self, customer: SimulatedCustomer, after_s: float) -> None:
        rate = customer.rate * self._behaviour.browse_per_purchase
        if customer.customer_id in self._left:
            rate *= self._behaviour.browse_after_leaving
        at_s = after_s + self._rng.expovariate(rate)
        self._at(at_s, self._browse_and_go_on, customer, at_s)

    def _browse_and_go_on(self, customer: SimulatedCustomer, at_s: float) -> None:
        self._browse(customer, at_s)
        self._plan_browsing(customer, at_s)

    def _browse(self, customer: SimulatedCustomer, at_s: float) -> None:
        """A visit without a purchase: views, sometimes a search, a cart that is left, a wish."""
        rng = self._rng
        visit = self._visit()
        seen = [self._look(customer) for _ in range(1 + min(12, int(rng.expovariate(0.3))))]
        if rng.random() < 0.35:
            at_s = self._search(customer, visit, seen[0], at_s)
        for product in seen:
            at_s = self._click(customer, visit, "view", product, product.list_price_minor, at_s)
        product = rng.choice(seen)
        price_minor = product.list_price_minor
        if rng.random() < self._behaviour.cart_share:
            at_s = self._click(customer, visit, "add_to_cart", product, price_minor, at_s)
            turn = rng.random()
            if turn < 0.15:
                at_s = self._click(customer, visit, "remove_from_cart", product, price_minor, at_s)
            elif turn < 0.5:
                at_s = self._checkout(customer, visit, at_s)
        elif rng.random() < 0.08:
            self._click(customer, visit, "wishlist", product, price_minor, at_s)

    def _plan_purchase(self, customer: SimulatedCustomer, after_s: float, at_s: float, *, first: bool) -> None:
        starts_s = max(after_s, at_s - self._rng.uniform(*LEAD_S))
        self._at(starts_s, self._buy, customer, starts_s, at_s, first)

    def _buy(self, customer: SimulatedCustomer, starts_s: float, at_s: float, first: bool) -> None:
        """The visit that ends in a purchase at `at_s`, what follows, and the next one, unless the customer leaves."""
        rng = self._rng
        lines, products = self._basket(customer)
        visit = self._visit()
        steps = [("view", line, product) for line, product in zip(lines, products, strict=True)]
        steps += [("add_to_cart", line, product) for line, product in zip(lines, products, strict=True)]
        pause_s = (at_s - starts_s) / (len(steps) + 3)
        moment_s = starts_s
        if rng.random() < 0.5:
            self._search(customer, visit, products[0], moment_s)
        for kind, line, product in steps:
            moment_s += pause_s
            self._click(customer, visit, kind, product, line.unit_price_minor, moment_s)
        self._checkout(customer, visit, moment_s + pause_s)
        order_id = f"{self._run}-{visit}"
        amount_minor = sum(line.unit_price_minor for line in lines)
        coupon = rng.choice(COUPONS) if rng.random() < customer.coupons else None
        rest = ("purchase", order_id, amount_minor, CURRENCY, lines, coupon, LABEL)
        self._happens(at_s, Purchase, customer.customer_id, *rest)
        self._follow_up(customer, at_s, order_id, lines, products)
        if not first and rng.random() < customer.leaves:
            self._left.add(customer.customer_id)
        else:
            self._plan_purchase(customer, at_s, at_s + rng.expovariate(customer.rate), first=False)

    def _follow_up(
        self, customer: SimulatedCustomer, at_s: float, order_id: str, lines: tuple[Item, ...], products: list[Product]
    ) -> None:
        """Refund, review and mail to the shop: the less satisfied, the more of the first and the last."""
        rng, s = self._rng, customer.satisfaction
        if rng.random() < logistic(-2.8 - 0.7 * s):
            back = lines if rng.random() < 0.5 else lines[:1]
            amount_minor = sum(line.unit_price_minor for line in back)
            rest = ("refund", order_id, amount_minor, CURRENCY, back, None, LABEL)
            refunded_s = at_s + DAY_S + rng.expovariate(1 / REFUND_MEAN_S)
            self._happens(refunded_s, Purchase, customer.customer_id, *rest)
        product = rng.choice(products)
        if rng.random() < self._behaviour.review_share:
            rating = min(5, max(1, round(3.8 + 1.1 * s + rng.gauss(0.0, 0.7))))
            text = review_text(rng, rating, product.noun)
            rest_ = ("review", text, rating, product.product_id, "en")
            self._happens(at_s + rng.uniform(*WRITES_AFTER_S), Review, customer.customer_id, *rest_)
        if rng.random() < logistic(-2.6 - 0.9 * s):
            text = support_text(rng, rng.random() < logistic(0.3 - 1.2 * s), product.noun)
            rest__ = ("support", text, None, product.product_id, "en")
            self._happens(at_s + rng.uniform(*WRITES_AFTER_S), Review, customer.customer_id, *rest__)

    def _basket(self, customer: SimulatedCustomer) -> tuple[tuple[Item, ...], list[Product]]:
        """Lines whose prices add up to a Gamma-Gamma amount, and products whose list prices come near them."""
        rng = self._rng
        amount = rng.gammavariate(self._behaviour.shape, 1.0 / customer.nu)
        count = 1 + min(7, int(rng.expovariate(0.7)))
        amount_minor = max(count, round(100 * amount))
        shares = [0.3 + rng.random() for _ in range(count)]
        total = sum(shares)
        prices = [max(1, int(amount_minor * share / total)) for share in shares]
        prices[0] += amount_minor - sum(prices)
        products = [self._catalogue.near(price, rng.randrange(-3, 4)) for price in prices]
        lines = tuple(
            Item(product.product_id, 1, price, product.category, product.name)
            for product, price in zip(products, prices, strict=True)
        )
        return lines, products

    # --- single clicks

    def _visit(self) -> str:
        self._visits += 1
        return f"synthetic-s{self._visits}"

    def _look(self, customer: SimulatedCustomer) -> Product:
        rng = self._rng
        category = customer.favourite if rng.random() < 0.6 else rng.choice(CATEGORIES)
        return rng.choice(self._catalogue.by_category[category])

    def _click(
        self, customer: SimulatedCustomer, visit: str, kind: str, product: Product, price_minor: int, at_s: float
    ) -> float:
        """One click on a product; gives the moment of the next one, some 40 s later."""
        rest = (kind, visit, product.product_id, product.category, None, price_minor, CURRENCY, LABEL)
        self._happens(at_s, Click, customer.customer_id, *rest)
        return at_s + 1.0 + self._rng.expovariate(1 / 40.0)

    def _search(self, customer: SimulatedCustomer, visit: str, product: Product, at_s: float) -> float:
        rest = ("search", visit, None, product.category, product.name, None, None, LABEL)
        self._happens(at_s, Click, customer.customer_id, *rest)
        return at_s + 1.0 + self._rng.expovariate(1 / 20.0)

    def _checkout(self, customer: SimulatedCustomer, visit: str, at_s: float) -> float:
        rest = ("checkout", visit, None, None, None, None, None, LABEL)
        self._happens(at_s, Click, customer.customer_id, *rest)
        return at_s + 1.0


def shop_events(
    seed: int, customers: int, days: float, end_s: float, behaviour: Behaviour | None = None
) -> Iterator[EventRecord]:
    """The history of a synthetic shop that ends at `end_s`, in event-time order; equal arguments give equal bytes."""
    return SimulatedShop(ShopPlan(seed, customers, days, end_s, behaviour or Behaviour())).history()


def customers_for(events: int, seed: int, days: float, behaviour: Behaviour | None = None) -> int:
    """How many customers make about 10 % more than `events` events in `days`, estimated from 200 customers."""
    pilot = sum(1 for _ in shop_events(seed, 200, days, days * DAY_S, behaviour))
    return max(1, math.ceil(1.1 * events * 200 / max(1, pilot)))

"""The synthetic shop: certain by its seed, valid, in order, and true to its theory."""

import itertools
import math
from collections import Counter

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.events import CLICKSTREAM, PURCHASES, REVIEWS, Event, decode
from schemas.times import DAY_S
from streams.sources.customers import Behaviour, expected_repeats, mean_amount
from streams.sources.events import ClockRecord, EventRecord
from streams.sources.shop import ShopPlan, SimulatedShop, customers_for, shop_events
from streams.sources.simulating import Simulation

END_S = 1_750_000_000.0
small_shops = st.builds(
    lambda seed, customers, days: ShopPlan(seed, customers, days, END_S),
    st.integers(0, 10_000),
    st.integers(1, 12),
    st.floats(0.5, 40.0),
)


def decoded(items: list[EventRecord]) -> list[Event]:
    """The events in `items`, judged as a worker judges them."""
    return [decode(item.topic, item.key, item.value, math.inf) for item in items]


@pytest.fixture(scope="module")
def shop() -> tuple[SimulatedShop, list[Event]]:
    """A shop of 4,000 customers after half a year, and its purchases and texts."""
    made = SimulatedShop(ShopPlan(7, 4_000, 180.0, END_S))
    return made, decoded([item for item in made.history() if item.topic != CLICKSTREAM])


@settings(deadline=None, max_examples=25)
@given(small_shops)
def test_same_plan_makes_same_bytes(plan: ShopPlan) -> None:
    """Two shops of one plan make byte for byte the same history."""
    assert list(SimulatedShop(plan).history()) == list(SimulatedShop(plan).history())


def test_other_seed_makes_other_events() -> None:
    """Seeds differ in what happens, not only in event ids."""
    first, second = (decoded(list(shop_events(seed, 10, 20.0, END_S))) for seed in (1, 2))
    assert [event.event_time for event in first] != [event.event_time for event in second]


@settings(deadline=None, max_examples=25)
@given(small_shops)
def test_history_is_valid_ordered_and_never_after_its_end(plan: ShopPlan) -> None:
    """Every event decodes, carries its own time, follows the one before and lies inside the history."""
    items = list(SimulatedShop(plan).history())
    times = [item.at_s for item in items]
    assert times == sorted(times)
    assert all(END_S - plan.days * DAY_S - 1 <= at_s <= END_S for at_s in times)
    assert [event.event_time.timestamp() for event in decoded(items)] == times


@settings(deadline=None, max_examples=25)
@given(small_shops)
def test_event_ids_never_repeat(plan: ShopPlan) -> None:
    """A repeated id would be dropped as a retry."""
    ids = [event.event_id for event in decoded(list(SimulatedShop(plan).history()))]
    assert len(ids) == len(set(ids))


def test_histories_that_end_elsewhen_share_no_event_id() -> None:
    """The same seed an hour later is another history, not a retry of the first."""
    first, second = (decoded(list(shop_events(1, 10, 20.0, end_s))) for end_s in (END_S, END_S + 3600))
    assert not {event.event_id for event in first} & {event.event_id for event in second}


def test_everything_is_labelled_synthetic(shop: tuple[SimulatedShop, list[Event]]) -> None:
    """Customers, devices and channels say what they are."""
    events = decoded(list(shop_events(3, 20, 60.0, END_S)))
    assert all(event.customer_id.startswith("synthetic-") for event in events)
    assert {getattr(event, "device", "synthetic") for event in events} == {"synthetic"}
    assert {getattr(event, "channel", "synthetic") for event in events if event.type == "purchase"} == {"synthetic"}


def test_items_of_a_purchase_add_up(shop: tuple[SimulatedShop, list[Event]]) -> None:
    """The amount is the sum of the lines, for purchases and refunds."""
    _, events = shop
    for event in events:
        if event.type in ("purchase", "refund"):
            assert sum(line.quantity * line.unit_price_minor for line in event.items) == event.amount_minor


def test_repeat_purchases_match_bg_nbd(shop: tuple[SimulatedShop, list[Event]]) -> None:
    """Total repeat purchases are within 5 % of Fader, Hardie and Lee's equation (7), given the customers' traits."""
    made, events = shop
    first: dict[str, float] = {}
    repeats = 0
    for event in events:
        if event.type == "purchase":
            repeats += event.customer_id in first
            first.setdefault(event.customer_id, event.event_time.timestamp())
    traits = {customer.customer_id: customer for customer in made.customers}
    expected = sum(expected_repeats(traits[name], END_S - at_s) for name, at_s in first.items())
    assert expected > 3_000
    assert repeats == pytest.approx(expected, rel=0.05)


def test_rates_average_r_over_alpha(shop: tuple[SimulatedShop, list[Event]]) -> None:
    """The mean purchase rate over buyers is r / alpha, whatever satisfaction does to single ones."""
    made, _ = shop
    behaviour = Behaviour()
    rates = [customer.rate * DAY_S for customer in made.customers if customer.rate > 0]
    assert sum(rates) / len(rates) == pytest.approx(behaviour.r / behaviour.alpha_days, rel=0.08)


def test_amounts_match_gamma_gamma(shop: tuple[SimulatedShop, list[Event]]) -> None:
    """The mean first amount over customers is within 6 % of shape * gamma / (q - 1)."""
    _, events = shop
    first: dict[str, int] = {}
    for event in events:
        if event.type == "purchase":
            first.setdefault(event.customer_id, event.amount_minor)
    assert sum(first.values()) / len(first) / 100 == pytest.approx(mean_amount(Behaviour()), rel=0.06)


def test_ratings_follow_satisfaction_and_foretell_leaving(shop: tuple[SimulatedShop, list[Event]]) -> None:
    """Customers who rate 1 or 2 buy again less often afterwards than those who rate 5."""
    _, events = shop
    rated: dict[str, tuple[int, float]] = {}
    again: Counter[str] = Counter()
    for event in events:
        if event.type == "review" and event.rating is not None:
            rated.setdefault(event.customer_id, (event.rating, event.event_time.timestamp()))
        elif event.type == "purchase" and event.customer_id in rated:
            again[event.customer_id] += 1

    def mean(ratings: set[int]) -> float:
        names = [name for name, (rating, at_s) in rated.items() if rating in ratings and at_s < END_S - 60 * DAY_S]
        assert len(names) >= 20
        return sum(again[name] for name in names) / len(names)

    assert mean({1, 2}) < 0.6 * mean({5})


def test_purchases_follow_a_checkout_of_their_visit() -> None:
    """Each purchase comes after a cart and a checkout of the same customer."""
    seen: dict[str, set[str]] = {}
    for event in decoded(list(shop_events(5, 30, 90.0, END_S))):
        steps = seen.setdefault(event.customer_id, set())
        if event.type == "purchase":
            assert {"view", "add_to_cart", "checkout"} <= steps
            steps.clear()
        steps.add(event.type)


def test_all_kinds_of_events_come_up() -> None:
    """Six clicks, purchases, refunds, reviews and mails to the shop; clicks are most of it."""
    events = decoded(list(shop_events(5, 300, 90.0, END_S)))
    kinds = Counter(event.type for event in events)
    clicks = {"view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout"}
    assert set(kinds) == clicks | {"purchase", "refund", "review", "support"}
    assert sum(kinds[kind] for kind in clicks) / len(events) > 0.85


def test_history_timeline_begins_and_ends_with_a_clock_record() -> None:
    """Silence up to the plan's end is part of the history."""
    timeline = list(SimulatedShop(ShopPlan(1, 50, 10.0, END_S)).history_timeline())
    assert isinstance(timeline[0], ClockRecord)
    assert timeline[-1] == ClockRecord(END_S)
    assert sum(isinstance(each, ClockRecord) for each in timeline) >= 10
    times = [each.at_s for each in timeline]
    assert times == sorted(times)


def test_limit_ends_the_timeline_at_its_last_event() -> None:
    """A history cut at so many events doesn't claim that time went on."""
    timeline = list(SimulatedShop(ShopPlan(1, 50, 30.0, END_S)).history_timeline(limit=40))
    events = [each for each in timeline if isinstance(each, EventRecord)]
    assert len(events) == 40
    assert timeline[-1] == ClockRecord(events[-1].at_s)


def test_live_goes_on_where_history_ended_and_bears_the_moment_of_pulling() -> None:
    """Live events have new ids, the given clock's time, and never step back with it."""
    made = SimulatedShop(ShopPlan(1, 50, 30.0, END_S))
    before = {event.event_id for event in decoded(list(made.history()))}
    ticks = itertools.chain([END_S + 1.0, END_S + 2.0, END_S], itertools.count(END_S + 3.0))
    live = list(itertools.islice(made.live(lambda: next(ticks)), 200))
    assert [item.at_s - END_S for item in live[:4]] == [1.0, 2.0, 2.0, 3.0]
    assert not before & {event.event_id for event in decoded(live)}
    assert {item.topic for item in itertools.islice(made.live(lambda: 500.0), 5_000)} == {
        CLICKSTREAM,
        PURCHASES,
        REVIEWS,
    }


def test_customers_for_makes_about_that_many_events() -> None:
    """The pilot's guess gives at least the events that were asked for, and not half as many again."""
    customers = customers_for(20_000, seed=1, days=60.0)
    made = sum(1 for _ in shop_events(1, customers, 60.0, END_S))
    assert 20_000 <= made < 30_000


def test_simulation_takes_the_customers_it_is_given() -> None:
    """Customers, when named, aren't derived from the number of events."""
    assert Simulation(customers=9, events=10**9).shop_plan(END_S).customers == 9
    assert Simulation().shop_plan(END_S).customers == 2_000


@pytest.mark.parametrize(("customers", "days"), [(0, 1.0), (1, 0.0)])
def test_empty_shop_is_refused(customers: int, days: float) -> None:
    """A shop without customers or days says so at once."""
    with pytest.raises(ValueError, match="at least one customer"):
        ShopPlan(1, customers, days, END_S)


def test_events_are_small_enough_for_any_broker() -> None:
    """The average record stays below 400 bytes."""
    items = list(shop_events(2, 50, 60.0, END_S))
    assert sum(len(item.value) for item in items) / len(items) < 400
    assert all(msgspec.json.decode(item.value) for item in items[:10])

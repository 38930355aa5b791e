"""Laws of the pure step: how a history is cut, repeated or left silent can't change what it means."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from following import LONG_AFTER, TERMS, Follower, followed
from histories import START_S, click, histories, purchase, review
from models.dispatch import advance_stored
from models.policy import Rules, load
from models.state import PURCHASE, Erasure
from models.step import Customer, Heard, Terms, advance, step
from policies import ZONES, featured, zoned
from schemas.changes import EventCause, SilenceCause
from schemas.learning import Label
from schemas.states import NEVER, CustomerState, Held
from schemas.stored import decode_state, encode_state
from schemas.times import DAY_S

under_any_policy = pytest.mark.parametrize(
    "terms",
    [TERMS._replace(rules=Rules(policy)) for policy in (load(), featured(), *map(zoned, ZONES[:2]))],
    ids=["default", "featured", *ZONES[:2]],
)


@under_any_policy
@given(events=histories(), data=st.data())
def test_any_split_of_a_history_gives_the_same(terms: Terms, events: list[Heard], data: st.DataObject) -> None:
    """Chunks are an accident of polling: states, moves and labels don't depend on them."""
    cuts = sorted(data.draw(st.lists(st.integers(0, len(events)), max_size=4)))
    parts = [events[a:b] for a, b in zip([0, *cuts], [*cuts, len(events)], strict=True)]
    whole, split = followed([events], terms=terms), followed(parts, terms=terms)
    assert split.moves == whole.moves
    assert split.labels == whole.labels
    assert split.state == whole.state
    assert split.due == whole.due


@under_any_policy
@given(events=histories(), data=st.data())
def test_silence_noticed_late_moves_at_the_same_moment(terms: Terms, events: list[Heard], data: st.DataObject) -> None:
    """Whether time passes in one go or in many small ticks, each move carries the moment it fell due."""
    ticks = sorted(data.draw(st.lists(st.floats(0, 2000, allow_nan=False), max_size=6)))
    ticking = followed([events], horizon=-NEVER, terms=terms)
    for days in ticks:
        ticking.take([], START_S + days * DAY_S)
    ticking.take([], LONG_AFTER)
    once = followed([events], terms=terms)
    assert ticking.moves == once.moves
    assert ticking.state == once.state


@given(histories(), st.integers(0, 11))
def test_replayed_records_change_nothing(events: list[Heard], again: int) -> None:
    """Records that a state holds already are skipped by their offsets, however many come again."""
    follower = followed([events], horizon=-NEVER)
    outcome = step(Customer("someone", follower.state, follower.due, events[again:]), TERMS)
    assert outcome.state is None
    assert outcome.moves == ()
    assert len(outcome.replayed) == len(events[again:])


@given(histories())
def test_a_producers_retry_changes_nothing(events: list[Heard]) -> None:
    """The same event ids under new offsets are recognised, as long as they are within the window."""
    follower = followed([events], horizon=-NEVER)
    retries = [heard._replace(offset=heard.offset + 1000) for heard in events]
    outcome = step(Customer("someone", follower.state, follower.due, retries), TERMS)
    assert outcome.state is None
    assert len(outcome.repeated) == len(events)


def later(events: list[Heard], than: list[Heard], offset: int = 100) -> list[Heard]:
    """`events`, moved behind the last of `than` in time and behind `offset` in every topic."""
    by = than[-1].at + 1 - START_S
    return [heard._replace(at=heard.at + by, offset=heard.offset + offset) for heard in events]


def requests(at: float) -> list[Erasure]:
    """What erases somebody as of `at`: a record of `purchases`; one of `erasures`, which may name what lies before it."""
    return [
        Erasure(at, (-1, 99, -1), in_purchases=True),
        Erasure(at),
        Erasure(at, (99, 99, 99)),
        Erasure(at - 60.0, (99, 99, 99), ahead=at),
    ]


@under_any_policy
@given(before=histories(), after=histories(), data=st.data())
def test_who_comes_back_is_somebody_never_heard_of_at_the_next_sequence(
    terms: Terms, before: list[Heard], after: list[Heard], data: st.DataObject
) -> None:
    """Whatever lies in one chunk with the erasure: what follows it is judged as if nothing had been before."""
    after, erasure = later(after, before), data.draw(st.sampled_from(requests(before[-1].at)))
    cut, head = data.draw(st.integers(0, len(before))), data.draw(st.integers(0, len(after)))
    silent = data.draw(st.booleans())
    follower, fresh = Follower(terms), followed([after], terms=terms)
    follower.take(before[:cut], before[-1].at if silent else -NEVER)
    told, taught = len(follower.moves), len(follower.labels)

    outcome = follower.take(before[cut:] + after[:head], erasure=erasure)
    follower.take(after[head:])
    follower.take([], LONG_AFTER)

    assert outcome.erased
    assert len(outcome.void) == len(before) - cut
    assert follower.moves[told:] == [move._replace(sequence=move.sequence + told) for move in fresh.moves]
    assert follower.labels[taught:] == fresh.labels
    assert follower.due == fresh.due
    assert follower.state is not None
    assert fresh.state is not None
    same = replace(follower.state, offsets=fresh.state.offsets, sequence=fresh.state.sequence, erased_at=None)
    assert same == fresh.state
    assert follower.state.sequence == told + fresh.state.sequence


@given(histories(), histories(), st.integers(0, 12), st.booleans(), st.sampled_from(range(4)))
def test_what_comes_again_after_an_erasure_brings_nobody_back(
    before: list[Heard], after: list[Heard], again: int, returned: bool, kind: int
) -> None:
    """A crash has any suffix replayed, the erasure included; producers send old events again under new offsets."""
    after, erasure = later(after, before), requests(before[-1].at)[kind]
    follower = Follower()
    follower.take(before)
    follower.take(after if returned else [], erasure=erasure)

    replayed = before[again:] + (after if returned else [])
    outcome = follower.take(replayed, erasure=erasure)
    assert (outcome.moves, outcome.labels) == ((), ())
    assert len(outcome.replayed) + len(outcome.void) == len(replayed)
    if returned or erasure.in_purchases:
        assert (outcome.state, outcome.erased) == (None, False)

    outcome = follower.take([heard._replace(offset=heard.offset + 1000) for heard in before])
    assert (outcome.state, outcome.moves, outcome.labels) == (None, (), ())
    assert len(outcome.void) == len(before)


@given(histories())
def test_a_remainder_holds_a_sequence_offsets_and_a_moment_alone(events: list[Heard]) -> None:
    """Of the customer themselves nothing is left, and no time brings anything up."""
    follower = followed([events], horizon=-NEVER)
    assert follower.state is not None
    offsets, sequence = follower.state.offsets, follower.state.sequence
    follower.take([], erasure=Erasure(LONG_AFTER, (-1, 99, -1), in_purchases=True))

    nobody = CustomerState(first_event_at=NEVER, last_event_at=-NEVER, as_of=-NEVER, landmark=-NEVER)
    kept = (offsets[0], 99, offsets[2])
    assert follower.state == replace(nobody, offsets=kept, sequence=sequence, erased_at=LONG_AFTER)
    assert follower.state.is_erased
    assert follower.due == NEVER
    assert decode_state(encode_state(follower.state, follower.due)) == follower.state
    assert follower.take([], NEVER).state is None


def test_a_state_written_before_erasures_were_kept_is_one_never_erased() -> None:
    """A shorter array, as earlier versions wrote it, reads as it did."""
    state = followed([[purchase(0, START_S)]]).state
    assert state is not None
    written = msgspec.msgpack.decode(msgspec.msgpack.encode(state))
    assert decode_state(b"\0" * 8 + msgspec.msgpack.encode(written[:-1])) == state


@given(histories(), st.randoms(use_true_random=False))
def test_counts_and_sums_do_not_depend_on_the_order_of_arrival(events: list[Heard], random: object) -> None:
    """A late event counts as if it had come in time: counts, sums, first and last times are the same."""
    shuffled = list(events)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    offsets = [0, 0, 0]
    renumbered = []
    for heard in shuffled:
        renumbered.append(heard._replace(offset=offsets[heard.topic]))
        offsets[heard.topic] += 1
    one = followed([[heard] for heard in renumbered], horizon=-NEVER).state
    other = followed([events], horizon=-NEVER).state
    assert one is not None
    assert other is not None
    for name in ("purchases", "refunds", "spend_minor", "refunded_minor", "clicks", "reviews"):
        assert getattr(one, name) == getattr(other, name), name
    for name in ("first_event_at", "last_event_at", "first_purchase_at", "last_purchase_at"):
        assert getattr(one, name) == getattr(other, name), name
    if other.spending is not None:
        assert one.spending is not None
        a = one.spending.spend_180d * 2 ** (one.landmark / (180 * DAY_S) - START_S / (180 * DAY_S))
        b = other.spending.spend_180d * 2 ** (other.landmark / (180 * DAY_S) - START_S / (180 * DAY_S))
        assert a == pytest.approx(b, rel=1e-9)


@under_any_policy
@given(events=histories())
def test_the_promise_is_kept_to_the_second(terms: Terms, events: list[Heard]) -> None:
    """If nothing more is heard, the promised move happens at the promised moment, and nothing before it."""
    follower = followed([events], horizon=-NEVER, terms=terms)
    for _ in range(20):
        assert follower.state is not None
        promise = follower.state.promise
        known = len(follower.moves)
        if promise is None:
            follower.take([], LONG_AFTER)
            assert follower.moves[known:] == []
            return
        follower.take([], promise.at)
        assert follower.moves[known:] == [], "moved before the promised moment"
        follower.take([], promise.at + 0.5)
        assert promise in [(moved.at, moved.dimension, moved.current) for moved in follower.moves[known:]]
        for moved in follower.moves[known:]:
            assert moved.at == promise.at
            assert isinstance(moved.cause, SilenceCause)


@under_any_policy
@given(events=histories())
def test_every_move_carries_what_comes_next(terms: Terms, events: list[Heard]) -> None:
    """The next of a move is what really follows it, where no event comes in between."""
    follower = followed([events], terms=terms)
    heard_at = [heard.at for heard in events]
    for i, move in enumerate(follower.moves):
        later = [other for other in follower.moves[i + 1 :] if other.at > move.at]
        caused = isinstance(move.cause, EventCause)
        if sum(at >= move.at for at in heard_at) > caused:
            continue
        if move.promise is None:
            assert later == []
        else:
            assert move.promise in [(m.at, m.dimension, m.current) for m in later if m.at == later[0].at]


@given(histories())
def test_sequences_have_no_holes_and_segments_are_the_fold(events: list[Heard]) -> None:
    """Numbers run from 1; each move leaves the segment that the one before it entered."""
    follower = followed([[heard] for heard in events])
    assert [move.sequence for move in follower.moves] == list(range(1, len(follower.moves) + 1))
    fold: dict[str, str] = {}
    for move in follower.moves:
        assert fold.get(move.dimension) == move.previous
        assert move.previous != move.current
        fold[move.dimension] = move.current
    assert follower.state is not None
    assert {name: held.segment for name, held in follower.state.segments.items()} == fold


@given(histories(days=1500), st.data())
def test_labels_say_what_was_bought_in_the_window(events: list[Heard], data: st.DataObject) -> None:
    """Each counts the purchases in (as_of, as_of + horizon] heard by its end, in whatever order they come, time between."""
    offsets, follower, bought = [0, 0, 0], Follower(), []
    for heard in data.draw(st.one_of(st.just(events), st.permutations(events))):
        until = START_S + data.draw(st.integers(-1, 1500)) * DAY_S
        known = len(follower.labels)
        follower.take([heard._replace(offset=offsets[heard.topic])])
        offsets[heard.topic] += 1
        if heard.topic == PURCHASE and heard.event.type == "purchase":
            bought.append((heard.at, heard.event.amount_minor))  # type: ignore[union-attr]
        assert_recounted(follower.labels[known:], bought)
        known = len(follower.labels)
        if data.draw(st.booleans()):
            follower.take([], until)
        assert_recounted(follower.labels[known:], bought)
    known = len(follower.labels)
    follower.take([], LONG_AFTER)
    assert_recounted(follower.labels[known:], bought)
    assert len({label.label_id for label in follower.labels}) == len(follower.labels)
    assert follower.state is not None
    assert follower.state.exposures == ()


def assert_recounted(labels: list[Label], bought: list[tuple[float, int]]) -> None:
    """Each label says what purchases, (time, amount), fall into its window."""
    for label in labels:
        window = [amount for at, amount in bought if label.as_of < at <= label.as_of + label.horizon_days * DAY_S]
        assert (label.bought, label.purchases) == (bool(window), len(window))
        assert label.spend == pytest.approx(sum(window) / 100)


@given(histories(most=6, days=1500), st.integers(0, 1500))
def test_labels_come_whether_or_not_the_customer_comes_back(events: list[Heard], day: int) -> None:
    """What has matured by a day is the same where nothing is heard after it, and each moment gives both horizons."""
    until = START_S + day * DAY_S
    heard = [one for one in events if one.at <= until] or events[:1]
    silent, back = followed([heard]), followed([events])
    assert [label for label in silent.labels if label.matured_at < until] == [
        label for label in back.labels if label.matured_at < until
    ]
    assert silent.state is not None
    assert silent.state.exposures == ()
    of_horizon = [[label.as_of for label in silent.labels if label.horizon_days == days] for days in (30, 90)]
    assert of_horizon[0] == of_horizon[1] != []


@given(st.lists(histories(most=5), min_size=1, max_size=5))
def test_customers_do_not_touch_each_other(shop: list[list[Heard]]) -> None:
    """Taken together or alone, each customer's outcome is the same."""
    customers = [Customer(f"c{i}", None, NEVER, events) for i, events in enumerate(shop)]
    together = advance(customers, TERMS._replace(horizon=LONG_AFTER))
    for customer, outcome in zip(customers, together, strict=True):
        alone = step(customer, TERMS._replace(horizon=LONG_AFTER))
        assert alone.state is not None
        assert outcome.state is not None
        assert outcome.state.segments == alone.state.segments
        assert [move[:5] for move in outcome.moves] == [move[:5] for move in alone.moves]
        assert outcome.state.scores == pytest.approx(alone.state.scores)


def test_an_event_at_the_very_second_comes_before_silence() -> None:
    """A purchase 30 days after the last, to the second, is no silence."""
    at = START_S + 30 * DAY_S
    follower = followed([[purchase(0, START_S)], [purchase(1, at)]], horizon=at + 1)
    assert [move.current for move in follower.moves if move.dimension == "lifecycle"] == ["active"]


def test_silence_comes_before_an_event_a_second_later() -> None:
    """A purchase a second too late finds the customer at risk, since the second before."""
    at = START_S + 30 * DAY_S
    follower = followed([[purchase(0, START_S)], [purchase(1, at + 1)]], horizon=-NEVER)
    lifecycle = [(move.current, move.at) for move in follower.moves if move.dimension == "lifecycle"]
    assert lifecycle == [("active", START_S), ("at_risk", at), ("active", at + 1)]


def test_a_late_purchase_takes_back_what_silence_said() -> None:
    """A purchase that arrives after the silence it ends is answered by a change whose cause is that purchase."""
    follower = followed([[purchase(0, START_S)]], horizon=START_S + 31 * DAY_S)
    assert follower.moves[-1].current == "at_risk"
    follower.take([purchase(1, START_S + 20 * DAY_S)])
    back = next(move for move in reversed(follower.moves) if move.dimension == "lifecycle")
    assert (back.previous, back.current, back.at) == ("at_risk", "active", START_S + 30 * DAY_S)
    assert isinstance(back.cause, EventCause)
    assert back.cause.offset == 1


def test_what_a_customer_writes_is_a_reason() -> None:
    """A first review moves the scores of a buyer through what it says, and the change says so."""
    follower = followed([[purchase(0, START_S, 9_700)]], horizon=-NEVER)
    assert follower.state is not None
    angry = [review(i, START_S + DAY_S * 2 + i, rating=1, sentiment=-1.0) for i in range(4)]
    outcome = follower.take(angry)
    reasons = {reason.feature for move in outcome.moves for reason in move.reasons}
    assert any(move.dimension == "value" for move in outcome.moves)
    assert "sentiment" in reasons


def test_a_purchase_moves_at_once_whatever_an_earlier_event_started() -> None:
    """A page view places a new customer in `low` and starts its dwell; the purchase an hour later is news, not flutter."""
    looked = click(0, START_S)
    bought = purchase(0, START_S + 3600.0, 90_000)
    outcome = step(Customer("new", None, NEVER, [looked, bought]), TERMS)

    (move,) = [move for move in outcome.moves if move.dimension == "value" and move.previous is not None]
    assert (move.previous, move.at) == ("low", START_S + 3600.0)
    assert isinstance(move.cause, EventCause)
    assert move.cause.event_type == "purchase"


@pytest.mark.parametrize("total", [(1 << 63) - 1, (1 << 63) - 2, (1 << 62) * 2 - 10**13])
def test_sums_stay_at_what_64_bits_hold(total: int) -> None:
    """More purchases and refunds change nothing in a sum that is full; the state can be stored all the same."""
    follower = followed([[purchase(0, START_S, 10**13)], [purchase(1, START_S + 1, 10**13, "refund")]], START_S + 2)
    assert follower.state is not None
    assert follower.state.spending is not None
    spending = replace(follower.state.spending, spend_minor=total, refunded_minor=total, units=total)
    follower.state = replace(follower.state, spending=spending)
    for number in range(2, 6):
        kind = "refund" if number % 2 else "purchase"
        follower.take([purchase(number, START_S + number, 10**13, kind)], START_S + number + 1)

    assert follower.state is not None
    stored = decode_state(encode_state(follower.state, follower.due))
    assert (stored.spend_minor, stored.refunded_minor, stored.purchases) == ((1 << 63) - 1, (1 << 63) - 1, 3)
    assert all(move.scores[0] == move.scores[0] for move in follower.moves)


@pytest.mark.parametrize("others", [0, 60])
def test_a_purchase_brings_back_whoever_a_clock_far_ahead_has_lapsed(others: int) -> None:
    """Judged two years ahead by a wrong clock; the next purchase counts at its own time, alone and among many."""
    follower = followed([[purchase(0, START_S)]], START_S + 700 * DAY_S)
    assert "lapsed" in [move.current for move in follower.moves]
    assert follower.state is not None
    bought_at = START_S + 10 * DAY_S
    value = encode_state(follower.state, follower.due)
    customers = [
        Customer(f"c{i}", None, follower.due, [purchase(1, bought_at)], value=value) for i in range(1 + others)
    ]
    terms = TERMS._replace(horizon=bought_at + 1, latest=bought_at + 3600.0)

    for outcome in advance_stored([(customers, terms)])[0]:
        state = outcome.state
        assert state is not None
        assert state.as_of <= bought_at + 1
        assert state.segments["lifecycle"] == Held("active", bought_at)
        assert [move.sequence for move in outcome.moves] == list(range(follower.state.sequence + 1, state.sequence + 1))

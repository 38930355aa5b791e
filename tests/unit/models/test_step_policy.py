"""A customer whom another policy judged last: who moves under a new one, when, and what is promised then."""

from hypothesis import given
from hypothesis import strategies as st

from following import LONG_AFTER, TERMS, followed
from histories import START_S, histories
from models.features import rows
from models.policy import Rules, parse, read
from models.scores import PriorScorer
from models.step import Customer, Heard, anew_at, step
from schemas.changes import PolicyCause
from schemas.learning import Label
from schemas.states import NEVER, CustomerState, Held
from schemas.times import DAY_S

OTHER = Rules(
    parse(
        read()
        .replace('version: "1"', 'version: "2"')
        .replace("at_risk, from: 30", "at_risk, from: 20")
        .replace("{name: mid, from: 50.00}", "{name: middle, from: 30.00}")
    )
)


@given(histories(), st.integers(1, 320), st.booleans())
def test_a_new_policy_moves_whom_it_concerns_once(events: list[Heard], day: int, overtaken: bool) -> None:
    """Swept, or overtaken by the next event, a customer is judged anew as of one moment, and stands under the new rules."""
    ruled_at = START_S + day * DAY_S
    before = [heard for heard in events if heard.at < ruled_at] or events[:1]
    after = events[len(before) :]
    follower = followed([before], horizon=ruled_at)
    assert follower.state is not None
    numbers = number_of_rulings(follower.state, ruled_at)
    held = {name: place.segment for name, place in follower.state.segments.items()}
    known = len(follower.moves)
    terms = TERMS._replace(rules=OTHER, ruled_at=ruled_at)

    def take(heard: list[Heard]) -> None:
        outcome = step(Customer("someone", follower.state, follower.due, heard), terms)
        if outcome.state is not None:
            follower.state, follower.due = outcome.state, outcome.due
        follower.moves += outcome.moves

    if not overtaken:
        take([])
    take(after)
    take([])
    anew = [move for move in follower.moves[known:] if isinstance(move.cause, PolicyCause)]
    assert anew == follower.moves[known:][: len(anew)], "a policy comes before what follows it"
    expected = []
    for ruling in OTHER.rulings:
        current = ruling.place(numbers[ruling.name], Held(held[ruling.name], -NEVER), ruled_at)
        if current != held[ruling.name]:
            expected.append((ruling.name, held[ruling.name], current))
    assert [(move.dimension, move.previous, move.current) for move in anew] == expected
    assert {move.cause for move in anew} <= {PolicyCause("default-2")}
    assert all(move.at >= ruled_at for move in anew)


def number_of_rulings(state: CustomerState, ruled_at: float) -> dict[str, float | None]:
    """What each dimension is cut on when rules that count from `ruled_at` judge `state`."""
    timed_at, at = anew_at(state, ruled_at)
    scores = PriorScorer().score(rows([state], [at]))[0]
    bought_at = state.last_purchase_at
    days = None if bought_at is None else max(timed_at - bought_at, 0.0) / DAY_S
    return {r.name: days if r.score is None else float(scores[r.score]) for r in OTHER.rulings}


@given(histories(), st.integers(1, 320))
def test_a_promise_under_a_new_policy_is_kept_too(events: list[Heard], day: int) -> None:
    """What is said to come next after a sweep comes, and nothing before it."""
    ruled_at = START_S + day * DAY_S
    follower = followed([events], horizon=ruled_at)
    terms = TERMS._replace(rules=OTHER, ruled_at=ruled_at)
    swept = step(Customer("someone", follower.state, follower.due, []), terms)
    assert swept.state is not None
    promise = swept.state.promise
    later = step(Customer("someone", swept.state, swept.due, []), terms._replace(horizon=LONG_AFTER))
    if promise is None:
        assert later.moves == ()
    else:
        assert (later.moves[0].at, later.moves[0].dimension, later.moves[0].current) == promise


@given(histories(), st.integers(1, 320))
def test_a_new_policy_takes_no_label_away(events: list[Heard], day: int) -> None:
    """Features kept before a publish mature after it: the labels are those of a shop that publishes nothing."""
    ruled_at = START_S + day * DAY_S
    before = [heard for heard in events if heard.at < ruled_at] or events[:1]
    after = events[len(before) :]
    undisturbed = followed([before, after])
    follower = followed([before], horizon=ruled_at)
    follower.terms = TERMS._replace(rules=OTHER, ruled_at=ruled_at)
    follower.take([])
    follower.take(after)
    follower.take([], LONG_AFTER)

    assert outcomes_of(follower.labels) == outcomes_of(undisturbed.labels)


def outcomes_of(labels: list[Label]) -> list[tuple[str, bool, int, float]]:
    """What labels say came; features may differ, as those taken after a publish know of the moves it made."""
    return sorted((label.label_id, label.bought, label.purchases, label.spend) for label in labels)

"""Laws of reasons and counterfactuals: they add up, they point the way of the move, and they re-score as claimed."""

from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from histories import START_S, click, histories, purchase, review
from models.counterfactual import ACTIONABLE, instead
from models.features import COLUMN, FEATURES, FloatArray, rows
from models.policy import Rules, Ruling, load, parse, read
from models.reasons import HELD_BACK, JUDGED_ANEW, POLICY, TOP, is_logged, natural
from models.scores import PriorScorer
from models.step import Customer, Heard, Move, Outcome, Terms, step
from policies import featured, zoned
from schemas.changes import EventCause, PolicyCause, SilenceCause
from schemas.states import NEVER, CustomerState, Held
from schemas.times import DAY_S

RULES = Rules(load())
TERMS = Terms(RULES, PriorScorer(), horizon=-NEVER)
FEATURED = TERMS._replace(rules=Rules(featured()))
ZONED = TERMS._replace(rules=Rules(zoned("America/Sao_Paulo")))
LONG_AFTER = START_S + 800 * DAY_S


class Judged(NamedTuple):
    """A move with what it was decided on."""

    move: Move
    state: CustomerState  # as of the move
    held: Held | None
    ruling: Ruling


class Contrary:
    """A scorer that no prior is: it likes refunds, supports and ratings, and turns in the middle of monetary."""

    version = "contrary"

    def score(self, x: FloatArray) -> FloatArray:
        """See `models.scores.Scorer`."""
        spend = 40 * x[:, COLUMN["refunds"]] + 30 * x[:, COLUMN["supports"]] + 60 * (x[:, COLUMN["monetary"]] - 4) ** 2
        spend = spend * (1.5 + np.sin(5 * x[:, COLUMN["recency_days"]])) * np.exp(x[:, COLUMN["sentiment"]])
        spend = spend * np.exp(x[:, COLUMN["rating"]] + x[:, COLUMN["refunded_share"]])
        return np.column_stack([spend / (1 + spend), spend / (1 + spend), spend, spend])


def judged(events: list[Heard], terms: Terms = TERMS, before: Outcome | None = None) -> list[Judged]:
    """Every move of a customer after `before`, taken moment by moment, and silence at the end."""
    state: CustomerState | None = None if before is None else before.state
    due, found = NEVER if before is None else before.due, list[Judged]()

    def take(heard: list[Heard], horizon: float) -> None:
        nonlocal state, due
        held = {} if state is None else state.segments
        outcome = step(Customer("someone", state, due, heard), terms._replace(horizon=horizon))
        if outcome.state is not None:
            state, due = outcome.state, outcome.due
        assert state is not None
        for move in outcome.moves:
            ruling = next(ruling for ruling in terms.rules.rulings if ruling.name == move.dimension)
            found.append(Judged(move, state, held.get(move.dimension), ruling))

    def wait(until: float) -> None:
        for _ in range(200):
            if state is None or due >= until:
                return
            take([], due + 0.5)

    for heard in events:
        wait(heard.at)
        take([heard], -NEVER)
    wait(LONG_AFTER)
    return found


def number_of(case: Judged) -> float | None:
    """What the ruling placed."""
    if case.ruling.feature is not None:
        return natural(case.ruling.feature, rows([case.state], [case.move.at])[0, case.ruling.feature])
    if case.ruling.score is not None:
        return case.move.scores[case.ruling.score]
    bought_at = case.state.last_purchase_at
    if case.ruling.local is not None and bought_at is not None:
        return case.ruling.local.between(bought_at, case.move.at)
    return None if bought_at is None else max(case.move.at - bought_at, 0.0) / DAY_S


def assert_adds_up(case: Judged) -> None:
    """Baseline and contributions are the number; a number that moved moved the way that the segment did."""
    move, number = case.move, number_of(case)
    total = sum(reason.contribution for reason in move.reasons)
    assert len(move.reasons) <= TOP + 1
    if number is None:
        assert (move.baseline, total) == (None, 0.0)
        return
    assert move.baseline is not None
    assert move.baseline + total == pytest.approx(number, abs=1e-6, rel=1e-9)
    if move.previous is None:
        return
    order = case.ruling.index(move.current) - case.ruling.index(move.previous)
    assert total * order >= -1e-6


def assert_keeps(case: Judged, scorer: object = TERMS.scorer) -> None:
    """Re-scored with the one feature changed, the customer is placed where they were."""
    keeper = case.move.counterfactual
    if keeper is None:
        return
    assert case.held is not None
    at = case.move.at
    x = rows([case.state], [at])
    if case.ruling.score is None:
        number = None if keeper.feature == "purchases" else keeper.instead
    else:
        assert FEATURES[COLUMN[keeper.feature]].actionable
        number = scorer.score(instead(x[0], keeper)[None, :])[0, case.ruling.score]  # type: ignore[attr-defined]
    assert case.ruling.place(number, Held(case.held.segment, -NEVER), at) == case.move.previous


@given(histories())
def test_reasons_add_up_and_point_the_way_of_the_move(events: list[Heard]) -> None:
    """Whatever moves a customer, its reasons are the whole of it and none reads against the move as a sum."""
    for case in judged(events):
        assert_adds_up(case)


@given(histories())
def test_local_days_are_reasons_too(events: list[Heard]) -> None:
    """Days as a time zone counts them are whole, add up, and are kept off by a day less."""
    for case in judged(events, ZONED):
        if case.ruling.score is None:
            assert_adds_up(case)
            assert_keeps(case)
            assert case.move.counterfactual is None or case.move.counterfactual.instead % 1 == 0


@given(histories())
def test_reasons_add_up_under_any_scorer(events: list[Heard]) -> None:
    """Nothing is taken from the prior's shape."""
    for case in judged(events, TERMS._replace(scorer=Contrary())):
        assert_adds_up(case)


@given(histories())
def test_a_move_over_a_feature_is_that_features_alone(events: list[Heard]) -> None:
    """Its change is the whole reason, beside what an earlier crossing left; the counterfactual, if any, is of itself."""
    for case in judged(events, FEATURED):
        if case.ruling.feature is None:
            continue
        assert_adds_up(case)
        assert_keeps(case, FEATURED.rules.numbers(FEATURED.scorer))
        feature = FEATURES[case.ruling.feature]
        named = {reason.feature for reason in case.move.reasons}
        assert feature.name in named
        assert named <= {feature.name, HELD_BACK, JUDGED_ANEW}
        keeper = case.move.counterfactual
        assert keeper is None or (keeper.feature == feature.name and feature.actionable)


@given(histories(), st.booleans())
def test_a_counterfactual_re_scores_as_claimed(events: list[Heard], contrary: bool) -> None:
    """Each one that is emitted would have kept the previous segment."""
    scorer = Contrary() if contrary else PriorScorer()
    for case in judged(events, TERMS._replace(scorer=scorer)):
        assert_keeps(case, scorer)


def possible(name: str, state: CustomerState, x: FloatArray) -> tuple[float, float]:
    """The least and the most that a feature could have been, with as many purchases, refunds, texts and ratings."""
    ratings = 0 if state.voice is None else state.voice.ratings
    said, rated = x[COLUMN["text_weight"]], 2 * ratings / (ratings + 1)
    ranges = {
        "sentiment": (-said, said),
        "rating": (-rated, rated),
        "refunded_share": (0.0, float(state.purchases > 0 and state.refunds > 0)),
        "monetary": (0.0, 99.0 * (state.purchases > 0)),
        "spend": (0.0, 99.0 * (state.purchases > 0)),
    }
    return ranges.get(name, (0.0, 99.0))


@given(histories(), st.booleans())
def test_a_counterfactual_could_have_been(events: list[Heard], contrary: bool) -> None:
    """Nobody is told of a mood in texts never written, of more than their ratings can say, or of shares never refunded."""
    for case in judged(events, TERMS._replace(scorer=Contrary() if contrary else PriorScorer())):
        keeper = case.move.counterfactual
        if keeper is None or case.ruling.score is None:
            continue
        x = rows([case.state], [case.move.at])[0]
        low, high = possible(keeper.feature, case.state, x)
        assert low - 1e-9 <= instead(x, keeper)[COLUMN[keeper.feature]] <= high + 1e-9


@given(histories(most=6))
def test_a_counterfactual_is_about_the_smallest_there_is(events: list[Heard]) -> None:
    """No feature keeps the segment with clearly less of a change than the one that is named, searched finely."""
    scorer = PriorScorer()
    for case in judged(events):
        if case.ruling.score is None or case.held is None:
            continue
        x = rows([case.state], [case.move.at])[0]
        steps = np.concatenate([-np.geomspace(2.8, 1e-3, 120), np.geomspace(1e-3, 2.8, 120)])
        smallest = NEVER
        for k in ACTIONABLE:
            if FEATURES[k].name in ("purchases", "refunds", "supports"):
                continue  # whole numbers
            low, high = possible(FEATURES[k].name, case.state, x)
            values = np.clip(x[k] + steps, low, high)
            points = np.repeat(x[None, :], len(values), axis=0)
            points[:, k] = values
            numbers = scorer.score(points)[:, case.ruling.score]
            low, high = case.ruling.kept_between(case.held.segment)
            kept = (numbers >= low) & (numbers < high)
            if kept.any():
                smallest = min(smallest, float(np.abs(values - x[k])[kept].min()))
        keeper = case.move.counterfactual
        if keeper is None:
            assert smallest > 2.7 or smallest < 0.002
            continue
        size = abs(instead(x, keeper)[COLUMN[keeper.feature]] - x[COLUMN[keeper.feature]])
        assert size <= 1.1 * smallest + 0.03


@given(histories(), st.booleans())
def test_a_counterfactual_has_three_figures_where_three_figures_are_true(events: list[Heard], contrary: bool) -> None:
    """All of a number's digits stand only where rounding away from the feature as it is would leave the segment."""
    scorer = Contrary() if contrary else PriorScorer()
    for case in judged(events, TERMS._replace(scorer=scorer)):
        keeper = case.move.counterfactual
        if keeper is None or case.ruling.score is None or case.held is None or not is_logged(COLUMN[keeper.feature]):
            continue
        told = keeper.instead
        if told == pytest.approx(float(f"{told:.3g}"), rel=1e-9, abs=1e-9):
            continue
        unit = 10.0 ** (np.floor(np.log10(max(told, 1e-3))) - 2)
        rounded = (np.ceil if told > keeper.value else np.floor)(told / unit) * unit
        x = rows([case.state], [case.move.at])
        number = scorer.score(instead(x[0], structs.replace(keeper, instead=float(rounded)))[None, :])[
            0, case.ruling.score
        ]
        low, high = case.ruling.kept_between(case.held.segment)
        possibly = possible(keeper.feature, case.state, x[0])
        read = np.log1p(rounded)
        assert not (low <= number < high and possibly[0] <= read <= possibly[1])


def test_a_first_purchase_is_no_loss() -> None:
    """Whether and how often somebody bought is one reason, which speaks for more spend and not against it."""
    first = judged([click(0, START_S), purchase(0, START_S + 2 * DAY_S, 20_000)])
    move = next(case.move for case in first if case.move.dimension == "value" and case.move.previous is not None)
    told = {reason.feature: reason.contribution for reason in move.reasons}
    assert "bought" not in told
    assert told["purchases"] > 0


def test_at_risk_is_kept_off_by_a_purchase_within_the_bound() -> None:
    """The counterfactual of silence is recency below the bound, to the second."""
    moved = judged([purchase(0, START_S)])
    at_risk = next(case.move for case in moved if case.move.current == "at_risk")
    assert at_risk.counterfactual is not None
    assert at_risk.counterfactual.feature == "recency_days"
    assert at_risk.counterfactual.value == pytest.approx(30)
    assert at_risk.counterfactual.instead == 29.9  # a tenth of a day reads better than a second
    assert at_risk.reasons[0].feature == "recency_days"
    assert sum(reason.contribution for reason in at_risk.reasons) == pytest.approx(30)


def test_a_first_purchase_is_said_as_one() -> None:
    """Who never bought has no days since a purchase to compare with; without it they would have stayed a prospect."""
    first = judged([click(0, START_S), purchase(0, START_S + 60)])
    move = next(case.move for case in first if case.move.current == "active")
    assert [(reason.feature, reason.value) for reason in move.reasons] == [("bought", 1.0)]
    assert move.counterfactual is not None
    assert (move.counterfactual.feature, move.counterfactual.value, move.counterfactual.instead) == ("purchases", 1, 0)


def test_a_move_that_the_dwell_held_back_says_so() -> None:
    """The score had passed the bound within the dwell; silence only ends the dwell, and the score has fallen since."""

    class Higher(PriorScorer):
        version = "higher"

        def score(self, x: FloatArray) -> FloatArray:
            return super().score(x) * 6

    first = step(Customer("someone", None, NEVER, [purchase(0, START_S, 3_500)]), TERMS)
    moved = [
        case
        for case in judged([click(0, START_S + 600)], TERMS._replace(scorer=Higher()), first)
        if case.move.dimension == "value"
    ]
    late = next(case for case in moved if isinstance(case.move.cause, SilenceCause))
    assert late.ruling.index(late.move.current) > late.ruling.index(str(late.move.previous))
    held_back = late.move.reasons[0]
    assert (held_back.feature, held_back.value) == (HELD_BACK, pytest.approx(1.0))
    assert held_back.contribution > 0
    assert late.move.baseline == late.ruling.passed(str(late.move.previous), late.move.current)
    assert_adds_up(late)


def test_what_a_new_model_moves_says_so() -> None:
    """Judged by another model at the next event, the bound was passed before that event came."""
    events = [purchase(0, START_S, 900), click(0, START_S + 1.5 * DAY_S)]

    class Twice(PriorScorer):
        version = "twice"

        def score(self, x: FloatArray) -> FloatArray:
            return super().score(x) * 20

    first = step(Customer("someone", None, NEVER, events), TERMS)
    later = click(1, START_S + 2 * DAY_S)
    moved = step(Customer("someone", first.state, first.due, [later]), TERMS._replace(scorer=Twice()))
    move = next(move for move in moved.moves if move.dimension == "value" and isinstance(move.cause, EventCause))
    assert move.reasons[0].feature == JUDGED_ANEW
    assert moved.state is not None
    ruling = next(ruling for ruling in RULES.rulings if ruling.name == "value")
    assert first.state is not None
    assert_adds_up(Judged(move, moved.state, first.state.segments["value"], ruling))


def test_what_silence_had_done_already_is_not_put_on_the_event() -> None:
    """A click found a score that silence had let sink below the bound since it was last looked at."""
    events = [purchase(0, START_S, 10_500)]
    for days in range(2, 60):
        at = START_S + days * DAY_S + 7
        moved = [case for case in judged([*events, click(0, at)]) if case.move.dimension == "value"]
        if len(moved) == 2 and isinstance(moved[1].move.cause, EventCause):
            assert_adds_up(moved[1])
            return
    pytest.fail("no click found such a score")


def moved_from_low_by(document: str) -> Move:
    """The one move, of value, of who bought for 30.00 and is judged by the policy in `document` a minute later."""
    first = step(Customer("someone", None, NEVER, [purchase(0, START_S, 3_000)]), TERMS)
    assert first.state is not None
    assert first.state.segments["value"].segment == "low"
    terms = TERMS._replace(rules=Rules(parse(document)), ruled_at=START_S + 60)
    moved = step(Customer("someone", first.state, first.due, []), terms)
    (move,) = moved.moves
    assert move.cause == PolicyCause("default-2")
    assert moved.state is not None
    assert_adds_up(Judged(move, moved.state, first.state.segments["value"], terms.rules.rulings[1]))
    return move


def test_another_season_moves_by_policy() -> None:
    """The bound is what it was; the days ahead count for more, and who stands elsewhere now moves once, as told."""
    document = read().replace('version: "1"', 'version: "2"') + "season: [1, 1, 9, 9, 9, 9, 1, 1, 1, 1, 1, 1]\n"
    move = moved_from_low_by(document)
    assert (move.dimension, move.previous, move.current) == ("value", "low", "mid")
    assert move.reasons[0].feature == POLICY


def test_a_new_policys_reason_is_its_bound() -> None:
    """The number is what it was; the bound moved."""
    document = read().replace("from: 50.00", "from: 5.00").replace('version: "1"', 'version: "2"')
    move = moved_from_low_by(document)
    assert (move.previous, move.current, move.at) == ("low", "mid", START_S + 60)
    assert [(reason.feature, reason.value) for reason in move.reasons] == [(POLICY, 5.0)]


def test_where_a_policy_crosses_no_bound_its_reason_is_the_number() -> None:
    """Held in a segment that the new policy doesn't have, a customer is placed by the number alone."""
    document = read().replace("name: low", "name: small").replace('version: "1"', 'version: "2"')
    move = moved_from_low_by(document)
    assert (move.previous, move.current) == ("low", "small")
    first = move.reasons[0]
    assert (first.feature, first.value, first.contribution) == (POLICY, move.baseline, 0.0)


def test_what_a_customer_writes_is_named_by_its_sentiment() -> None:
    """Texts give their sentiment as a reason; no words of theirs are in it."""
    events = [purchase(0, START_S, 9_700), *(review(i, START_S + DAY_S * 2 + i, 1, -1.0) for i in range(4))]
    moved = [case.move for case in judged(events) if case.move.dimension == "value"]
    assert "sentiment" in {reason.feature for move in moved for reason in move.reasons}

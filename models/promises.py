"""What happens next to a customer if nothing more is heard, and when the state must be looked at again."""

import numpy as np
from msgspec.structs import replace

from models.columns import LAST
from models.features import in_silence
from models.judging import MomentFeatures
from models.labels import next_learning_moment
from models.policy import Rules
from models.scores import score_some, wanted
from models.terms import Terms
from models.unfolding import Standpoint, Unfolded
from schemas.states import NEVER, Held, Promise


def promise_next(histories: list[Unfolded], terms: Terms, x: MomentFeatures) -> None:
    """Sets what happens next in silence, as of each move and at the end, and when to look at each state again."""
    rules = terms.rules
    points = [point for history in histories for point in history.points]
    promises: list[Promise | None] = [None] * len(points)
    if rules.review_s:
        promises = _scored_flips(points, terms, x)
    for i, point in enumerate(points):
        spending = point.state.spending
        if spending is not None and spending.purchases:
            timed = _timed_flip(point, spending.last_purchase_at, rules)
            known = promises[i]
            if timed is not None and (known is None or timed < known):
                promises[i] = timed
    at = 0
    for history in histories:
        if not history.points:
            continue
        promise, made = None, 0
        for point in history.points:
            promise = promises[at]
            at += 1
            for i in range(made, point.moves):
                history.moves[i] = history.moves[i]._replace(promise=promise)
            made = point.moves
        state = history.state
        assert state is not None
        if promise != state.promise:
            history.state = replace(state, promise=promise)
        history.due = next_learning_moment(state.first_event_at, state.last_event_at, state.as_of)
        if promise is not None and promise.at < history.due:
            history.due = promise.at


def _timed_flip(point: Standpoint, bought_at: float, rules: Rules) -> Promise | None:
    at = rules.crossing_after(bought_at, point.as_of)
    while at < NEVER:
        days = rules.days_since(bought_at, at)
        for ruling in rules.rulings:
            if ruling.score is None:
                held = point.segments.get(ruling.name)
                segment = ruling.place(days, held, at)
                if held is None or segment != held.segment:
                    return Promise(at, ruling.name, segment)
        at = rules.crossing_after(bought_at, at)
    return None


def _scored_flips(points: list[Standpoint], terms: Terms, x: MomentFeatures) -> list[Promise | None]:
    """The first moment of review at which the served model moves each customer, all points and moments at once."""
    rules = terms.rules
    n, g = len(points), len(rules.review_s)
    at_rows = [point.row for point in points]
    at = x.columns[LAST, at_rows][:, None] + np.array(rules.review_s)
    if x.ahead is not None:
        scores = x.ahead[at_rows]
    else:
        later_x = in_silence(x.columns[:, at_rows], x.scored[at_rows], at, rules.shop, wanted(terms.scorer))
        scores = score_some(terms.scorer, later_x, rules.judged_scores).reshape(n, g, -1)
    later = at > np.array([point.as_of for point in points])[:, None]
    first: list[Promise | None] = [None] * n
    for ruling in rules.rulings:
        if ruling.score is None:
            continue
        held = [point.segments.get(ruling.name, _UNHELD) for point in points]
        current = np.array([ruling.index(h.segment) for h in held])
        numbers = scores[:, :, ruling.score]
        target = ruling.places(numbers, current[:, None])
        free = np.array([h.since for h in held]) + ruling.dwell_s
        flip = (target != current[:, None]) & later & (at >= free[:, None])
        for i in np.flatnonzero(flip.any(axis=1)).tolist():
            j = int(flip[i].argmax())
            promise = Promise(float(at[i, j]), ruling.name, ruling.segments[target[i, j]])
            known = first[i]
            if known is None or promise < known:
                first[i] = promise
    return first


_UNHELD = Held("", -NEVER)

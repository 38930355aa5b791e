"""The product as one pure function: what customers were heard to do, and time, in; states, moves and labels out.

`advance` takes many customers at once, because scoring is a matrix product; each one's outcome depends on that customer
alone, and taking a history in one go or in pieces gives the same. Read it in the order of its five passes:

1. `models.unfolding`: a history becomes moments: each event (`models.state.observe`), and in the silences between and after
   them every moment at which a segment may change (`models.policy.Rules.moments`) or a label matures. A customer last
   judged by another policy is judged anew first, as of the moment that the served one counts from. One who is erased
   begins again, at the next sequence, as somebody never heard of (`models.state.erased`).
2. Features of all moments, and their scores, in one call each.
3. `models.judging`: moment by moment, the policy says which segments are left, features are kept and labels emitted.
4. `models.promises`: what happens next if nothing more is heard, and when the state must be looked at again.
5. `models.reasons`, `models.counterfactual`: what moved the score, and what would have kept the segment.

Campaigns decide on the outcomes: `models.deciding`.

Time is an argument: nothing here reads a clock. A silence moment happens strictly before an event's own time, so an
event at that very second comes first.
"""

from collections.abc import Sequence

from models.columns import Row, columns
from models.counterfactual import keepers
from models.decisions.board import Board
from models.features import halved
from models.judging import MomentFeatures, StateShift, judge
from models.promises import promise_next
from models.reasons import Shift, explain
from models.state import CLICK
from models.terms import Customer, Heard, Move, Outcome, Terms
from models.unfolding import Unfolded, anew_at, unfold
from schemas.states import CustomerState

__all__ = ["Customer", "Heard", "Move", "Outcome", "Terms", "anew_at"]


def advance(customers: Sequence[Customer], terms: Terms) -> list[Outcome]:
    """The outcome of each customer, in order. See the module for how."""
    return advance_groups([(customers, terms)])[0]


def advance_groups(groups: Sequence[tuple[Sequence[Customer], Terms]]) -> list[list[Outcome]]:
    """`advance` for several groups in one go, each with times of its own; rules and scorer are the same in all."""
    raw: list[Row] = []
    unfolded = [[unfold(customer, terms, raw) for customer in customers] for customers, terms in groups]
    if raw:
        _, terms = groups[0]
        c = columns(raw)
        terms = terms._replace(scorer=terms.rules.numbers(terms.scorer))
        x = MomentFeatures(c, terms)
        score_rows: list[list[float]] = x.scores.tolist()
        shifts: list[StateShift] = []
        for histories, (_, own) in zip(unfolded, groups, strict=True):
            for history in histories:
                if history.moments:
                    judge(history, own, x, score_rows, shifts)
        together = [history for histories in unfolded for history in histories]
        promise_next(together, terms, x)
        if shifts:
            _give_reasons(together, shifts, terms)
    return [[_outcome(history) for history in histories] for histories in unfolded]


def step(customer: Customer, terms: Terms) -> Outcome:
    """`advance` for one customer."""
    return advance([customer], terms)[0]


def _give_reasons(histories: list[Unfolded], told: list[StateShift], terms: Terms) -> None:
    """Each move's reasons and counterfactual; `told` are in the order of the moves."""
    c = columns([each.before for each in told] + [each.heard for each in told]).T
    n = len(told)
    shifts = [each.shift._replace(before=c[i], heard=c[n + i]) for i, each in enumerate(told)]
    explained = iter(with_reasons([move for history in histories for move in history.moves], shifts, terms))
    for history in histories:
        history.moves = [next(explained) for _ in history.moves]


def with_reasons(moves: Sequence[Move], shifts: Sequence[Shift], terms: Terms) -> list[Move]:
    """`moves` with their reasons and counterfactuals, a shift each.

    Args:
        moves: in any order.
        shifts: in the same.
        terms: with the scorer that gives the numbers dimensions are cut on.
    """
    explained = [
        move._replace(reasons=said.reasons, counterfactual=keeper, baseline=said.baseline)
        for move, said, keeper in zip(
            moves,
            explain(shifts, terms.scorer, terms.rules.shop),
            keepers(shifts, terms.scorer),
            strict=True,
        )
    ]
    return explained if terms.campaigns is None else _with_features(explained, shifts, terms.campaigns.board)


def _with_features(moves: list[Move], shifts: Sequence[Shift], board: Board) -> list[Move]:
    """`moves` with the features of the customer as of each that a campaign decides on."""
    return [
        move._replace(features=halved(shift.after)) if board.entered(move.dimension, move.current, move.cause) else move
        for move, shift in zip(moves, shifts, strict=True)
    ]


def _outcome(history: Unfolded) -> Outcome:
    before, changed = history.customer.state, bool(history.moments) or history.erased
    outcome = Outcome(history.customer, history.due, history.state if changed else None)
    outcome.moves, outcome.labels = tuple(history.moves), tuple(history.labels)
    outcome.repeated, outcome.replayed, outcome.void = history.repeated, history.replayed, history.void
    outcome.erased = history.erased
    now = outcome.state if changed else before
    outcome.was_there = before is not None and not before.is_erased
    outcome.is_there = now is not None and not now.is_erased
    outcome.shows = outcome.is_there and (bool(history.moves) or _shows(history, before, now))
    return outcome


def _shows(history: Unfolded, before: CustomerState | None, now: CustomerState | None) -> bool:
    if before is None or now is None:
        return True
    promised, promises = before.promise, now.promise
    if (promised is None) != (promises is None):
        return True
    if promised is not None and promises is not None and promised[1:] != promises[1:]:
        return True
    return any(heard.topic != CLICK for heard in history.customer.heard)

"""The judge of promises, judged: it passes what the step does and finds each kind of breach."""

import json
from typing import Any

import pytest
from hypothesis import given

from histories import START_S, click, histories, purchase
from models.policy import Rules, load
from models.scores import PriorScorer
from models.standing import change, standing
from models.step import Customer, Heard, Terms, step
from schemas.changes import Trace, Versions, encode_change, encode_standing
from schemas.states import NEVER, CustomerState
from schemas.times import DAY_S
from tests.acceptance.verify_promises import Verdict, judge, promises_of

RULES = Rules(load())
VERSIONS = Versions("default-1", "prior-1", "none")
LAST = START_S + 400 * DAY_S


class Run:
    """What a right worker would leave behind of one customer: decoded records, and the events."""

    def __init__(self, heard: list[Heard], last: float = LAST) -> None:
        self.last = last
        self.standings: list[dict[str, Any]] = []
        self.changes: list[dict[str, Any]] = []
        self.events = {"c": [(each.at, each.event.event_id) for each in heard]}
        self._state: CustomerState | None = None
        self._due = NEVER
        for each in heard:
            self._take([each], each.at)
        self._take([], last)

    def _take(self, heard: list[Heard], until: float) -> None:
        for part, horizon in ([], until), (heard, -NEVER):
            outcome = step(Customer("c", self._state, self._due, part), Terms(RULES, PriorScorer(), horizon))
            if outcome.state is None:
                continue
            self._state, self._due = outcome.state, outcome.due
            moved = [change("c", move, VERSIONS, Trace("", "", "")) for move in outcome.moves]
            self.changes += [json.loads(encode_change(each)) for each in moved]
            self.standings.append(json.loads(encode_standing(standing("c", self._state, VERSIONS))))

    def judged(self) -> Verdict:
        """The verdict on it."""
        promises = promises_of(self.standings, self.changes, self.events)
        return judge(promises, self.changes, self.events, self.last)


def silent(run: Run) -> dict[str, Any]:
    """The change by which the customer lapsed."""
    return next(body for body in run.changes if body["current"] == "lapsed")


@given(histories())
def test_what_the_step_promises_is_kept(events: list[Heard]) -> None:
    """No history breaks a promise, and every record made one."""
    run = Run(events)
    verdict = run.judged()
    assert verdict.broken == []
    assert verdict.total() == len(run.standings) + len(run.changes)


def test_a_silent_buyers_promises_fall_due() -> None:
    """Bought once: at risk and lapsed are promised and come."""
    run = Run([purchase(0, START_S), click(0, START_S + DAY_S)])
    assert run.judged().total("came true") >= 2
    assert run.judged().total("overtaken") >= 1
    assert Run([purchase(0, START_S)], START_S + 20 * DAY_S).judged().total("open") >= 1


def _late(run: Run) -> None:
    silent(run)["changed_at"] = "2011-06-11T07:06:41Z"


def _other_segment(run: Run) -> None:
    silent(run)["current"] = "active"


def _lost(run: Run) -> None:
    run.changes.remove(silent(run))


def _something_before(run: Run) -> None:
    run.changes.append(silent(run) | {"changed_at": "2011-06-01T00:00:00Z", "dimension": "value", "current": "high"})


def _false_promise(run: Run) -> None:
    run.standings[0]["next"] = run.standings[0]["next"] | {"at": "2011-03-20T00:00:00Z"}


def _nothing_promised(run: Run) -> None:
    run.standings[0]["next"] = None


@pytest.mark.parametrize("damage", [_late, _other_segment, _lost, _something_before, _false_promise, _nothing_promised])
def test_every_breach_is_found(damage: Any) -> None:
    """A second late, another segment, none at all, one too many, and promises that were false."""
    run = Run([purchase(0, START_S)])
    assert run.judged().broken == []
    damage(run)
    assert run.judged().broken


def test_another_version_excuses_a_promise() -> None:
    """What another policy or model judged by then was not promised by this one."""
    run = Run([purchase(0, START_S)])
    _late(run)
    for body in run.changes[1:]:
        body["versions"] = body["versions"] | {"model": "learned-7"}
    verdict = run.judged()
    assert verdict.total("superseded") > 0
    assert all("promised lapsed" not in line for line in verdict.broken)

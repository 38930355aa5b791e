"""Late and reordered events: what they take back, what they leave, against timers and local midnights."""

import pytest

from following import TERMS, Follower, followed
from histories import START_S, click, purchase
from models.policy import Rules
from models.step import Customer, step
from policies import zoned
from schemas.changes import EventCause, SilenceCause
from schemas.states import NEVER
from schemas.times import DAY_S

# What comes late or in another order, against the timers of the default policy: at risk after 30 days, lapsed after 90.
# Each part: what is heard (day, what), and the day up to which silence then counts; None: nothing says that time passed.
# The table of docs/policies.md is this one.
Part = tuple[list[tuple[float, str]], float | None]
SECOND = 1 / DAY_S
LATE: dict[str, tuple[list[Part], list[tuple[str, float]]]] = {
    "in time: the timer is put off": ([([(0, "buys")], 20), ([(25, "buys")], 54)], [("active", 0)]),
    "at the very second: no silence": ([([(0, "buys")], 30), ([(30, "buys")], 31)], [("active", 0)]),
    "a second after: silence first": (
        [([(0, "buys")], None), ([(30 + SECOND, "buys")], 31)],
        [("active", 0), ("at_risk", 30), ("active", 30 + SECOND)],
    ),
    "late, silence already told: taken back as of that moment": (
        [([(0, "buys")], 31), ([(20, "buys")], 49)],
        [("active", 0), ("at_risk", 30), ("active", 30)],
    ),
    "and its own silence counts from its own time": (
        [([(0, "buys")], 31), ([(20, "buys")], 51)],
        [("active", 0), ("at_risk", 30), ("active", 30), ("at_risk", 50)],
    ),
    "late by two segments: back to where it belongs": (
        [([(0, "buys")], 91), ([(40, "buys")], 131)],
        [("active", 0), ("at_risk", 30), ("lapsed", 90), ("at_risk", 90), ("lapsed", 130)],
    ),
    "late, older than the last purchase: the timer stays": (
        [([(20, "buys")], 45), ([(5, "buys")], 51)],
        [("active", 20), ("at_risk", 50)],
    ),
    "late, a prospect's first purchase: active as of now": (
        [([(10, "views")], 15), ([(12, "buys")], 41), ([], 43)],
        [("prospect", 10), ("active", 12), ("at_risk", 42)],
    ),
    "late, a prospect's first purchase, long ago: at once at risk": (
        [([(60, "views")], 61), ([(5, "buys")], 94), ([], 96)],
        [("prospect", 60), ("at_risk", 60), ("lapsed", 95)],
    ),
    "two in the wrong order: as in the right one": (
        [([(0, "buys"), (25, "buys")], None), ([(10, "buys")], 56)],
        [("active", 0), ("at_risk", 55)],
    ),
    "late click: no timer of purchases is touched": (
        [([(0, "buys")], 31), ([(20, "views")], 91)],
        [("active", 0), ("at_risk", 30), ("lapsed", 90)],
    ),
    "late refund: no timer of purchases is touched": (
        [([(0, "buys")], 31), ([(20, "returns")], 91)],
        [("active", 0), ("at_risk", 30), ("lapsed", 90)],
    ),
    "again, after silence: a retry changes nothing": (
        [([(0, "buys")], 31), ([(0, "buys again")], 32)],
        [("active", 0), ("at_risk", 30)],
    ),
    "time in one leap over two timers: each at its second": (
        [([(0, "buys")], 400)],
        [("active", 0), ("at_risk", 30), ("lapsed", 90)],
    ),
}


@pytest.mark.parametrize("case", LATE)
def test_late_and_reordered_events_against_timers(case: str) -> None:
    """What each does to the lifecycle, and that corrections name the event as their cause."""
    parts, expected = LATE[case]
    offsets = {"buys": 0, "views": 0, "returns": 0}
    follower = Follower()
    for heard, until in parts:
        events = []
        for day, what in heard:
            at = START_S + day * DAY_S
            number = sum(offsets.values())
            kind = what.removesuffix(" again")
            offsets[kind] += 1
            if kind == "views":
                events.append(click(number, at))
            else:
                event_id = "p0" if what.endswith(" again") else None
                events.append(
                    purchase(number, at, kind="refund" if kind == "returns" else "purchase", event_id=event_id)
                )
        follower.take(events, -NEVER if until is None else START_S + until * DAY_S)
    lifecycle = [move for move in follower.moves if move.dimension == "lifecycle"]
    assert [(move.current, round((move.at - START_S) / DAY_S, 6)) for move in lifecycle] == [
        (segment, round(day, 6)) for segment, day in expected
    ]
    for move, before in zip(lifecycle[1:], lifecycle, strict=False):
        risen = ("active", "at_risk", "lapsed").index(move.current) if move.current != "prospect" else -1
        fallen = ("active", "at_risk", "lapsed").index(before.current) if before.current != "prospect" else 9
        assert isinstance(move.cause, SilenceCause if risen > fallen else EventCause)


MIDNIGHT = Rules(zoned("UTC"))
# The start is 07:06:40 of a day; its midnights lie that much earlier than the bounds without a time zone.
EARLIER = START_S % DAY_S / DAY_S


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([([(0, "buys")], 30 - EARLIER), ([(30 - EARLIER, "buys")], 31)], [("active", 0)]),
        ([([(0, "buys")], None), ([(30 - EARLIER - SECOND, "buys")], 31)], [("active", 0)]),
        (
            [([(0, "buys")], None), ([(30 - EARLIER + SECOND, "buys")], 31)],
            [("active", 0), ("at_risk", 30 - EARLIER), ("active", 30 - EARLIER + SECOND)],
        ),
        (
            [([(0, "buys")], 31), ([(20, "buys")], 51)],
            # Taken back as of the latest look, at which features were kept: 30 times 86,400 s after the first event.
            [("active", 0), ("at_risk", 30 - EARLIER), ("active", 30), ("at_risk", 50 - EARLIER)],
        ),
        ([([(0, "buys"), (25, "buys")], None), ([(10, "buys")], 56)], [("active", 0), ("at_risk", 55 - EARLIER)]),
        (
            [([(0, "buys")], 400)],
            [("active", 0), ("at_risk", 30 - EARLIER), ("lapsed", 90 - EARLIER)],
        ),
    ],
)
def test_late_and_reordered_events_against_local_midnights(
    parts: list[Part], expected: list[tuple[str, float]]
) -> None:
    """Under a time zone the timers are midnights, and what comes late or at their very second does the same to them."""
    follower, offset = Follower(TERMS._replace(rules=MIDNIGHT)), 0
    for heard, until in parts:
        events = []
        for day, _ in heard:
            events.append(purchase(offset, round(START_S + day * DAY_S)))
            offset += 1
        follower.take(events, -NEVER if until is None else START_S + until * DAY_S)
    lifecycle = [move for move in follower.moves if move.dimension == "lifecycle"]
    assert [(move.current, round(move.at)) for move in lifecycle] == [
        (segment, round(START_S + day * DAY_S)) for segment, day in expected
    ]


def test_a_click_does_not_judge_silence_beyond_the_purchases_that_were_read() -> None:
    """While purchases lag behind clicks, a click leaves the lifecycle as it is; time decides later, at its moment."""
    follower = followed([[purchase(0, START_S)]], horizon=-NEVER)
    later = START_S + 40 * DAY_S
    terms = TERMS._replace(purchases_known=START_S + 10 * DAY_S)
    outcome = step(Customer("someone", follower.state, follower.due, [click(0, later)]), terms)
    assert [move for move in outcome.moves if move.dimension == "lifecycle"] == []
    settled = step(Customer("someone", outcome.state, outcome.due, []), TERMS._replace(horizon=later))
    assert [(move.current, move.at) for move in settled.moves if move.dimension == "lifecycle"] == [
        ("at_risk", START_S + 30 * DAY_S)
    ]

"""The faults of the drill, one declaration each. A new alert, or a new way to break, is a new row here."""

import signal
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.drill.judging import LAG, PAGE, READY, Expectation
from tests.drill.stack import Plan, Stack


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        breaks: what is done to a healthy stack; the seconds begin when it has returned.
        mends: what somebody on call would do then.
        expected: how it should show.
        plan: the stack.
        watch_s: how long the row looks on; an alert that fires falsely may need longer than one that is right.
    """

    breaks: Callable[[Stack], None]
    expected: Expectation
    mends: Callable[[Stack], None] = lambda _: None
    plan: Plan = field(default_factory=Plan)
    watch_s: float = 150.0


def _nobody(
    *, watch_s: float = 150.0, plan: Plan | None = None, breaks: Callable[[Stack], None], **words: str
) -> Fault:
    """A row that must page nobody."""
    return Fault(breaks, Expectation(words=words), plan=plan or Plan(), watch_s=watch_s)


FAULTS: dict[str, Fault] = {
    "stopped": Fault(
        breaks=lambda stack: stack.signal("worker-1", signal.SIGSTOP),
        mends=lambda stack: stack.signal("worker-1", signal.SIGCONT),
        expected=Expectation(
            alerts=frozenset({"RegularsWorkersAbsent"}),
            beside=frozenset({"RegularsWorkerDown"}),
            words={LAG: "late: .*purchases", READY: "worker-1: no answer", PAGE: "worker-1: no answer"},
        ),
    ),
    "killed": Fault(
        breaks=lambda stack: stack.signal("worker-1", signal.SIGKILL),
        mends=lambda stack: stack.spawn("worker-1"),
        plan=Plan(supervised=False),
        expected=Expectation(
            alerts=frozenset({"RegularsWorkersAbsent"}),
            beside=frozenset({"RegularsWorkerDown"}),
            words={LAG: "late: .*purchases", READY: "worker-1: no answer", PAGE: "worker-1: no answer"},
        ),
    ),
    "killed-once-supervised": _nobody(
        breaks=lambda stack: stack.signal("worker-1", signal.SIGKILL),
        **{READY: "worker-1: no answer", PAGE: "worker-1: no answer"},
    ),
    "quiet-shop": _nobody(breaks=lambda stack: stack.shop.stop()),
}

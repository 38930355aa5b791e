"""The faults of the drill, one declaration each. A new alert, or a new way to break, is a new row here."""

import signal
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.drill import breakable
from tests.drill.judging import LAG, PAGE, READY, Expectation
from tests.drill.stack import Plan, Stack

SILENT_S = 900.0  # a feed is silent after a quarter of an hour
READY_WITHIN_S = 240.0  # the longest that a stack takes until it is healthy


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        breaks: what is done to a healthy stack; the seconds begin when it has returned.
        expected: how it should show.
        mends: what somebody on call would do then.
        plan: the stack.
        watch_s: from the fault to its repair. An alert that fires falsely may need longer than one that is right.
    """

    breaks: Callable[[Stack], None]
    expected: Expectation
    mends: Callable[[Stack], None] = lambda _: None
    plan: Plan = field(default_factory=Plan)
    watch_s: float = 150.0


def _shows(*alerts: str, beside: str = "", paged_s: float = 120.0, **words: str) -> Expectation:
    """The alerts that name the cause; beside them, those that may fire too; and the words of the views."""
    return Expectation(
        frozenset(f"Regulars{name}" for name in alerts),
        frozenset(f"Regulars{name}" for name in beside.split()),
        words,
        paged_s,
    )


def _broker_away(watch_s: float) -> Fault:
    return Fault(
        breaks=lambda stack: stack.broker.kill(),
        mends=lambda stack: stack.broker.start(),
        plan=Plan(own_broker=True),
        expected=_shows(
            "LagUnknown",
            beside="NotReady TrainerLagUnknown",
            **{
                LAG: "failed: .*Kafka|failed: .*broker",
                READY: "worker-1: .*lag-unknown",
                PAGE: "worker-1: .*lag-unknown",
            },
        ),
        watch_s=watch_s,
    )


def _switched(fault: str) -> Callable[[Stack], None]:
    return lambda stack: stack.switch(fault)


def _switched_off(fault: str) -> Callable[[Stack], None]:
    """Mended as somebody on call would: what was wrong is put right, and the worker started anew."""

    def mend(stack: Stack) -> None:
        stack.switch(fault, on=False)
        stack.signal("worker-1", signal.SIGKILL)

    return mend


def _silent_for_a_quarter(stack: Stack) -> None:
    """Returns when the shop has been silent for as long as the rule waits."""
    assert stack.plan.silent_since_s is not None
    time.sleep(max(0.0, stack.started_at_s - stack.plan.silent_since_s + SILENT_S - time.time()))


def _tenfold(stack: Stack) -> None:
    stack.another_shop(seed=2).run(9 * stack.plan.rate)


# A decision about each new buyer; each of the four partitions may spend one pound.
CAMPAIGN = """campaign: welcome
version: "1"
when: {dimension: lifecycle, to: active}
arms: [{name: small, cost: 1.00}]
reward: {target: spend, days: 2}
choose: {by: bandit, floor: 0.05}
limits: {per_customer: {actions: 1, days: 20}, budget: {amount: 4.00, days: 3000}}
"""


def _spend_budget(stack: Stack) -> None:
    """A campaign is published, and new customers come."""
    file = stack.folder / "welcome.yaml"
    file.write_text(CAMPAIGN, "utf-8")
    stack.command("campaign", "publish", str(file))
    stack.another_shop(seed=2, customers=20_000).run(stack.plan.rate)


FAULTS: dict[str, Fault] = {
    # --- workers
    "stopped": Fault(
        breaks=lambda stack: stack.signal("worker-1", signal.SIGSTOP),
        mends=lambda stack: stack.signal("worker-1", signal.SIGCONT),
        expected=_shows(
            "WorkersAbsent",
            beside="WorkerDown",
            **{LAG: "late: .*purchases", READY: "worker-1: no answer", PAGE: "worker-1: no answer"},
        ),
    ),
    "killed": Fault(
        breaks=lambda stack: stack.signal("worker-1", signal.SIGKILL),
        mends=lambda stack: stack.spawn("worker-1"),
        plan=Plan(supervised=False),
        expected=_shows(
            "WorkersAbsent",
            beside="WorkerDown",
            **{LAG: "late: .*purchases", READY: "worker-1: no answer", PAGE: "worker-1: no answer"},
        ),
    ),
    "killed-once-supervised": Fault(
        breaks=lambda stack: stack.signal("worker-1", signal.SIGKILL),
        expected=_shows(**{READY: "worker-1: no answer", PAGE: "worker-1: no answer"}),
    ),
    "one-of-two-asleep": Fault(
        breaks=lambda stack: stack.signal("worker-2", signal.SIGSTOP),
        mends=lambda stack: stack.signal("worker-2", signal.SIGCONT),
        plan=Plan(workers=2),
        expected=_shows("WorkerDown", **{READY: "worker-2: no answer", PAGE: "worker-2: no answer"}),
    ),
    "hung-chunk": Fault(
        breaks=_switched(breakable.CHUNK_HANGS),
        mends=_switched_off(breakable.CHUNK_HANGS),
        expected=_shows(
            "Late",
            beside="NotReady",
            **{LAG: "late: .*purchases", READY: "worker-1: .*stalled", PAGE: "worker-1: .*stalled"},
        ),
    ),
    "slow": Fault(
        breaks=lambda stack: stack.throttle("worker-1", 0.1),
        mends=lambda stack: stack.throttle("worker-1", 1.0),
        plan=Plan(rate=60, env={"REGULARS_MAX_POLL_RECORDS": "2"}),
        expected=_shows("Late", **{LAG: "late: clickstream", PAGE: "worker-1: late"}),
    ),
    "disk-full": Fault(
        breaks=Stack.fill_disk,
        mends=Stack.empty_disk,
        plan=Plan(own_disk=True),
        expected=_shows(
            "DiskFills",
            beside="WorkerRestarts WorkersAbsent WorkerDown Late",
            **{READY: "worker-1: no answer", PAGE: "worker-1: no answer"},
        ),
    ),
    # --- records
    "poison-record": Fault(
        breaks=lambda stack: stack.send_purchase(breakable.POISON.decode()),
        # After two ends within a minute the worker goes on; that it ended twice is told, too.
        expected=_shows("RecordSetAside", beside="WorkerRestarts", **{READY: "worker-1: no answer"}),
    ),
    "bad-feed": Fault(
        breaks=lambda stack: stack.another_shop(seed=2, poison=1).run(5),
        mends=lambda stack: stack.shops[-1].stop(),
        # In a small shop one bad record is more than 1 % of two minutes: a shorter `for:` would page for it.
        expected=_shows("EventsRejected", paged_s=240.0),
        watch_s=250.0,
    ),
    "retention-near": Fault(
        breaks=_switched(breakable.CHUNK_HANGS),
        mends=_switched_off(breakable.CHUNK_HANGS),
        plan=Plan(kept_s=80),
        expected=_shows("RetentionNear", beside="Late NotReady", **{LAG: "late: .*purchases"}),
    ),
    "unread-deleted": Fault(breaks=Stack.lose_unread, expected=_shows("EventsLost")),
    # --- texts
    "encoder-slow": Fault(
        breaks=_switched(breakable.ENCODER_SLOW),
        mends=_switched_off(breakable.ENCODER_SLOW),
        plan=Plan(texts=80, env={"REGULARS_ENCODER_PRELOAD": "true"}),
        expected=_shows("Late", **{LAG: "late: .*reviews", PAGE: "worker-1: late.*texts"}),
    ),
    "encoder-hung": Fault(
        breaks=_switched(breakable.ENCODER_HANGS),
        mends=_switched_off(breakable.ENCODER_HANGS),
        plan=Plan(texts=80, env={"REGULARS_ENCODER_PRELOAD": "true"}),
        expected=_shows(
            "Late", beside="NotReady", **{LAG: "late: .*reviews", READY: "worker-1: .*texts", PAGE: "worker-1: .*texts"}
        ),
    ),
    # --- Kafka
    "broker-away-110-s": _broker_away(110.0),
    "broker-away-for-good": _broker_away(300.0),
    # --- learning
    "trainer-dead": Fault(
        breaks=lambda stack: stack.signal("trainer", signal.SIGKILL),
        mends=lambda stack: stack.spawn("trainer"),
        plan=Plan(supervised=False),
        expected=_shows("TrainerAbsent", **{READY: "trainer: no answer"}),
    ),
    # --- campaigns
    "campaign-budget-spent": Fault(
        breaks=_spend_budget, mends=lambda stack: stack.shops[-1].stop(), expected=_shows("CampaignBudgetSpent")
    ),
    # --- the shop
    "silent-feed": Fault(
        breaks=_silent_for_a_quarter,
        plan=Plan(rate=0, silent_since_s=SILENT_S - READY_WITHIN_S),
        expected=_shows("SilentFeed"),
    ),
    "quiet-shop": Fault(breaks=lambda stack: stack.shop.stop(), expected=_shows()),
    "tenfold-peak": Fault(
        breaks=_tenfold, mends=lambda stack: stack.shops[-1].stop(), plan=Plan(rate=50), expected=_shows()
    ),
}

# Alerts that no row waits for, and why; `promtool test rules` holds them to series that are written down.
UNDRILLED: dict[str, str] = {
    "RegularsWorkerRestarts": "fires beside the alert that names the cause: disk-full, poison-record",
    "RegularsNotReady": "takes four minutes by design; a cause has its own alert before that",
    "RegularsTextsWait": "needs 8,000 waiting texts for ten minutes; RegularsLate comes first: encoder-slow",
    "RegularsForeignCurrency": "no fault of the system: a producer's mistake that a counter names at once",
    "RegularsPublishedRefused": "no fault of the system: a document that a counter names at once",
    "RegularsClockWrong": "would need the machine's clock to be set",
    "RegularsChangesSlow": "needs five minutes of slow changes while nothing is late",
    "RegularsCampaignWithoutConsent": "a campaign that was published wrongly, not a fault of the running system",
    "RegularsVersionTakenBack": "needs labels that mature over days",
    "RegularsDrift": "needs labels that mature over days",
    "RegularsTrainerBehind": "needs 10,000 labels that wait for ten minutes",
    "RegularsTrainerLagUnknown": "fires beside RegularsLagUnknown: the broker rows",
}

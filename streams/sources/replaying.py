"""A replay of one file: reads it, continues where it last stopped, sends it, and keeps its position."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from schemas.times import to_rfc3339
from streams.settings import Settings
from streams.sources.console import progress_bar, stop_on_signal
from streams.sources.dataset import Dataset
from streams.sources.pace import MAX, SendingPace
from streams.sources.positions import ReplayPosition, file_digest, open_position
from streams.sources.registry import SOURCES, open_dataset, unit_minor_or_usual
from streams.sources.sender import Progress, SendResult, TimelineSender


class NothingToReplay(Exception):
    """No event of the file lies between --from and --to."""

    def __init__(self, dataset: Dataset) -> None:
        first, last = to_rfc3339(float(dataset.times_s[0])), to_rfc3339(float(dataset.times_s[-1]))
        super().__init__(f"no event lies between --from and --to; the file's events go from {first} to {last}")


@dataclass(frozen=True)
class ReplayPlan:
    """The file to replay, and how fast.

    Attributes:
        dataset: a key of `SOURCES`.
        from_s: epoch seconds, inclusive.
        to_s: epoch seconds, exclusive.
        currency: of the file's amounts; None: the data set's own.
        restart: forget the position of an earlier replay of the same file.
    """

    dataset: str
    file: Path
    pace: SendingPace = MAX
    from_s: float | None = None
    to_s: float | None = None
    currency: str | None = None
    restart: bool = False


def _quiet(_: str) -> None:
    return


async def run_replay(
    settings: Settings,
    plan: ReplayPlan,
    progress: Progress | None = None,
    *,
    say: Callable[[str], None] = _quiet,
    bar: bool = False,
) -> SendResult:
    """Replays `plan`, from where the same replay last stopped.

    Args:
        settings: the cluster, the topics' prefix, the folder of positions.
        plan: the file, and how fast.
        progress: called with (events so far, event time).
        say: is called with lines for a person.
        bar: show a progress bar on stderr instead, and stop gracefully on SIGINT and SIGTERM.

    Raises:
        FileRefused: the file is not of that data set.
        NothingToReplay: no event lies in the window.
        BrokerLost, TopicsNotReady, PartitionsDiffer: there is nowhere to send to.
        SendFailed: the broker stopped taking events; what was acked is kept.
    """
    dataset = open_dataset(plan.dataset, plan.file, plan.currency)
    start, stop = dataset.window(plan.from_s, plan.to_s)
    if start == stop:
        raise NothingToReplay(dataset)
    for note in dataset.notes:
        say(f"{plan.dataset}: {note}")
    async with TimelineSender.open(settings) as sender:
        position = await open_position(settings, _identity(plan, sender.partitions))
        if plan.restart:
            position.clear()
        elif position.reached:
            say("continuing where the same replay stopped; --restart starts it again")
        with contextlib.ExitStack() as screen:
            halt = screen.enter_context(stop_on_signal()) if bar else None
            if bar:
                progress = screen.enter_context(progress_bar(f"replay {plan.dataset}", stop - start))
            sent = await _send_kept(sender, dataset, plan, position, progress, halt)
    say(_summary(sent))
    return sent


async def _send_kept(
    sender: TimelineSender,
    dataset: Dataset,
    plan: ReplayPlan,
    position: ReplayPosition,
    progress: Progress | None,
    halt: asyncio.Event | None,
) -> SendResult:
    try:
        sent = await sender.send(
            dataset.timeline(plan.from_s, plan.to_s), plan.pace, acks=position, progress=progress, stop=halt
        )
    except BaseException:
        position.save()
        raise
    if sent.finished:
        position.clear()
    else:
        position.save()
    return sent


def _identity(plan: ReplayPlan, partitions: int) -> dict[str, object]:
    """What makes two replays the same: their events and the partitions of these, not the speed."""
    currency = plan.currency or SOURCES[plan.dataset].currency
    unit_minor = unit_minor_or_usual(currency)
    # Earlier versions always used hundredths. Only with hundredths does a replay continue one of theirs.
    followed: dict[str, object] = {} if unit_minor == 100 else {"unit_minor": unit_minor}
    return {
        "dataset": plan.dataset,
        "file": file_digest(plan.file),
        "from": plan.from_s,
        "to": plan.to_s,
        "currency": currency,
        "partitions": partitions,
    } | followed


def _summary(sent: SendResult) -> str:
    pace = sent.events / sent.elapsed_s if sent.elapsed_s > 0 else 0.0
    resumed = f" ({sent.skipped:,} had been sent before)" if sent.skipped else ""
    reached = f"; event time is {to_rfc3339(sent.last_s)}" if sent.last_s else ""
    return (
        f"{sent.events:,} events sent{resumed} in {sent.elapsed_s:.1f} s, {pace:,.0f} events/s{reached}. "
        f"Silence in this history moves customers if the workers run with REGULARS_CLOCK=event."
    )

"""What a person sees while events are sent: a progress bar on stderr, and Ctrl-C that ends gracefully."""

import asyncio
import contextlib
import signal
from collections.abc import Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from schemas.times import to_rfc3339
from streams.sources.sender import Progress as Report


@contextlib.contextmanager
def progress_bar(what: str, total: int | None) -> Iterator[Report]:
    """A bar for `total` events (None: unknown), and the function that moves it."""
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(show_speed=True),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[reached]}"),
        console=Console(stderr=True),
    )
    with bar:
        task = bar.add_task(what, total=total, reached="")

        def report(events: int, at_s: float) -> None:
            bar.update(task, completed=events, reached=to_rfc3339(float(int(at_s))))

        yield report


@contextlib.contextmanager
def stop_on_signal() -> Iterator[asyncio.Event]:
    """An event that the first SIGINT or SIGTERM sets; the second one ends the process as usual."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    numbers = (signal.SIGINT, signal.SIGTERM)

    def release() -> None:
        for number in numbers:
            loop.remove_signal_handler(number)

    def first() -> None:
        stop.set()
        release()

    for number in numbers:
        loop.add_signal_handler(number, first)
    try:
        yield stop
    finally:
        release()

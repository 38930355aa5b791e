"""Where every thread and task of this process stands: functions and lines, never values, which customers wrote."""

import asyncio
import sys
import threading
import traceback
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import PurePath
from types import FrameType
from typing import Any

# A chain of coroutines is about a dozen deep; one of a hundred would be a defect.
DEEPEST = 100

Frames = Iterator[tuple[str, int, str]]  # file, line, function


def stacks(loops: Iterable[asyncio.AbstractEventLoop]) -> dict[str, list[str]]:
    """`threads` and `tasks`, one line each, the innermost call first. Equal tasks of `loops` are counted in one line.

    It can be called from any thread, also while a loop stands still.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    threads = [
        f"{names.get(ident, 'not of Python')}: {_line(_frames_of_thread(frame))}"
        for ident, frame in sys._current_frames().items()
    ]
    tasks = Counter(_line(_frames_of_coroutine(task.get_coro())) for loop in loops for task in asyncio.all_tasks(loop))
    lines = (line if count == 1 else f"{count} times: {line}" for line, count in tasks.most_common())
    return {"threads": threads, "tasks": list(lines)}


def _line(frames: Frames) -> str:
    return " < ".join(f"{function} {'/'.join(PurePath(file).parts[-2:])}:{line}" for file, line, function in frames)


def _frames_of_thread(frame: FrameType) -> Frames:
    for each, line in islice(traceback.walk_stack(frame), DEEPEST):
        yield each.f_code.co_filename, line, each.f_code.co_name


def _frames_of_coroutine(awaited: Any) -> Frames:
    """Frames of coroutines, generators and async generators that wait for one another; a native one ends the chain."""
    chain: list[tuple[str, int, str]] = []
    while awaited is not None and len(chain) < DEEPEST:
        kind = next((kind for kind in ("cr", "gi", "ag") if hasattr(awaited, f"{kind}_frame")), None)
        if kind is None:
            chain.append(("", 0, type(awaited).__name__))
            break
        frame, code = getattr(awaited, f"{kind}_frame"), getattr(awaited, f"{kind}_code")
        chain.append((code.co_filename, 0 if frame is None else frame.f_lineno or 0, code.co_name))
        awaited = getattr(awaited, "gi_yieldfrom" if kind == "gi" else f"{kind}_await")
    return reversed(chain)

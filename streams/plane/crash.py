"""Named points at which a test makes the process crash; without the variable each costs one comparison.

``REGULARS_CRASH_POINT=name:count`` kills the process when it passes that point for the count-th time, with SIGKILL or with
the signal number in ``REGULARS_CRASH_SIGNAL``. 19, SIGSTOP, makes a zombie. With 0 the call never returns: the event loop
stands still, or, at a point where a chunk waits, this chunk and every later one. The variables are read when the process
starts.
"""

import asyncio
import os
import sys
import time

POINTS = (
    "after_decode",
    "before_changelog",
    "after_lease",
    "between_changelog_and_ack",
    "before_outputs",
    "between_output_acks",
    "before_store",
    "after_store",
    "before_commit",
    "after_commit",
    "during_restore",
    "during_resend",
    "during_revoke",
)

_ON_THE_WIRE_S = 0.005  # enough for a request to reach a local broker, not for its answer to be handled


def _armed() -> tuple[str, int]:
    name, _, count = os.environ.get("REGULARS_CRASH_POINT", "").partition(":")
    if name and name not in POINTS:
        raise SystemExit(f"REGULARS_CRASH_POINT: no such point: {name}; there are {', '.join(POINTS)}")
    return name, int(count or 1)


_name, _left = _armed()
_signal = int(os.environ.get("REGULARS_CRASH_SIGNAL", "9"))


def arm(name: str, count: int, number: int) -> None:
    """Arms a point in this running process, as the variables do when it starts."""
    global _name, _left, _signal
    _name, _left, _signal = name, count, number


def crash_point(name: str) -> None:
    """Kills the process where this point is armed and its count is reached."""
    global _left
    if name != _name:
        return
    _left -= 1
    if _left == 0:
        sys.stderr.write(f"crash point {name}\n")
        sys.stderr.flush()
        while _signal == 0:
            time.sleep(1)
        os.kill(os.getpid(), _signal)


async def crash_point_in_flight(name: str) -> None:
    """As `crash_point`, but only after earlier requests had the time to leave the process."""
    if name == _name:
        if _left == 1:
            await asyncio.sleep(_ON_THE_WIRE_S)
        if _left == 1 and _signal == 0:
            await asyncio.get_running_loop().create_future()
        crash_point(name)

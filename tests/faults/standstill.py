"""A worker that hangs without ending: its own watchdog must end it, and the next one goes on."""

import time
import urllib.error
import urllib.request

from tests.faults.load import Load
from tests.faults.report import Row
from tests.faults.stage import Stage, Undecided
from tests.faults.surroundings import stops

# `/ready` says so 30 s after the last progress.
LIMIT_S = 45


def hangs(stage: Stage, load: Load, point: str, port: int) -> Row:
    """At `between_changelog_and_ack` one chunk never gets its answer; elsewhere the whole event loop stands still."""
    began = time.monotonic()
    load.run(300)
    one_chunk = point == "between_changelog_and_ack"
    worker = stage.start(
        REGULARS_CRASH_POINT=f"{point}:20",
        REGULARS_CRASH_SIGNAL="0",
        REGULARS_WATCHDOG_LIMIT_S=str(LIMIT_S),
        REGULARS_WEB_PORT=str(port),
    )
    stage.until(lambda: any(line == f"crash point {point}" for line in list(worker.lines)) or one_chunk, "it hangs")
    if one_chunk:
        stage.until(lambda: _ready(port) == 200, "it is ready")
        stage.until(lambda: _ready(port) == 503, "it says that it isn't ready any more", LIMIT_S + 10)
        if not worker.alive:
            raise Undecided("it ended before /ready said anything")
    said = stops(worker, "has stood at offset" if one_chunk else "the event loop has not come round")
    stage.start()
    load.stop()
    stage.drained()
    verdict = stage.judge()
    stage.workers["w1"].kill()
    return Row(f"hangs {point}", 1, verdict, time.monotonic() - began, f"watchdog: {said[:120]}")


def _ready(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=2) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as exc:
        return exc.code
    except OSError:
        return 0

"""How a worker ends itself: at once, with the reason as its last line."""

import os
import sys
import traceback
from typing import NoReturn

from streams.kafka.errors import DENIALS, AccessRefused, InfrastructureFailure, denied
from streams.plane.failures import JobFailed

EXIT_FAILURE = 70  # EX_SOFTWARE; see docs/decisions/0013-a-worker-that-stops-itself-ends-with-70.md
LONGEST_REASON = 1000

_ends = False


def end_process(exc: BaseException) -> NoReturn:
    """Ends the process now, with the reason as the last line on stderr. Only the first reason is written.

    There is no orderly stop, which would commit, flush, and wait for a broker that may be away. The design expects what a
    kill leaves behind. An exception that nobody foresaw is shown with its traceback.
    """
    global _ends
    if not _ends:
        _ends = True
        if isinstance(exc, DENIALS):
            exc = AccessRefused(denied(exc))
        if isinstance(exc, JobFailed):
            exc = exc.cause
        expected = isinstance(exc, (InfrastructureFailure, AccessRefused))
        if not expected:
            sys.stderr.write("".join(traceback.format_exception(exc)))
        reason = str(exc) if expected else f"{type(exc).__name__}: {exc}"
        line = " ".join(reason.split())[:LONGEST_REASON]
        sys.stderr.write(f"regulars worker stopped: {line} (nothing unfinished was committed)\n")
        sys.stderr.flush()
    os._exit(EXIT_FAILURE)

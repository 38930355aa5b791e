"""How a process writes its log: structured lines on stderr, without repetition and without what customers wrote.

While a broker is away, its clients say so ninety times a second. Faust also warns about things that happen in every
healthy worker. Two filters hold both back.
"""

import logging
import sys
import time
from collections.abc import Callable

EVERY_S = 10.0

# A thread that was waited for while it started, restored or was stopped; a poll that a rebalance overtook. Where a thread
# really hangs, no heartbeat is answered.
EVERYDAY = ("Thread keepalive is not responding", "exception performing seek when flow not active")


class Everyday(logging.Filter):
    """Keeps back what mode and faust warn of several times in the life of a healthy worker."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        said = record.getMessage()
        return not any(line in said for line in EVERYDAY)


class OncePer(logging.Filter):
    """Lets records of one line of code pass once in `every_s`; the next that passes says how many did not.

    Args:
        every_s: seconds; what differs in the text of two records makes no difference.
        clock: monotonic seconds.
    """

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._told: dict[tuple[str, int], tuple[float, int]] = {}  # line -> when it was told, how often kept back since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        line, now = (record.pathname, record.lineno), self._clock()
        told_at, kept_back = self._told.get(line, (-self._every_s, 0))
        if now - told_at < self._every_s:
            self._told[line] = told_at, kept_back + 1
            return False
        self._told[line] = now, 0
        if kept_back:
            record.msg = f"{record.getMessage()} (and {kept_back} more like it in {now - told_at:.0f} s)"
            record.args = None
        return True


def configure_logging() -> None:
    """Structured logs to stderr: for people on a terminal, one JSON object a line otherwise.

    Records of the standard `logging` (faust, aiokafka) go the same way, from WARNING on, each line of code once in ten
    seconds, without those that mean nothing. Exceptions come with where they were raised, never with local variables: those
    hold what customers wrote.
    """
    import structlog

    human = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if human
        else [
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[*shared, *render],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    handler.addFilter(Everyday())
    handler.addFilter(OncePer())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)

"""How a process writes its log: structured lines on stderr, without repetition and without customers' texts.

While a broker is away, its clients log that ninety times a second. Faust also warns about things that happen in every
healthy worker. Two filters keep both out of the log.
"""

import logging
import sys
import time
from collections.abc import Callable

EVERY_S = 10.0

# The first: a thread was busy starting, restoring or stopping; one that really hangs is seen by its missing heartbeats.
# The second: a rebalance came during a poll.
EVERYDAY = ("Thread keepalive is not responding", "exception performing seek when flow not active")


class Everyday(logging.Filter):
    """Drops warnings of mode and faust that every healthy worker causes several times."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        message = record.getMessage()
        return not any(text in message for text in EVERYDAY)


class OncePer(logging.Filter):
    """Lets one record per line of code pass in `every_s`; the next one that passes says how many were dropped.

    Args:
        every_s: seconds. Records of the same line count as repetitions, whatever their texts.
        clock: monotonic seconds.
    """

    def __init__(self, every_s: float = EVERY_S, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._every_s, self._clock = every_s, clock
        self._passed: dict[
            tuple[str, int], tuple[float, int]
        ] = {}  # line -> when one passed, how many were dropped since

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        line, now = (record.pathname, record.lineno), self._clock()
        passed_at, dropped = self._passed.get(line, (-self._every_s, 0))
        if now - passed_at < self._every_s:
            self._passed[line] = passed_at, dropped + 1
            return False
        self._passed[line] = now, 0
        if dropped:
            record.msg = f"{record.getMessage()} (and {dropped} more like it in {now - passed_at:.0f} s)"
            record.args = None
        return True


def configure_logging() -> None:
    """Structured logs to stderr: for people on a terminal, one JSON object per line otherwise.

    Records of the standard `logging` (faust, aiokafka) go the same way, from WARNING on, filtered: see `Everyday` and
    `OncePer`. An exception is logged with its stack, never with local variables: those may hold customers' texts.
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
    processors = structlog.get_config()["processors"]
    processors[:] = [*shared, *render]  # the same list: a logger that was used before keeps it, and follows
    structlog.configure(
        processors=processors,
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

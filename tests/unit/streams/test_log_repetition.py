"""What a log says again and again."""

import inspect
import logging
from types import ModuleType

import faust.transport.consumer
import mode.threads
import pytest

from streams.logs import EVERYDAY, Everyday, OncePer


class Clock:
    """Seconds that are set by hand."""

    now = 0.0

    def __call__(self) -> float:
        """Now."""
        return self.now


def _record(line: int, what: object) -> logging.LogRecord:
    return logging.LogRecord("aiokafka.conn", logging.ERROR, "conn.py", line, "Unable to connect to %s", (what,), None)


def test_a_line_passes_once_in_a_while_and_says_how_often_it_was_kept_back() -> None:
    """Whatever it names; a `%` in what it names is no format."""
    clock = Clock()
    once = OncePer(10.0, clock)

    first = _record(7, "100%d")
    passed = [once.filter(first), *(once.filter(_record(7, node)) for node in range(40))]
    clock.now = 10.5
    next_one = _record(7, "100%d")
    passed.append(once.filter(next_one))

    assert passed == [True, *[False] * 40, True]
    assert first.getMessage() == "Unable to connect to 100%d"
    assert next_one.getMessage() == "Unable to connect to 100%d (and 40 more like it in 10 s)"


def test_lines_are_kept_apart_and_what_is_rare_is_left_as_it_is() -> None:
    """One that repeats itself hides no other."""
    clock = Clock()
    once = OncePer(10.0, clock)

    assert once.filter(_record(7, 1))
    assert once.filter(_record(8, 1))
    clock.now = 3600.0
    rare = _record(7, 1)
    assert once.filter(rare)
    assert rare.getMessage() == "Unable to connect to 1"


def test_what_a_healthy_worker_is_told_of_is_kept_back() -> None:
    """Mode puts the service's name before it; what else a thread says passes."""
    said = {
        "[^--ConsumerThread]: Thread keepalive is not responding...": False,
        "[^---Consumer]: exception performing seek when flow not active IllegalStateError": False,
        "[^--ConsumerThread]: crashed": True,
    }

    passed = {
        line: Everyday().filter(logging.LogRecord("mode", logging.ERROR, "threads.py", 1, line, (), None))
        for line in said
    }

    assert passed == said


@pytest.mark.parametrize(
    ("source", "line"), [(mode.threads, EVERYDAY[0]), (faust.transport.consumer, EVERYDAY[1])], ids=["mode", "faust"]
)
def test_the_libraries_still_say_it_in_these_words(source: ModuleType, line: str) -> None:
    """A line that they worded anew would come through."""
    assert line in inspect.getsource(source)

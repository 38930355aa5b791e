"""Laws of what a process writes to stderr."""

import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable

import pytest

# What a customer wrote, in a local variable where something fails.
PROGRAM = """
import logging

import structlog

from streams.logs import configure_logging

configure_logging()


def fails():
    record = {"text": "the zip broke, " + "call me at 555-0199"}
    raise ValueError(len(record))


try:
    fails()
except ValueError:
    structlog.get_logger().exception("ours")
    logging.getLogger("faust").exception("theirs")
"""


def _piped() -> str:
    done = subprocess.run([sys.executable, "-c", PROGRAM], stderr=subprocess.PIPE, text=True, timeout=60, check=True)
    return done.stderr


def _on_a_terminal() -> str:
    ours, theirs = pty.openpty()
    process = subprocess.Popen([sys.executable, "-c", PROGRAM], stderr=theirs)
    os.close(theirs)
    seen = b""
    try:
        while found := os.read(ours, 4096):
            seen += found
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    assert process.wait(60) == 0
    return seen.decode()


@pytest.mark.parametrize("written", [_piped, _on_a_terminal], ids=["json", "terminal"])
def test_a_logged_exception_tells_where_and_nothing_of_a_customer(written: Callable[[], str]) -> None:
    """Tracebacks of structlog show local variables unless told otherwise: the record in hand, with its text."""
    lines = written()

    assert lines.count("fails") >= 2
    assert "ValueError" in lines
    assert "555-0199" not in lines
    assert "zip broke" not in lines


def test_each_line_of_a_pipe_is_an_object() -> None:
    """An exception, too, is one line."""
    ours, theirs = (json.loads(line) for line in _piped().splitlines())

    assert (ours["event"], theirs["event"]) == ("ours", "theirs")
    assert ours["exception"][0]["exc_type"] == theirs["exception"][0]["exc_type"] == "ValueError"

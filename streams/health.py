"""How a process says whether it can be counted on: why it is not ready, and what else is worth knowing."""

from typing import NamedTuple


class Reason(NamedTuple):
    """Why a process is not ready: one word, what was observed, what to do."""

    reason: str
    detail: str
    action: str


class Note(NamedTuple):
    """What is worth knowing about a process that is ready: one word, and what was observed."""

    note: str
    detail: str


# The Prometheus text format, as /metrics answers it.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

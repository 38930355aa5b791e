"""What a process tells about its health: why it is not ready, what it is busy with, and its metrics."""

from typing import NamedTuple

from prometheus_client import CollectorRegistry, disable_created_metrics


class Reason(NamedTuple):
    """Why a process is not ready: one word, what was observed, what to do."""

    reason: str
    detail: str
    action: str


class Note(NamedTuple):
    """What a process is busy with, ready or not: one word, and what was observed."""

    note: str
    detail: str


# The type of a /metrics page: the Prometheus text format.
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def new_registry() -> CollectorRegistry:
    """An empty registry for the metrics of this process.

    No metric of the process gets a `_created` gauge from now on: those would double the page, and they only say when the
    process started.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry()

"""What a process tells about its health: why it is not ready, what it is busy with, and its metrics."""

import shutil
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Gauge, ProcessCollector, disable_created_metrics
from prometheus_client.core import Metric, Sample


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


def new_registry(app_id: str | None = None) -> CollectorRegistry:
    """A registry for the metrics of this process; with `app_id`, an `AppRegistry`.

    No metric of the process gets a `_created` gauge from now on: those would double the page, and they only say when the
    process started.
    """
    disable_created_metrics()  # type: ignore[no-untyped-call]
    return CollectorRegistry() if app_id is None else AppRegistry(app_id)


class AppRegistry(CollectorRegistry):
    """A registry whose every sample has the label `app_id`; Prometheus may read several shops.

    It begins with the figures of the process (`process_start_time_seconds`, `process_resident_memory_bytes`,
    `process_open_fds`, ...) and `regulars_build_info{version}`.
    """

    def __init__(self, app_id: str) -> None:
        super().__init__(auto_describe=True)
        self._app_id = app_id
        ProcessCollector(registry=self)
        build = Gauge("regulars_build_info", "1; the label says which version runs", ["version"], registry=self)
        build.labels(version("regulars")).set(1)

    def collect(self) -> Iterable[Metric]:
        """Every metric, its samples labelled."""
        for family in super().collect():
            labelled = Metric(family.name, family.documentation, family.type, family.unit)
            labelled.samples = [
                Sample(each.name, {"app_id": self._app_id, **each.labels}, each.value, each.timestamp, each.exemplar)
                for each in family.samples
            ]
            yield labelled


def watch_disk(registry: CollectorRegistry, folder: Path) -> None:
    """Adds `regulars_disk_free_bytes`: what is left on the disk where `folder` is, or where it will be made."""
    free = Gauge("regulars_disk_free_bytes", "Bytes left on the disk of the local store", registry=registry)
    free.set_function(lambda: float(shutil.disk_usage(_existing(folder)).free))


def _existing(folder: Path) -> Path:
    return next(path for path in (folder.resolve(), *folder.resolve().parents) if path.exists())

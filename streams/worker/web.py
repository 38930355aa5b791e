"""The worker's pages, on an aiohttp application: health, metrics, the dashboard, and what the dashboard asks for.

`streams.signin` declares what each page shows and guards all of them. On Faust's own application, call `mount` before the
server starts: aiohttp serves the first route that matches, and Faust has a page of its own at `/`.
"""

import asyncio
import base64
import hashlib
import re
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import msgspec
import structlog
from aiohttp import web

from schemas.patterns import id_mistake
from streams.health import CONTENT_TYPE
from streams.ops.lag import total
from streams.signin.guard import READER, PageGuard
from streams.signin.lookups import digest_of, lookup_key
from streams.signin.pages import WORKER_PAGES, Page
from streams.worker.change_stream import RETRY_S, ChangeReaders, TooManyReaders
from streams.worker.status import NotHere
from streams.worker.view import BEAT_LIMIT_S, WorkerView

log = structlog.get_logger(__name__)

FOLLOWED = "/api/changes"


def mount(app: web.Application, view: WorkerView, pages: Sequence[Page] = WORKER_PAGES) -> PageGuard:
    """Adds `pages` to `app`, with a guard before them; nothing else of `app` answers.

    Raises:
        WrongSetting: the settings of the sign-in are not what they must be.
    """
    guard, handlers = PageGuard(view.settings, pages), _Pages(view)
    guard.install(app)
    by_path = {
        "/": handlers.dashboard,
        "/live": handlers.live,
        "/ready": handlers.ready,
        "/metrics": handlers.metrics,
        "/api/worker": handlers.worker,
        "/api/lag": handlers.lag,
        "/api/segments": handlers.segments,
        "/api/shadow": handlers.shadow,
        FOLLOWED: handlers.changes,
        "/api/customers/{id}": handlers.customer,
    }
    for page in pages:
        path = page.path.replace("{id}", "{id:(?s:.+)}")
        app.router.add_get(path, by_path[page.path], allow_head=page.path != FOLLOWED)
    # Streams of changes never end by themselves, and a server that stops waits a minute for open connections.
    app.on_shutdown.append(handlers.stop)
    return guard


async def serve_customer_pages(view: WorkerView) -> None:
    """Serves all pages at `web_customer_port` until cancelled; returns at once where there is no such port.

    Raises:
        OSError: the port is taken, or this machine has no such address.
    """
    settings = view.settings
    if settings.web_customer_port == 0:
        return
    app = web.Application()
    mount(app, view)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, settings.web_host, settings.web_customer_port).start()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()


class _Pages:
    def __init__(self, view: WorkerView) -> None:
        self._view, self._key = view, lookup_key(view.settings)
        self._readers = ChangeReaders(view.changes, view.settings.web_readers)
        self._dashboard = files("streams.worker").joinpath("dashboard.html").read_text("utf-8")
        self._dashboard_policy = dashboard_policy(self._dashboard)

    async def stop(self, app: web.Application) -> None:
        self._view.changes.close()

    async def dashboard(self, request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": self._dashboard_policy}
        return web.Response(text=self._dashboard, content_type="text/html", charset="utf-8", headers=headers)

    async def live(self, request: web.Request) -> web.Response:
        age_s = self._view.heartbeat_age_s()
        alive = age_s <= BEAT_LIMIT_S
        return _json({"live": alive, "heartbeat_age_s": round(age_s, 3)}, status=200 if alive else 503)

    async def ready(self, request: web.Request) -> web.Response:
        reasons = self._view.not_ready()
        body = {
            "ready": not reasons,
            "reasons": [reason._asdict() for reason in reasons],
            "notes": [note._asdict() for note in self._view.notes()],
        }
        return _json(body, status=503 if reasons else 200)

    async def metrics(self, request: web.Request) -> web.Response:
        return web.Response(body=self._view.metrics.render(), headers={"Content-Type": CONTENT_TYPE})

    async def worker(self, request: web.Request) -> web.Response:
        view, status = self._view, self._view.worker.status()
        events_per_s, changes_per_s = view.rates()
        latency = view.metrics.latency
        body = {
            "app_id": view.settings.app_id,
            "shows_changes": _shows_changes(request),
            "started_at_s": view.started_at_s,
            "ready": not (reasons := view.not_ready()),
            "reasons": [reason._asdict() for reason in reasons],
            "notes": [note._asdict() for note in view.notes()],
            "assigned": status.assigned,
            "partitions": view.settings.partitions,
            "customers": status.customers,
            "versions": status.versions,
            "texts_waiting": status.texts_waiting,
            "partition_times": {str(number): at for number, at in status.partition_times.items()},
            "events": view.metrics.events,
            "events_per_s": round(events_per_s, 1),
            "changes": view.metrics.changes,
            "changes_per_s": round(changes_per_s, 1),
            "latency_p50_s": latency.percentile(0.5),
            "latency_p99_s": latency.percentile(0.99),
            "texts": view.metrics.texts,
            "learners": view.metrics.learner_rows(),
        }
        return _json(body)

    async def lag(self, request: web.Request) -> web.Response:
        monitor = self._view.lag
        rows = list(monitor.lags.values())
        records, seconds = total(rows)
        return _json(
            {
                "group": self._view.settings.consumer_group,
                "records": records,
                "seconds": seconds,
                "sampled_at_s": monitor.sampled_at,
                "sample_age_s": round(monitor.age_s, 1),
                "fresh": monitor.fresh,
                "error": monitor.error,
                "partitions": [row._asdict() for row in rows],
            }
        )

    async def segments(self, request: web.Request) -> web.Response:
        status = self._view.worker.status()
        body = {
            "partitions": status.assigned,
            "customers": status.customers,
            "segments": self._view.segments.by_dimension(),
        }
        return _json(body)

    async def shadow(self, request: web.Request) -> web.Response:
        """The shadow policy beside the served one, in this worker's partitions; `policy` is null without a shadow."""
        status, comparison = self._view.worker.status(), self._view.worker.shadow()
        served = None if status.versions is None else status.versions.policy
        pairs = [] if comparison is None else [[*pair, count] for pair, count in comparison.pairs.items()]
        return _json(
            {
                "policy": None if comparison is None else comparison.policy,
                "served": served,
                "customers": 0 if comparison is None else comparison.customers,
                "elsewhere": 0 if comparison is None else comparison.elsewhere,
                "pairs": [
                    {"dimension": dimension, "current": current, "shadow": shadow, "customers": count}
                    for dimension, current, shadow, count in pairs
                ],
            }
        )

    async def customer(self, request: web.Request) -> web.Response:
        customer_id = request.match_info["id"]
        answer = self._standing(customer_id)
        digest = digest_of(customer_id, self._key)
        log.info("customer looked up", **_who(request), customer=digest, status=answer.status)
        return answer

    def _standing(self, customer_id: str) -> web.Response:
        if (mistake := id_mistake(customer_id)) is not None:
            return _json({"error": f"the customer id {mistake}"}, status=400)
        try:
            standing = self._view.worker.standing(customer_id)
        except NotHere as exc:
            return _json({"error": str(exc), "partition": exc.partition}, status=421)
        if standing is None:
            return _json({"error": "no customer of this id is known: never seen, or erased"}, status=404)
        return _json(standing)

    async def changes(self, request: web.Request) -> web.StreamResponse:
        """Each change as one event: `id` counts this worker's changes, `data` is the change's body.

        Query: `after` (or the header Last-Event-ID): the number to continue from; `most`: at most so many per second, the
        latest ones; `words=1`: with the cause and the reasons in words.
        """
        try:
            after, most = _number(request, "after"), _number(request, "most")
            number = _number(request, "Last-Event-ID", request.headers)
        except ValueError as exc:
            return _json({"error": str(exc)}, status=400)
        log.info("changes followed", **_who(request))
        number = after if number is None else number
        try:
            return await self._readers.serve(request, number, most, with_words=request.query.get("words") == "1")
        except TooManyReaders:
            text = f"{self._readers.present} readers follow already; come again later, or raise REGULARS_WEB_READERS"
            answer = _json({"error": text}, status=503)
            answer.headers["Retry-After"] = str(RETRY_S)
            return answer


def _who(request: web.Request) -> dict[str, str | None]:
    """Who asks, for the log: role and name, and from which address."""
    return {"who": str(request[READER]), "peer": request.remote}


def _shows_changes(request: web.Request) -> bool:
    """Whether whoever asks can follow the changes at this address."""
    page = next(page for page in WORKER_PAGES if page.path == FOLLOWED)
    is_here = any(resource.canonical == FOLLOWED for resource in request.app.router.resources())
    return is_here and page.is_open_to(request[READER].role)


def dashboard_policy(page: str) -> str:
    """The content security policy of the dashboard: its own script and style by their digests, and nothing else."""

    def digests(tag: str) -> str:
        texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        return " ".join(
            f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" for text in texts
        )

    return (
        f"default-src 'none'; script-src {digests('script')}; style-src {digests('style')}; connect-src 'self'; "
        "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


def _number(request: web.Request, name: str, source: Any = None) -> int | None:
    text = (request.query if source is None else source).get(name)
    if text is None:
        return None
    if not text.isdecimal():
        raise ValueError(f"{name} must be a whole number, not {text[:40]!r}")
    return int(text)


def _json(body: Any, status: int = 200) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(body),
        status=status,
        content_type="application/json",
    )

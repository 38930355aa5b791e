"""The worker's pages, on Faust's aiohttp application: health, metrics, the dashboard, and what the dashboard asks for.

Call `mount` before the server starts: aiohttp serves the first route that matches, and Faust has a page of its own at `/`.
"""

import asyncio
from importlib.resources import files
from typing import Any

import msgspec
from aiohttp import web

from schemas.changes import decode_change
from schemas.events import id_mistake
from streams import words
from streams.health import CONTENT_TYPE
from streams.ops.lag import total
from streams.worker.status import NotHere
from streams.worker.view import BEAT_LIMIT_S, WorkerView

# A comment line is sent after so long a silence, so that no proxy or browser closes the connection.
KEEP_ALIVE_S = 10.0
# With `most`, changes are sent in bursts of this length. A new reader starts so many changes back.
BURST_S = 0.25
BACKLOG = 40
DASHBOARD_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)


def mount(app: web.Application, view: WorkerView) -> None:
    """Adds every route of the contract to `app`."""
    pages = _Pages(view)
    app.router.add_get("/", pages.dashboard)
    app.router.add_get("/live", pages.live)
    app.router.add_get("/ready", pages.ready)
    app.router.add_get("/metrics", pages.metrics)
    app.router.add_get("/api/worker", pages.worker)
    app.router.add_get("/api/lag", pages.lag)
    app.router.add_get("/api/segments", pages.segments)
    app.router.add_get("/api/shadow", pages.shadow)
    app.router.add_get("/api/changes", pages.changes)
    app.router.add_get("/api/customers/{id:(?s:.+)}", pages.customer)
    # Streams of changes never end by themselves, and a server that stops waits a minute for open connections.
    app.on_shutdown.append(pages.stop)


class _Pages:
    def __init__(self, view: WorkerView) -> None:
        self._view = view
        self._dashboard = files("streams.worker").joinpath("dashboard.html").read_text("utf-8")

    async def stop(self, app: web.Application) -> None:
        self._view.changes.close()

    async def dashboard(self, request: web.Request) -> web.Response:
        headers = {"Content-Security-Policy": DASHBOARD_POLICY, "Cache-Control": "no-store"}
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
                "group": self._view.settings.app_id,
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
        feed = self._view.changes
        number = next((n for n in (number, after) if n is not None), max(0, feed.published - BACKLOG))
        if number > feed.published:  # it was counted by an earlier worker
            number = 0
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        with_words = request.query.get("words") == "1"
        burst = None if most is None else max(1, int(most * BURST_S))
        room = None if burst is None else BACKLOG
        try:
            while not feed.closed:
                changes = await feed.news(number, KEEP_ALIVE_S)
                if not changes:
                    if not feed.closed:
                        await response.write(b": still here\n\n")
                    continue
                number = changes[-1][0]
                for n, body in changes if room is None else changes[-room:]:
                    await response.write(b"id: %d\ndata: %b\n\n" % (n, _in_words(body) if with_words else body))
                room = burst
                if burst is not None:
                    await asyncio.sleep(BURST_S)
        except ConnectionResetError:
            pass  # the reader left
        return response


def _in_words(body: bytes) -> bytes:
    change = decode_change(body)
    worded: dict[str, Any] = msgspec.to_builtins(change)
    worded["words"] = {
        "cause": words.cause_words(change.cause),
        "reasons": [words.reason_words(reason) for reason in change.reasons],
        "instead": words.counterfactual_words(change.counterfactual, change.previous)
        if change.counterfactual is not None
        else None,
        "next": words.next_words(change.next),
    }
    return msgspec.json.encode(worded)


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
        headers={"Cache-Control": "no-store"},
    )

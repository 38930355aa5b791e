"""Laws of who may read which page, asked of a real server: every role, every page, every way to sign in."""

import base64
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from structlog.testing import capture_logs

from streams.app import scoring_app
from streams.settings import Settings
from streams.signin.guard import HEADERS
from streams.signin.pages import (
    HEALTH_PAGES,
    PAGES_WITHOUT_CUSTOMERS,
    READERS,
    ROLES,
    WORKER_PAGES,
    Content,
    Page,
    Role,
)
from streams.training.pages import TrainerView
from streams.training.pages import mount as mount_trainer
from streams.worker.web import mount
from streams.worker.wiring import ScoringWorker
from worker_pages import StatedWorker

ROOT = Path(__file__).parents[4]
TOKENS: dict[Role, str] = {"viewer": "v" * 32, "operator": "o" * 32}
OPEN_TO_ALL: dict[str, Any] = {"web_host": "0.0.0.0"}
WITH_TOKENS = OPEN_TO_ALL | {"web_tokens": f"viewer:{TOKENS['viewer']}\noperator/ada:{TOKENS['operator']}"}
BY_PROXY = OPEN_TO_ALL | {"web_trusted_header": "X-Forwarded-User"}


def bearer(token: str) -> dict[str, str]:
    """The header of a program that has this token."""
    return {"Authorization": f"Bearer {token}"}


def basic(token: str) -> dict[str, str]:
    """The header of a browser in which somebody typed this token as the password."""
    return {"Authorization": "Basic " + base64.b64encode(f"anybody:{token}".encode()).decode()}


@asynccontextmanager
async def pages_of(pages: tuple[Page, ...] = WORKER_PAGES, **settings: Any) -> AsyncIterator[TestClient[Any, Any]]:
    """A browser on the pages of a worker with these settings."""
    app = web.Application()
    mount(app, StatedWorker(**settings).view, pages)
    async with TestClient(TestServer(app)) as client:
        yield client


async def status(client: TestClient[Any, Any], path: str, **options: Any) -> int:
    """The status code of a page, whose body is not read."""
    async with client.get(path.format(id="ada%2F1"), **options) as answer:
        return answer.status


@pytest.mark.parametrize("probes_only", [False, True])
@pytest.mark.parametrize("role", [None, *ROLES])
@pytest.mark.parametrize("page", WORKER_PAGES, ids=lambda page: page.path)
async def test_each_role_reads_what_is_declared_and_nothing_else(
    page: Page, role: Role | None, probes_only: bool
) -> None:
    """The table of `streams.signin.pages`, cell by cell: 200, 401 without a token, 403 with one of another role."""
    headers = {} if role is None else bearer(TOKENS[role])
    refused = 401 if role is None else 403

    async with pages_of(**WITH_TOKENS, web_open="probes" if probes_only else "metrics") as client:
        answered = await status(client, page.path, headers=headers)

    assert answered == (200 if page.is_open_to(role, probes_only=probes_only) else refused)


def test_no_customer_is_shown_to_viewers_and_nothing_but_health_to_strangers() -> None:
    """What the contract says, so that the declaration above is not true of itself alone."""
    assert READERS[Content.CUSTOMERS] == ("operator",)
    assert {content for content, roles in READERS.items() if None in roles} == {Content.HEALTH, Content.METRICS}
    assert {page.path for page in WORKER_PAGES if page.content is Content.CUSTOMERS} == {
        "/api/changes",
        "/api/customers/{id}",
    }
    assert not Page("/metrics", Content.METRICS).is_open_to(None, probes_only=True)


def test_the_threat_model_shows_the_declared_table() -> None:
    """docs/threat-model.md has a row per page and a column per role, as the server has them."""
    text = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(/[^`]*)` \| (.*?) \| (.*?) \| (.*?) \|", text, re.MULTILINE)

    expected = {
        page.path: tuple("yes" if page.is_open_to(role) else "no" for role in (None, "viewer", "operator"))
        for page in WORKER_PAGES
    }
    assert {path: tuple(cells) for path, *cells in rows} == expected


@pytest.mark.parametrize(
    "path",
    [
        *("/table/", "/table/states/", "/table/states/ada/", "/router/", "/router/states/ada/"),
        *("/graph", "/stats/", "/performance/", "/nothing", "/api", "/api/", "/metrics/"),
    ],
)
@pytest.mark.parametrize("token", [None, "operator"])
async def test_nothing_else_answers(path: str, token: Role | None) -> None:
    """Not to an operator either."""
    async with pages_of(**WITH_TOKENS) as client:
        assert await status(client, path, headers={} if token is None else bearer(TOKENS[token])) == 404


async def test_a_route_that_is_not_declared_does_not_answer() -> None:
    """Faust adds pages of its own to the same application, and so may anybody; the declaration decides."""
    app = web.Application()
    mount(app, StatedWorker().view)

    async def show(request: web.Request) -> web.Response:
        return web.Response(text="a customer's state")

    app.router.add_get("/table/{name}/{key}/", show)
    app.router.add_post("/live", show)
    async with TestClient(TestServer(app)) as client:
        assert await status(client, "/table/states/ada/") == 404
        assert (await client.post("/live")).status == 405


async def test_faust_serves_no_page_of_its_own(tmp_path: Path) -> None:
    """Its table page gave the state of any customer to whoever asked. This is the application that a worker runs."""
    app = scoring_app(ScoringWorker(Settings(data_dir=tmp_path, cache_dir=tmp_path, web_port=6066)))
    app.web.init_server()

    routes = {resource.canonical for resource in app.web.web_app.router.resources()}

    assert routes == {page.path for page in WORKER_PAGES}
    async with TestClient(TestServer(app.web.web_app)) as client:
        for path in ("/table/", "/table/states/", "/table/states/ada/", "/router/", "/router/states/ada/"):
            assert await status(client, path) == 404
        assert await status(client, "/live") == 200
        assert "<title>Regulars</title>" in await (await client.get("/")).text()


@pytest.mark.parametrize(
    ("settings", "host", "answered"),
    [
        ({}, "127.0.0.1:6066", 200),
        ({}, "localhost", 200),
        ({}, "LOCALHOST:6066", 200),
        ({}, "[::1]:6066", 200),
        ({}, "evil.example", 403),
        ({}, "127.0.0.1.evil.example:6066", 403),
        ({}, "localhost.evil.example", 403),
        ({}, "10.0.0.7:6066", 403),
        ({}, "", 403),
        (OPEN_TO_ALL, "127.0.0.1:6066", 403),
        (OPEN_TO_ALL, "localhost", 403),
    ],
)
async def test_without_a_sign_in_only_a_loopback_name_on_a_loopback_address_is_answered(
    settings: dict[str, Any], host: str, answered: int
) -> None:
    """A site whose name was turned to 127.0.0.1 asks by its own name; health and metrics are open to all."""
    async with pages_of(**settings) as client:
        assert await status(client, "/api/customers/{id}", headers={"Host": host}) == answered
        assert await status(client, "/", headers={"Host": host}) == answered
        assert await status(client, "/metrics", headers={"Host": host}) == 200
        assert await status(client, "/live", headers={"Host": host}) == 200


async def test_a_sign_in_that_is_set_holds_on_a_loopback_address_too() -> None:
    """A proxy on the same machine asks 127.0.0.1 for everybody."""
    async with pages_of(**WITH_TOKENS | {"web_host": "127.0.0.1"}) as client:
        assert await status(client, "/api/worker") == 401


@pytest.mark.parametrize("host", ["evil.example", "shop.example.evil.example"])
async def test_a_name_that_is_not_listed_is_refused_with_a_token_too(host: str) -> None:
    """`REGULARS_WEB_HOSTS` names what pages may be asked by."""
    async with pages_of(**WITH_TOKENS, web_hosts="shop.example, ops.shop.example:6066") as client:
        token = bearer(TOKENS["viewer"])
        for name in ("shop.example", "ops.shop.example:1234", "127.0.0.1"):
            assert await status(client, "/api/worker", headers=token | {"Host": name}) == 200
        assert await status(client, "/api/worker", headers=token | {"Host": host}) == 403


@pytest.mark.parametrize("header", [bearer, basic])
async def test_a_token_counts_as_bearer_and_as_a_browsers_password(header: Callable[[str], dict[str, str]]) -> None:
    """Nothing but the whole token does."""
    async with pages_of(**WITH_TOKENS) as client:
        assert await status(client, "/api/worker", headers=header(TOKENS["viewer"])) == 200
        for wrong in ("", "v", "v" * 31, "v" * 33, "o" * 31 + "v", "ö" * 32):
            assert await status(client, "/api/worker", headers=header(wrong)) == 401


@pytest.mark.parametrize("header", ["Basic", "Basic ====", "Basic /w==", "Bearer", "Digest x", "Basic dmlld2Vy", "\t"])
async def test_a_header_that_is_no_sign_in_is_401_and_says_how(header: str) -> None:
    """Never a failure; the answer names both ways."""
    async with pages_of(**WITH_TOKENS) as client, client.get("/", headers={"Authorization": header}) as answer:
        assert answer.status == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer ")
        assert "Basic " in answer.headers["WWW-Authenticate"]


async def test_a_sign_in_in_front_names_who_asks() -> None:
    """Everybody whom it names has the role of the settings; without its header nobody is known."""
    named = {"X-Forwarded-User": "ada@shop.example"}
    async with pages_of(**BY_PROXY) as client:
        assert await status(client, "/api/worker", headers=named) == 200
        assert await status(client, "/api/changes", headers=named) == 403
        assert await status(client, "/api/worker") == 401
    async with pages_of(**BY_PROXY, web_trusted_role="operator") as client:
        assert await status(client, "/api/changes", headers=named) == 200


@pytest.mark.parametrize(
    "names", [["ada", "eve"], [""], ["a" * 129], ["a\u2028b"]], ids=["two", "empty", "too long", "not printable"]
)
async def test_a_name_that_may_not_be_the_proxys_is_nobody(names: list[str]) -> None:
    """A proxy that adds its header to the client's own sends two; nobody says which one is true."""
    async with pages_of(**BY_PROXY) as client:
        assert await status(client, "/api/worker", headers=[("X-Forwarded-User", name) for name in names]) == 401


async def test_the_header_counts_only_from_a_trusted_proxy() -> None:
    """Whoever reaches the port itself can send any header."""
    async with pages_of(**BY_PROXY, web_trusted_proxies="10.1.0.0/16, 192.0.2.1") as client:
        assert await status(client, "/api/worker", headers={"X-Forwarded-User": "ada"}) == 401


async def test_a_page_of_another_site_is_not_answered() -> None:
    """It could not read the answer, but it could keep every reader's place taken. A link to the dashboard works."""
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
    async with pages_of() as client:
        for site in ("cross-site", "same-site"):
            assert await status(client, "/api/changes", headers={"Sec-Fetch-Site": site}) == 403
        assert await status(client, "/", headers=link) == 200
        assert await status(client, "/api/changes", headers=link) == 403
        assert await status(client, "/api/worker", headers={"Sec-Fetch-Site": "same-origin"}) == 200


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/", {}),
        ("/metrics", {}),
        ("/api/changes", {}),
        ("/api/customers/nobody", {}),
        ("/none", {}),
        ("/", {"Host": "x"}),
    ],
)
async def test_every_answer_has_the_headers_of_safety(path: str, headers: dict[str, str]) -> None:
    """Answers, streams and refusals: nothing is stored, sniffed or framed, and the server's versions are not told."""
    async with pages_of() as client, client.get(path, headers=headers) as answer:
        for name in HEADERS:
            assert name in answer.headers
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Server"] == "regulars"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


async def test_every_look_up_is_logged_with_who_asked_and_without_the_customer() -> None:
    """Role, name and address, the status, and a keyed digest, which is the same for the same customer."""
    with capture_logs() as logs:
        async with pages_of(**WITH_TOKENS) as client:
            for path in ("/api/customers/ada%2F1", "/api/customers/ada%2F1", "/api/customers/nobody"):
                await status(client, path, headers=bearer(TOKENS["operator"]))

    lines = [line for line in logs if line["event"] == "customer looked up"]
    assert [(line["who"], line["status"], line["peer"]) for line in lines] == [
        ("operator/ada", 200, "127.0.0.1"),
        ("operator/ada", 200, "127.0.0.1"),
        ("operator/ada", 404, "127.0.0.1"),
    ]
    assert lines[0]["customer"] == lines[1]["customer"] != lines[2]["customer"]
    assert "ada/1" not in str(logs)
    assert "nobody" not in str(logs)


async def test_whoever_follows_the_changes_is_logged() -> None:
    """The stream shows customer ids."""
    with capture_logs() as logs:
        async with pages_of(**WITH_TOKENS) as client:
            await status(client, "/api/changes", headers=bearer(TOKENS["operator"]))

    assert [line["who"] for line in logs if line["event"] == "changes followed"] == ["operator/ada"]


async def test_refusals_are_logged_once_in_a_while_and_without_what_was_sent() -> None:
    """A guesser fills no log; the line has the declared path, and neither token nor customer."""
    with capture_logs() as logs:
        async with pages_of(**WITH_TOKENS) as client:
            for number in range(50):
                await status(client, "/api/customers/anna", headers=bearer(f"guess-{number}"))

    (line,) = logs
    assert (line["page"], line["peer"], line["log_level"]) == ("/api/customers/{id}", "127.0.0.1", "warning")
    assert "guess" not in str(logs)
    assert "anna" not in str(logs)


async def test_customers_on_a_port_of_their_own_are_not_on_the_other() -> None:
    """The worker's port then has health, metrics and figures, whoever asks."""
    async with pages_of(PAGES_WITHOUT_CUSTOMERS, **WITH_TOKENS) as client:
        token = bearer(TOKENS["operator"])
        assert await status(client, "/api/changes", headers=token) == 404
        assert await status(client, "/api/customers/{id}", headers=token) == 404
        assert (await (await client.get("/api/worker", headers=token)).json())["shows_changes"] is False


@pytest.mark.parametrize(("role", "shows"), [("viewer", False), ("operator", True)])
async def test_the_dashboard_learns_whether_it_may_show_changes(role: Role, shows: bool) -> None:
    """So that a viewer is told why there are none."""
    async with pages_of(**WITH_TOKENS) as client, client.get("/api/worker", headers=bearer(TOKENS[role])) as answer:
        assert (await answer.json())["shows_changes"] is shows


@pytest.mark.parametrize(("web_open", "answered"), [("metrics", 200), ("probes", 401)])
async def test_a_trainer_guards_its_pages_the_same_way(web_open: str, answered: int) -> None:
    """It has health and metrics alone."""
    app = web.Application()
    mount_trainer(app, TrainerView(), Settings(**WITH_TOKENS, web_open=web_open))  # type: ignore[arg-type]
    async with TestClient(TestServer(app)) as client:
        assert await status(client, "/live") == 200
        assert await status(client, "/metrics") == answered
        assert await status(client, "/metrics", headers=bearer(TOKENS["viewer"])) == 200
        assert await status(client, "/api/worker", headers=bearer(TOKENS["operator"])) == 404
    assert {page.path for page in HEALTH_PAGES} == {"/live", "/ready", "/metrics"}

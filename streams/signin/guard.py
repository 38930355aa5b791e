"""The guard before every page of a process: only declared pages answer, and only to whom they are open."""

import time
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from streams.keys import is_loopback
from streams.settings import Settings
from streams.signin.pages import Page
from streams.signin.readers import SignIn, host_name
from streams.signin.tokens import Reader

log = structlog.get_logger(__name__)

# Where the handler of a page finds who asks; absent on a page that is open to everybody.
READER = web.RequestKey("reader", Reader)
ON_LOOPBACK = Reader("operator", "loopback")

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "regulars",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}
# So often at most, a refusal is logged; the next line says how many were not.
REFUSALS_LOGGED_EVERY_S = 10.0


class Refusal(NamedTuple):
    """Why a page is not shown: a status code, the reason and what to do."""

    status: int
    why: str
    action: str


UNKNOWN_PAGE = Refusal(404, "there is no such page", "see docs/operations.md, section 7")
ONLY_READING = Refusal(405, "pages are only read", "use GET")
OTHER_SITE = Refusal(403, "a page of another site asked", "open this address itself")
OTHER_NAME = Refusal(403, "asked by a name that is not this server's", "set REGULARS_WEB_HOSTS")
NOT_LOOPBACK = Refusal(
    403,
    "without a sign-in this page answers only on a loopback address, asked by its name",
    "ask 127.0.0.1 on the same machine, or set REGULARS_WEB_TOKEN_FILE or REGULARS_WEB_TRUSTED_HEADER",
)
NO_SIGN_IN = Refusal(401, "a token is wanted", "send `Authorization: Bearer TOKEN`, or the token as a password")
OTHER_ROLE = Refusal(403, "the role of this token does not read this page", "use a token of the role operator")


class PageGuard:
    """Decides for each request. Use `install` once per application, before it starts.

    Raises:
        WrongSetting: the settings of the sign-in are not what they must be.
    """

    def __init__(self, settings: Settings, pages: Sequence[Page]) -> None:
        self._pages = {page.path: page for page in pages}
        self._probes_only = settings.web_open == "probes"
        self._bound_to_loopback = is_loopback(settings.web_host)
        self._hosts = frozenset(host_name(each.strip()) for each in settings.web_hosts.split(",") if each.strip())
        self.sign_in = SignIn(settings)
        self._refused, self._logged_at = 0, -REFUSALS_LOGGED_EVERY_S

    @property
    def answers_nobody(self) -> bool:
        """Whether no request whatever can read the pages that need a sign-in."""
        return not self._bound_to_loopback and not self.sign_in.is_set

    def install(self, app: web.Application) -> None:
        """Guards every route of `app`, those that are added later too."""
        app.middlewares.insert(0, self._middleware())
        app.on_response_prepare.append(_add_headers)

    def judge(self, request: web.Request) -> Reader | Refusal | None:
        """Who may read the page, or why it is not shown; None: it is open to everybody."""
        page = self._page(request)
        if page is None:
            return UNKNOWN_PAGE
        if request.method not in ("GET", "HEAD"):
            return ONLY_READING
        if page.is_open_to(None, probes_only=self._probes_only):
            return None
        if _is_from_another_site(request, page):
            return OTHER_SITE
        name = host_name(request.host)
        if not self.sign_in.is_set:
            return ON_LOOPBACK if self._bound_to_loopback and is_loopback(name) else NOT_LOOPBACK
        if self._hosts and name not in self._hosts and not is_loopback(name):
            return OTHER_NAME
        reader = self.sign_in.reader(request)
        if reader is None:
            return NO_SIGN_IN
        return reader if page.is_open_to(reader.role) else OTHER_ROLE

    def _page(self, request: web.Request) -> Page | None:
        resource = request.match_info.route.resource
        return None if resource is None else self._pages.get(resource.canonical)

    def _middleware(self) -> Middleware:
        async def guard(request: web.Request, handler: Handler) -> web.StreamResponse:
            verdict = self.judge(request)
            if isinstance(verdict, Refusal):
                return self._refuse(request, verdict)
            if verdict is not None:
                request[READER] = verdict
            return await handler(request)

        return web.middleware(guard)

    def _refuse(self, request: web.Request, refusal: Refusal) -> web.Response:
        page = self._page(request)
        if page is not None:
            self._log(request, page, refusal)
        headers = {}
        if refusal.status == NO_SIGN_IN.status:
            headers["WWW-Authenticate"] = 'Bearer realm="regulars", Basic realm="regulars: the token is the password"'
        body = msgspec.json.encode({"error": f"{refusal.why}; {refusal.action}"})
        return web.Response(body=body, status=refusal.status, content_type="application/json", headers=headers)

    def _log(self, request: web.Request, page: Page, refusal: Refusal) -> None:
        """Logs the declared path, never the asked one, which may hold a customer's id."""
        self._refused += 1
        now = time.monotonic()
        if now - self._logged_at < REFUSALS_LOGGED_EVERY_S:
            return
        log.warning("a page was refused", page=page.path, peer=request.remote, why=refusal.why, refusals=self._refused)
        self._refused, self._logged_at = 0, now


async def _add_headers(request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        if name == "Server":
            response.headers[name] = value
        else:
            response.headers.setdefault(name, value)


def _is_from_another_site(request: web.Request, page: Page) -> bool:
    """Whether a browser says that another site's page asks; a link to the dashboard may be followed from anywhere."""
    if request.headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin"):
        return False
    return page.path != "/" or request.headers.get("Sec-Fetch-Mode") != "navigate"

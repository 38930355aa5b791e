"""A fuzz of the worker's pages: whatever is asked for, the answer is none of a defect."""

from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer
from hypothesis import given, settings
from hypothesis import strategies as st
from yarl import URL

from streams.worker.web import mount
from worker_pages import StatedWorker

escapes = st.sampled_from(
    ["%00", "%0a", "%2F", "%ff", "%C3%A4", "%", "..", "//", "__faust%00offset__", "\u00e4", "%ed%a0%80"]
)
pieces = st.sampled_from(["api", "customers", "changes", "table", "router", "live", "metrics", "ada", ""]) | escapes
paths = st.lists(pieces, max_size=5).map("/".join) | st.lists(escapes | st.text("ab/%?#&=", max_size=5)).map("".join)
queries = st.dictionaries(
    st.sampled_from(["after", "most", "words", "x"]),
    st.sampled_from(["0", "-1", "9" * 5000, "\u00b2", "", "1e9", "%ff"]),
)
EXPECTED = {200, 301, 302, 307, 308, 400, 401, 403, 404, 405, 414, 421, 429, 431, 503}


requests = st.tuples(paths, st.sampled_from(["", "api/customers/"]), queries, st.sampled_from(["GET", "GET", "POST"]))


@settings(max_examples=30)
@given(st.lists(requests, min_size=1, max_size=8))
async def test_whatever_is_asked_the_worker_answers(asked: list[tuple[str, str, dict[str, str], str]]) -> None:
    """Never 500: the page, or why there is none."""
    app = web.Application()
    mount(app, StatedWorker().view)
    async with TestServer(app) as server, ClientSession() as session:
        for path, prefix, query, method in asked:
            url = URL(f"{server.make_url('/')}{prefix}{path.lstrip('/')}", encoded=True).update_query(query)
            if "api/changes" in str(url):
                url = url.update_query(most="x")  # it would never end
            async with session.request(method, url, allow_redirects=False) as answer:
                assert answer.status in EXPECTED

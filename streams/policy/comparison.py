"""The comparison of the shadow policy with the served one, added up over all workers."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import aiohttp

# A worker answers within its longest chunk; one that does not is gone or stuck.
TIMEOUT_S = 10.0


class NoComparison(Exception):
    """The workers' figures cannot be added up; the message says why, and the way out."""


class Compared(NamedTuple):
    """The figures of all workers together: customers judged, and how many the shadow policy puts elsewhere."""

    policy: str
    served: str
    customers: int
    elsewhere: int
    pairs: Counter[tuple[str, str, str]]  # dimension, served segment ("": none yet), segment of the shadow policy

    def rows(self) -> list[dict[str, Any]]:
        """The pairs as rows; the pair with most customers first."""
        return [
            {"dimension": dimension, "current": current, "shadow": shadow, "customers": count}
            for (dimension, current, shadow), count in self.pairs.most_common()
        ]


async def ask(workers: Sequence[str], headers: Mapping[str, str]) -> Compared:
    """The figures of the workers at these addresses (`http://HOST:PORT`), added up; `headers` hold the token, if any.

    Raises:
        NoComparison: a worker does not answer, has no shadow policy, or compares other policies than the rest.
    """
    timeout = aiohttp.ClientTimeout(TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, headers=headers) as session:
        pages = await asyncio.gather(*(_page(session, worker) for worker in workers))
    return added(dict(zip(workers, pages, strict=True)))


def added(pages: dict[str, dict[str, Any]]) -> Compared:
    """The sum of the workers' pages (`/api/shadow`) by address. Raises as `ask`."""
    without = [worker for worker, page in pages.items() if page["policy"] is None]
    if without:
        raise NoComparison(f"{without[0]} has no shadow policy; `regulars policy shadow FILE` sets one")
    kinds = {(page["policy"], page["served"]) for page in pages.values()}
    if len(kinds) > 1:
        kinds_text = ", ".join(f"{policy} with {served}" for policy, served in sorted(kinds))
        raise NoComparison(
            f"workers compare different policies ({kinds_text}); one of them is about to take the newer one"
        )
    (policy, served) = kinds.pop()
    pairs: Counter[tuple[str, str, str]] = Counter()
    for page in pages.values():
        for row in page["pairs"]:
            pairs[row["dimension"], row["current"], row["shadow"]] += row["customers"]
    customers = sum(page["customers"] for page in pages.values())
    return Compared(policy, served, customers, sum(page["elsewhere"] for page in pages.values()), pairs)


def as_text(compared: Compared) -> str:
    """For a person: the sum, then the pairs that differ, the one with most customers first."""
    share = compared.elsewhere / compared.customers if compared.customers else 0.0
    first = (
        f"{compared.policy} beside {compared.served}: {compared.customers:,} customers judged since it was set, "
        f"{compared.elsewhere:,} would stand elsewhere ({share:.1%})"
    )
    rows = [
        f"    {row['customers']:>9,}  {row['dimension']}: {row['shadow']} instead of {row['current'] or '(new)'}"
        for row in compared.rows()
        if row["current"] != row["shadow"]
    ]
    return "\n".join([first, *rows])


async def _page(session: aiohttp.ClientSession, worker: str) -> dict[str, Any]:
    url = f"{worker.rstrip('/')}/api/shadow"
    try:
        async with session.get(url) as answer:
            if answer.status in (401, 403):
                raise NoComparison(f"{worker} wants a token (status {answer.status}); set REGULARS_WEB_TOKEN_FILE")
            answer.raise_for_status()
            page: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise NoComparison(
            f"{worker} does not answer ({type(exc).__name__}); --worker names the address of a worker's pages"
        ) from exc
    return page

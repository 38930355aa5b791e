"""What workers say of the shadow policy, added up."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import aiohttp

# A worker answers within its longest chunk; one that doesn't is gone or stuck.
TIMEOUT_S = 10.0


class NoComparison(Exception):
    """There is nothing to add up; the message says why and the way out."""


class Compared(NamedTuple):
    """All workers together."""

    policy: str
    served: str
    customers: int
    elsewhere: int
    pairs: Counter[tuple[str, str, str]]  # dimension, where they stand ("": nowhere yet), where the shadow has them

    def rows(self) -> list[dict[str, Any]]:
        """The pairs, most customers first."""
        return [
            {"dimension": dimension, "current": current, "shadow": shadow, "customers": count}
            for (dimension, current, shadow), count in self.pairs.most_common()
        ]


async def ask(workers: Sequence[str]) -> Compared:
    """What the workers at these addresses (`http://HOST:PORT`) have compared.

    Raises:
        NoComparison: one doesn't answer, has no shadow, or another than the others.
    """
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(TIMEOUT_S)) as session:
        found = await asyncio.gather(*(_page(session, worker) for worker in workers))
    return added(dict(zip(workers, found, strict=True)))


def added(pages: dict[str, dict[str, Any]]) -> Compared:
    """The sum of `/api/shadow` of each worker. Raises as `ask`."""
    without = [worker for worker, page in pages.items() if page["policy"] is None]
    if without:
        raise NoComparison(f"{without[0]} has no shadow policy; `regulars policy shadow FILE` sets one")
    kinds = {(page["policy"], page["served"]) for page in pages.values()}
    if len(kinds) > 1:
        said = ", ".join(f"{policy} with {served}" for policy, served in sorted(kinds))
        raise NoComparison(f"workers compare different policies ({said}); one of them is about to take the newer")
    (policy, served) = kinds.pop()
    pairs: Counter[tuple[str, str, str]] = Counter()
    for page in pages.values():
        for row in page["pairs"]:
            pairs[row["dimension"], row["current"], row["shadow"]] += row["customers"]
    customers = sum(page["customers"] for page in pages.values())
    return Compared(policy, served, customers, sum(page["elsewhere"] for page in pages.values()), pairs)


def told(found: Compared) -> str:
    """For a person: the sum, then who would stand elsewhere, most first."""
    share = found.elsewhere / found.customers if found.customers else 0.0
    first = (
        f"{found.policy} beside {found.served}: {found.customers:,} customers judged since it was set, "
        f"{found.elsewhere:,} would stand elsewhere ({share:.1%})"
    )
    rows = [
        f"    {row['customers']:>9,}  {row['dimension']}: {row['shadow']} instead of {row['current'] or '(new)'}"
        for row in found.rows()
        if row["current"] != row["shadow"]
    ]
    return "\n".join([first, *rows])


async def _page(session: aiohttp.ClientSession, worker: str) -> dict[str, Any]:
    url = f"{worker.rstrip('/')}/api/shadow"
    try:
        async with session.get(url) as answer:
            answer.raise_for_status()
            page: dict[str, Any] = await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
        raise NoComparison(
            f"{worker} doesn't say ({type(exc).__name__}); --worker names where workers' pages are"
        ) from exc
    return page

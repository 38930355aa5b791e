"""What each page shows and which role may read it. The servers and their tests read this one declaration.

Roles: `viewer` reads figures of the shop, `operator` everything. A page that is not declared does not answer.
"""

from enum import StrEnum
from typing import Literal, NamedTuple, get_args

Role = Literal["viewer", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)


class Content(StrEnum):
    """What a page shows, from the least to the most."""

    HEALTH = "health"  # whether a process is well
    METRICS = "metrics"  # its counters
    SHOP = "shop"  # figures and names of segments, no customer
    CUSTOMERS = "customers"  # customer ids and what is known of them


# None: whoever asks, without a sign-in.
READERS: dict[Content, tuple[Role | None, ...]] = {
    Content.HEALTH: (None, "viewer", "operator"),
    Content.METRICS: (None, "viewer", "operator"),
    Content.SHOP: ("viewer", "operator"),
    Content.CUSTOMERS: ("operator",),
}


class Page(NamedTuple):
    """One page.

    Attributes:
        path: as aiohttp names its route, with `{id}` for a part that varies.
        content: what it shows.
    """

    path: str
    content: Content

    def is_open_to(self, role: Role | None, *, probes_only: bool = False) -> bool:
        """Whether `role` may read it; `probes_only`: metrics are closed to whoever has not signed in."""
        if role is None and probes_only and self.content is Content.METRICS:
            return False
        return role in READERS[self.content]


HEALTH_PAGES = (Page("/live", Content.HEALTH), Page("/ready", Content.HEALTH), Page("/metrics", Content.METRICS))
WORKER_PAGES = (
    *HEALTH_PAGES,
    Page("/", Content.SHOP),
    Page("/api/worker", Content.SHOP),
    Page("/api/lag", Content.SHOP),
    Page("/api/segments", Content.SHOP),
    Page("/api/shadow", Content.SHOP),
    Page("/api/changes", Content.CUSTOMERS),
    Page("/api/customers/{id}", Content.CUSTOMERS),
)
# What stays at the worker's port where the pages of customers have one of their own.
PAGES_WITHOUT_CUSTOMERS = tuple(page for page in WORKER_PAGES if page.content is not Content.CUSTOMERS)

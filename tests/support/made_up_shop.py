"""A made-up shop as records: changes with repeats and erasures, standings that fold them, purchases sent twice or late."""

import random
from datetime import UTC, datetime
from typing import NamedTuple

from msgspec.structs import replace

from schemas.changes import Change, Contribution, Next, PolicyCause, SilenceCause, Standing
from schemas.events import Purchase
from schemas.examples import CHANGE, STANDING
from schemas.times import DAY_S, from_rfc3339, to_rfc3339
from streams.report.shop_tally import ShopTally

BEGIN_DAY, DAYS = 19_844, 40  # from 2024-05-01
SEGMENTS = {"lifecycle": ["prospect", "active", "at_risk"], "value": ["low", "mid", "high"]}
FEATURES = ("recency_days", "spend", "policy", "others")


class MadeUpShop(NamedTuple):
    """The records of one partition, each list in the order of its topic."""

    standings: list[Standing]
    changes: list[Change]
    purchases: list[Purchase]


def made_up(seed: int, customers: int = 25) -> MadeUpShop:
    """A shop from a seed."""
    rnd = random.Random(seed)
    shop = MadeUpShop([], [], [])
    for n in range(customers):
        name = f"c{n:03d}"
        changes = _changes(rnd, name)
        purchases = _purchases(rnd, name, changes)
        if rnd.random() < 0.85:  # else erased: nobody stands there, and the log still has their moves
            shop.standings.append(_standing(rnd, name, changes, purchases))
        again = changes[: rnd.randrange(len(changes))] if rnd.random() < 0.3 else []
        shop.changes.extend(changes + again)
        shop.purchases.extend(purchases)
    rnd.shuffle(shop.standings)
    return shop


def tallied(shops: list[MadeUpShop], whole: bool = True) -> ShopTally:
    """The tally of shops, a partition each."""
    tally = ShopTally()
    for shop in shops:
        for standing in shop.standings:
            tally.standing(standing)
        for change in shop.changes:
            tally.change(change)
        for purchase in shop.purchases:
            tally.purchase(purchase)
        tally.end_partition(whole)
    return tally


def _changes(rnd: random.Random, name: str) -> list[Change]:
    at = BEGIN_DAY * DAY_S + rnd.randrange(5 * 86_400)
    changes: list[Change] = []
    held: dict[str, str | None] = dict.fromkeys(SEGMENTS)
    for _ in range(rnd.randrange(2, 12)):
        at += rnd.choice((0, 3600, rnd.randrange(6 * 86_400)))
        if rnd.random() < 0.05:
            held = dict.fromkeys(SEGMENTS)  # erased and back
        dimension = "lifecycle" if held["lifecycle"] is None else "value" if held["value"] is None else None
        dimension = dimension or rnd.choice(list(SEGMENTS))
        current = rnd.choice([each for each in SEGMENTS[dimension] if each != held[dimension]])
        number = len(changes) + 1
        cause = SilenceCause(to_rfc3339(at)) if rnd.random() < 0.5 else PolicyCause("p-1")
        reasons = tuple(
            Contribution(feature, 1.0, rnd.choice((-1, 1)) * (i + 1.0))
            for i, feature in enumerate(rnd.sample(FEATURES, 3))
        )
        changes.append(
            replace(
                CHANGE, change_id=f"{name}:{number}", customer_id=name, sequence=number, dimension=dimension,
                previous=held[dimension], current=current, changed_at=to_rfc3339(at), cause=cause, reasons=reasons,
            )
        )  # fmt: skip
        held[dimension] = current
    while missing := [dimension for dimension, segment in held.items() if segment is None]:
        number, dimension = len(changes) + 1, missing[0]
        held[dimension] = SEGMENTS[dimension][0]
        changes.append(
            replace(
                CHANGE, change_id=f"{name}:{number}", customer_id=name, sequence=number, dimension=dimension,
                previous=None, current=SEGMENTS[dimension][0], changed_at=to_rfc3339(at),
                cause=PolicyCause("p-1"), reasons=(),
            )
        )  # fmt: skip
    return changes


def _purchases(rnd: random.Random, name: str, changes: list[Change]) -> list[Purchase]:
    purchases: list[Purchase] = []
    for n in range(rnd.randrange(6)):
        at = BEGIN_DAY * DAY_S + rnd.randrange(DAYS * 86_400)
        if rnd.random() < 0.3:  # at the very second of a move
            at = from_rfc3339(rnd.choice(changes).changed_at)
        purchases.append(
            Purchase(
                f"p{n}",
                name,
                datetime.fromtimestamp(at, UTC),
                "refund" if rnd.random() < 0.2 else "purchase",
                "o",
                rnd.randrange(1, 50_000),
                "GBP" if rnd.random() < 0.9 else "EUR",
            )
        )
        if rnd.random() < 0.2:
            purchases.append(rnd.choice(purchases))  # the producer's retry
    return purchases


def _standing(rnd: random.Random, name: str, changes: list[Change], purchases: list[Purchase]) -> Standing:
    segments = {change.dimension: change.current for change in changes}
    since = {change.dimension: change.changed_at for change in changes}
    bought = [each.event_time.timestamp() for each in purchases if each.type == "purchase"]
    profile = replace(
        STANDING.profile,
        spend_minor=rnd.randrange(100_000),
        refunded_minor=rnd.randrange(1_000),
        last_purchase_at=to_rfc3339(max(bought)) if bought else None,
    )
    coming = None
    if rnd.random() < 0.8:
        dimension = rnd.choice(list(SEGMENTS))
        at = (BEGIN_DAY + DAYS + rnd.randrange(-2, 30)) * DAY_S + rnd.randrange(86_400)
        coming = Next(to_rfc3339(at), dimension, rnd.choice(SEGMENTS[dimension]))
    return replace(
        STANDING, customer_id=name, sequence=len(changes), segments=segments, since=since, profile=profile, next=coming,
        scores={"expected_spend_90d": rnd.randrange(10_000) / 64},
        ranks={d: SEGMENTS[d].index(s) for d, s in segments.items()},
        as_of=to_rfc3339((BEGIN_DAY + DAYS) * DAY_S - rnd.randrange(1, 86_400)),
    )  # fmt: skip

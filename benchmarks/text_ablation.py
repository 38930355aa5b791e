"""Does it help the forecasts to hear texts? Two histories, each with and without, on the same rows.

    REGULARS_SHARED=<folder of data/> python benchmarks/text_ablation.py online-retail --work DIR
    python benchmarks/text_ablation.py simulated --work DIR

`online-retail`: what they buy is text. An invoice's distinct item descriptions are encoded (the packaged MiniLM, cached like
any text), averaged, projected to 16 numbers and read with the purchase; pooled as texts are, with a half-life of 60 days.
`simulated`: the synthetic shop's reviews and mails, whose words depend on a satisfaction that also decides who leaves.

    without     nothing is read
    weight      zeros are read: what the weight of the pool alone adds (it is a decayed number of purchases or texts)
    sentiment   sentiment alone (simulated only)
    text        the product's projection 384 -> 16, and sentiment where there is one
    components  the 16 principal components of the catalogue's descriptions instead (online-retail only)

Each variant goes through the backtest and leaves its forecasts in DIR (one that is there is not made again: half a minute
each). Then: paired differences to `without` at 30 days, with standard errors by bootstrap over customers.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.table import Table
from scipy.stats import rankdata

from models.features import FEATURE_SET, NAMES
from models.learning.backtest import History, Record, forecasts_over
from models.learning.learner import Learner
from models.policy import Rules, load
from models.scores import PriorScorer
from models.state import Reading
from models.text.directory import open_directory
from models.text.head import head_of
from models.text.projection import DIM, project
from models.text.sentiment import ANCHORS, AnchorSentiment
from schemas.events import Event, Purchase, Review, decode
from schemas.states import NEVER
from schemas.times import DAY_S, from_rfc3339
from streams.settings import Settings
from streams.sources.registry import open_dataset
from streams.sources.shop import ShopPlan, SimulatedShop
from streams.teaching.vectors import vectors_of

VARIANTS = {
    "online-retail": ("without", "weight", "text", "components"),
    "simulated": ("without", "weight", "sentiment", "text"),
}
DRAWS = 200
HORIZON_S = 30 * DAY_S
PLAN = ShopPlan(seed=0, customers=2_500, days=480, end_s=from_rfc3339("2024-06-01T00:00:00Z"))


def texts_of(event: Event) -> list[str]:
    """What an event says: the distinct descriptions of what was bought, or what was written."""
    if isinstance(event, Purchase) and event.type == "purchase":
        return sorted({item.description.strip() for item in event.items or () if item.description} - {""})
    return [event.text] if isinstance(event, Review) and event.text else []


def simulated_texts_of(event: Event) -> list[str]:
    """What was written alone: descriptions are another question."""
    return texts_of(event) if isinstance(event, Review) else []


def reader(variant: str, data: str, records: Iterable[Record]) -> Callable[[Event], Reading | None]:
    """What an event says under `variant`."""
    said = simulated_texts_of if data == "simulated" else texts_of
    if variant == "without":
        return lambda _: None
    nothing = Reading((0.0,) * DIM, 0.0)
    if variant == "weight":
        return lambda event: nothing if said(event) else None
    places: dict[str, int] = {}
    for record in records:
        for text in said(decode(record.topic, record.key, record.value, NEVER)):
            places.setdefault(text, len(places))
    texts, directory, settings = list(places), open_directory(), Settings()
    vectors = vectors_of(texts, directory, settings)
    Console(stderr=True).print(f"{len(texts):,} distinct texts")
    short = project(vectors)
    if variant == "components":
        centred = vectors - vectors.mean(axis=0)
        short = centred @ np.linalg.svd(centred, full_matrices=False)[2][:DIM].T
    if variant == "sentiment":
        short = np.zeros_like(short)
    moods = np.zeros(len(texts))
    if data == "simulated":
        head = head_of(directory, settings.sentiment) or AnchorSentiment(vectors_of(ANCHORS, directory, settings))
        moods = head.score(texts, vectors).astype(np.float64)

    def read(event: Event) -> Reading | None:
        found = [places[text] for text in said(event)]
        if not found:
            return None
        return Reading(tuple(short[found].mean(axis=0).tolist()), float(moods[found].mean()))

    return read


def forecast(variant: str, data: str, records: Sequence[Record], out: Path) -> None:
    """One pass of the backtest; leaves customer, cut-off and 30-day probability."""
    prior = PriorScorer()
    history = History(Rules(load(None)), Learner(NAMES, FEATURE_SET, prior), prior, 0, reader(variant, data, records))
    made = list(forecasts_over(records, history))
    kept = [each for each in made if each.as_of + HORIZON_S <= history.last_purchase_at]
    np.savez_compressed(
        out,
        customer=np.concatenate([np.array(each.customer_ids) for each in kept]),
        as_of=np.concatenate([np.full(len(each.customer_ids), each.as_of) for each in kept]),
        p=np.concatenate([each.scores[:, 0] for each in kept]),
    )


def bought(records: Iterable[Record], customers: NDArray[np.str_], as_of: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whether each customer bought in the 30 days from its cut-off on."""
    times: dict[str, list[float]] = {}
    for record in records:
        event = decode(record.topic, record.key, record.value, NEVER)
        if isinstance(event, Purchase) and event.type == "purchase":
            times.setdefault(event.customer_id, []).append(record.at_s)
    sorted_times = {customer: np.sort(np.array(each)) for customer, each in times.items()}
    found = [
        np.searchsorted(own, at + HORIZON_S) > np.searchsorted(own, at)
        for own, at in zip((sorted_times[each] for each in customers.tolist()), as_of.tolist(), strict=True)
    ]
    return np.array(found, dtype=np.int64)


def measures(p: NDArray[np.float64], y: NDArray[np.int64]) -> tuple[float, float]:
    """Log loss and AUC."""
    limited = np.clip(p, 1e-6, 1 - 1e-6)
    loss = -np.where(y == 1, np.log(limited), np.log(1 - limited)).mean()
    positives = int(y.sum())
    area = (rankdata(p)[y == 1].sum() - positives * (positives + 1) / 2) / (positives * (len(y) - positives))
    return float(loss), float(area)


def main() -> None:
    """Makes what isn't there yet, then compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", choices=tuple(VARIANTS))
    parser.add_argument("--work", type=Path, required=True, help="where forecasts are kept")
    parser.add_argument("--variants", default="", help="comma-separated; default: all, `without` first")
    given = parser.parse_args()
    variants: Sequence[str] = given.variants.split(",") if given.variants else VARIANTS[given.data]
    given.work.mkdir(parents=True, exist_ok=True)
    records: list[Record]
    if given.data == "simulated":
        records = list(SimulatedShop(PLAN).history())
    else:
        source = open_dataset("online-retail", Path(os.environ["REGULARS_SHARED"]) / "data" / "online_retail.parquet")
        records = list(source.items(0, len(source.times_s)))
    paths = {variant: given.work / f"{given.data}-{variant}.npz" for variant in variants}
    for variant, path in paths.items():
        if not path.exists():
            forecast(variant, given.data, records, path)
    made = {variant: np.load(path) for variant, path in paths.items()}
    base = made[variants[0]]
    customers, y = base["customer"], bought(records, base["customer"], base["as_of"])
    for each in made.values():
        assert np.array_equal(each["customer"], customers)
        assert np.array_equal(each["as_of"], base["as_of"])
    who = np.unique(customers, return_inverse=True)[1]
    order = np.argsort(who, kind="stable")
    rows = np.split(order, np.flatnonzero(np.diff(who[order])) + 1)
    random = np.random.default_rng(0)
    draws = [np.concatenate([rows[i] for i in random.integers(0, len(rows), len(rows))]) for _ in range(DRAWS)]
    table = Table("variant", "log loss", "AUC", "log loss less `without`", "s.e.", "AUC less `without`", "s.e.")
    table.title = f"{len(y):,} forecasts of 30 days, {len(rows):,} customers, {y.mean():.4f} bought"
    without = np.array([measures(base["p"][draw], y[draw]) for draw in draws])
    start = np.array(measures(base["p"], y))
    for variant in variants:
        p = made[variant]["p"]
        own = np.array(measures(p, y))
        error = (np.array([measures(p[draw], y[draw]) for draw in draws]) - without).std(axis=0, ddof=1)
        loss, area = own - start
        table.add_row(
            variant, f"{own[0]:.4f}", f"{own[1]:.4f}", f"{loss:+.5f}", f"{error[0]:.5f}", f"{area:+.5f}", f"{error[1]:.5f}"
        )  # fmt: skip
    Console(width=120).print(table)


if __name__ == "__main__":
    main()

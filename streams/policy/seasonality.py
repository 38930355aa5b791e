"""A shop's season, measured from its purchases in a data set."""

from pathlib import Path

import numpy as np

from models.season import measured
from schemas.events import Purchase, decode
from streams.sources.registry import open_dataset


def measure(dataset: str, file: Path) -> tuple[tuple[float, ...], float]:
    """Twelve numbers, January first, and the growth per year of a data set; see `models.season.measured`.

    Raises:
        FileRefused: the file does not belong to that data set.
        TooShort: it does not hold two whole years.
    """
    source = open_dataset(dataset, file)
    at = [
        item.at_s
        for item in source.items(0, len(source.times_s))
        if isinstance(event := decode(item.topic, item.key, item.value, np.inf), Purchase) and event.type == "purchase"
    ]
    return measured(np.array(at))

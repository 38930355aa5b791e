"""The features of a customer at a moment, as a row of numbers; many customers at once, as a matrix.

`rows(states, at)` is what every scorer reads. A feature depends on the state and on `at` alone, so the same function
serves a live event, a moment of silence in the future and a backtest. Each is declared in `models.formulas`.
"""

from collections.abc import Sequence
from hashlib import blake2b

import numpy as np

from models.columns import AT, FloatArray, Row, columns
from models.formulas import FEATURES, Feature
from models.ingredients import Numbers, Shop
from schemas.groups import TEXT_DIM
from schemas.states import CustomerState, Exposure

__all__ = ["FEATURES", "Feature", "FloatArray", "Row", "Shop", "columns"]

NAMES: tuple[str, ...] = tuple(feature.name for feature in FEATURES)
COLUMN: dict[str, int] = {name: i for i, name in enumerate(NAMES)}

# Columns that are the logarithm of 1 + what a person counts.
LOGGED = np.array([feature.meaning.startswith("log(1") for feature in FEATURES])

# A learner and a scorer must agree on the columns: labels and snapshots carry this digest.
FEATURE_SET = blake2b("\n".join(f"{f.name}: {f.meaning}" for f in FEATURES).encode(), digest_size=6).hexdigest()

USUAL_SHOP = Shop()

EVERY = tuple(range(len(FEATURES)))


def matrix(rows: Sequence[Row], shop: Shop = USUAL_SHOP) -> FloatArray:
    """Features of `rows`, one a customer and moment: (n, len(NAMES)) float64, all finite."""
    return from_columns(columns(rows), shop)


def rows(states: Sequence[CustomerState], at: Sequence[float], shop: Shop = USUAL_SHOP) -> FloatArray:
    """Features of each state at its moment: (n, len(NAMES)) float64."""
    return matrix(list(zip(at, states, strict=True)), shop)


def from_columns(c: FloatArray, shop: Shop = USUAL_SHOP, which: tuple[int, ...] = EVERY) -> FloatArray:
    """As `matrix`, from `columns`; `c` is left as it is. Memory order of the result: feature by feature.

    Args:
        c: (WIDTH, n), with the moment of each customer.
        shop: of which they are customers.
        which: features that are wanted; the others are 0.
    """
    x: FloatArray = (np.empty if len(which) == len(FEATURES) else np.zeros)((len(NAMES), c.shape[1]))
    for start in range(0, c.shape[1], _BLOCK):
        here = slice(start, start + _BLOCK)
        _fill(x[:, here], which, Numbers(c[:, here], c[AT, here], shop))
    return x.T


def in_silence(
    c: FloatArray, x: FloatArray, at: FloatArray, shop: Shop = USUAL_SHOP, which: tuple[int, ...] = EVERY
) -> FloatArray:
    """Features of each customer at later moments, if nothing more is heard: (n * g, len(NAMES)), customer by customer.

    Args:
        c: `columns` of n customers.
        x: (n, len(NAMES)), their features at any moment: what time doesn't touch is taken from there.
        at: (n, g), moments, epoch seconds.
        shop: of which they are customers.
        which: features that are wanted; the others are 0.
    """
    n, g = at.shape
    later: FloatArray = (np.empty if len(which) == len(FEATURES) else np.zeros)((len(NAMES), n, g))
    passing = tuple([i for i in which if FEATURES[i].passes])
    lasting = [i for i in which if not FEATURES[i].passes]
    block = max(_BLOCK // g, 1)
    for start in range(0, n, block):
        here = slice(start, start + block)
        for i in lasting:
            later[i, here] = x[here, i, None]
        _fill(later[:, here], passing, Numbers(c[:, here, None], at[here], shop))
    return later.reshape(len(NAMES), n * g).T


# Rows a block: the numbers of 512 customers stay within a core's second-level cache.
_BLOCK = 512


def _fill(x: FloatArray, which: tuple[int, ...], numbers: Numbers) -> None:
    """Fills the features `which` of `x`, (features, ...)."""
    if which[-TEXT_DIM:] == _TEXTS:  # one product instead of one each
        which = which[:-TEXT_DIM]
        x[_TEXTS[0] :] = numbers.texts()
    for i in which:
        formula, log, most = _STEPS[i]
        if log:
            np.log1p(formula(numbers), out=x[i])
        else:
            x[i] = formula(numbers)
        if most is not None:
            np.minimum(x[i], most, out=x[i])


_STEPS = [(feature.formula, feature.log, feature.most) for feature in FEATURES]
_TEXTS = EVERY[-TEXT_DIM:]


def counted(x: FloatArray, which: Sequence[int]) -> FloatArray:
    """The columns `which` of `x` as a person counts them, (n, len(which)): days, amounts and numbers, no logarithms."""
    chosen = x[:, which]
    return np.where(LOGGED[list(which)], np.expm1(chosen), chosen)


def exposure(state: CustomerState, at: float, row: FloatArray) -> Exposure:
    """The features of `state` at `at`, kept as float16 until their label matures."""
    return Exposure(at, halved(row), state.purchases, state.spend_minor, False, FEATURE_SET)


def halved(row: FloatArray) -> bytes:
    """A row of features as an exposure keeps it."""
    # Whoever writes nothing has no text features, and these stand last: zeros at the end aren't stored.
    return row.astype(np.float16).tobytes().rstrip(b"\0")


def exposed(kept: Exposure) -> tuple[float, ...]:
    """The features that `exposure` kept, in the order of `NAMES`."""
    return features_in(kept.features)


def features_in(stored: bytes) -> tuple[float, ...]:
    """The features that `halved` stored, in the order of `NAMES`."""
    whole = stored.ljust(2 * len(NAMES), b"\0")
    return tuple(np.frombuffer(whole, dtype=np.float16).astype(np.float64).tolist())

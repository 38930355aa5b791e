"""The served model, the previous version, RFM and BG/NBD on the same matured labels; and when to go back.

Every block of labels is forecast by all of them before it is learnt (progressive validation). The previous version is a
fit that the learner itself had one to two weeks of event time ago; it has stood still since. A *trial* compares the two:

    D = sum over a block's labels of loss(served) - loss(previous)

is one observation a block and score. The served version is worse beyond noise where a lower confidence bound of D's mean
lies above a hundredth of the previous version's loss, for any of the four scores, at any block of the trial. The bound
is good at all blocks at once (`models.learning.evidence`), for one in a thousand trials: a quarter of that for each score.

Then the learner takes the previous fit back and learns on from there; what it learns has to be a week old before anything
is gone back to again, and never to the same fit. Losses: log loss of a probability; of an amount half the Poisson deviance
in units of the mean purchase, which is proper for a mean. Nothing is cut: a single order, however large, raises the
spread as much as the mean of D and so decides nothing, it only makes one trial see less.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple, Self

import numpy as np

from models.features import FloatArray
from models.labels import EXPOSE_DAYS
from models.learning.evidence import Evidence
from models.learning.forecasting import Fit, Forecaster
from models.learning.measures import log_losses
from models.learning.rivals import WIDTH, RfmCells
from models.scores import P_30, P_90, SPEND_90, Scorer
from schemas.learning import SCORES
from schemas.times import DAY_S

SERVED, PREVIOUS, RFM, BG_NBD = CONTESTANTS = ("served", "previous", "rfm", "bgnbd")
# Which labels answer for a score.
HORIZON_OF = (30, 90, 90, 90)

# Losses that are shown are of the latest labels of a score, as `models.learning.quality` counts them.
SHOWN_LABELS = 5_000
# A trial of 32 blocks is 8,000 labels, or a month of a small shop; older blocks would dilute what goes wrong now.
_TRIAL_BLOCKS = 32
# The previous version is at least so old, so that what spoils a model over days can be seen against it.
_APART_S = 7 * DAY_S
_RISK = 0.001 / len(SCORES)
# Worse by less than this share of the loss is not worth going back for.
_MARGIN = 0.01
# The confidence sequence is narrowest at 16 blocks.
_NARROWEST = 16.0
_LEAST = 1e-5


class Block(NamedTuple):
    """Labels on their way into the learner, n of them."""

    at: float  # event time of the latest, epoch seconds
    x: FloatArray  # (n, F)
    horizon: FloatArray  # (n,), days
    purchases: FloatArray  # (n,)
    spend: FloatArray  # (n,), units of currency

    def truth(self, score: int) -> FloatArray:
        """(n,): what a score should have said."""
        return (self.bought, self.bought, self.purchases, self.spend)[score]

    @property
    def bought(self) -> FloatArray:
        """(n,) of 0 and 1."""
        return (self.purchases > 0).astype(np.float64)


class Verdict(NamedTuple):
    """Why a version was taken back: its mean loss on the labels of the trial, and the previous version's."""

    score: str
    labels: int
    served: float
    previous: float
    previous_labels: int  # that the previous version had learnt


def losses(score: int, truth: FloatArray, forecast: FloatArray, unit: float) -> FloatArray:
    """(n,): see the module; `unit` is the mean purchase."""
    if score in (P_30, P_90):
        return log_losses(truth, forecast)
    worth = unit if score == SPEND_90 else 1.0
    came = truth / worth
    expected = np.maximum(forecast / worth, _LEAST)
    found: FloatArray = expected - came + came * np.log(np.maximum(came, _LEAST) / expected)
    return found


def is_worse(blocks: float, total: float, squares: float, repeats: float, least: float) -> bool:
    """Whether the mean of D lies above `least` beyond noise.

    Args:
        blocks: observations so far.
        total: their sum.
        squares: the sum of their squares.
        repeats: how many times the variance counts.
        least: the margin, a block.

    >>> is_worse(16, 16 * 3.0, 16 * 10.0, 1.0, 0.1), is_worse(16, 16 * 0.3, 16 * 1.0, 1.0, 0.1)
    (True, False)
    """
    return Evidence(blocks, total, squares).lower(_RISK, _NARROWEST, repeats) > least


class _Kept(NamedTuple):
    """A fit that may be gone back to."""

    at: float
    labels: float
    vector: FloatArray


class Scoreboard:
    """Judges each block; keeps the fits that can be gone back to. Goes into the snapshot but for what is shown."""

    def __init__(self, names: tuple[str, ...], prior: Scorer) -> None:
        self._names, self._prior = names, prior
        self._previous: _Kept | None = None
        self._candidate: _Kept | None = None
        self._forecaster: Forecaster | None = None
        self._rfm = RfmCells(names) if RfmCells.known(names) else None
        # Of each score: blocks, sum and sum of squares of D, labels, losses of the served and the previous version.
        self._trial: FloatArray = np.zeros((len(SCORES), 6))
        self._blocks, self._began = 0, 0.0
        self._shown: tuple[deque[tuple[int, FloatArray]], ...] = tuple(deque() for _ in SCORES)

    def forecasts(self, block: Block, served: FloatArray, bgnbd: FloatArray, by: Forecaster) -> dict[str, FloatArray]:
        """Contestant -> forecasts (n, 4) of a block, of those that there are.

        Args:
            block: what is forecast.
            served: (n, 4).
            bgnbd: (n, 4).
            by: made `served`; the previous version's fit has the shapes of its fit, and is trusted as much.
        """
        found = {SERVED: served, BG_NBD: bgnbd}
        if self._previous is not None:
            if self._forecaster is None:
                self._forecaster = Forecaster(self._names, self._prior, Fit.from_vector(self._previous.vector, by.fit))
            self._forecaster.trust = by.trust
            found[PREVIOUS] = self._forecaster.forecasts(block.x)
        return found | self.rivals(block.x)

    def rivals(self, x: FloatArray) -> dict[str, FloatArray]:
        """Contestant -> forecasts (n, 4) for features x (n, F), of those that learn here."""
        return {} if self._rfm is None else {RFM: self._rfm.forecasts(x)}

    def judge(self, block: Block, forecasts: Mapping[str, FloatArray], unit: float) -> Verdict | None:
        """Counts a block's losses, before it is learnt. A verdict: the served version is worse than the previous one."""
        verdict = None
        if not self._blocks:
            self._began = block.at
        for score, days in enumerate(HORIZON_OF):
            of = block.horizon == days
            if not of.any():
                continue
            truth = block.truth(score)[of]
            sums = np.full(len(CONTESTANTS), np.nan)
            for i, name in enumerate(CONTESTANTS):
                if name in forecasts:
                    sums[i] = losses(score, truth, forecasts[name][of, score], unit).sum()
            self._show(score, len(truth), sums)
            if PREVIOUS in forecasts and self._try(score, block.at, len(truth), sums[0], sums[1]):
                _, _, _, labels, lost, least = self._trial[score].tolist()
                back_to = 0 if self._previous is None else int(self._previous.labels)
                verdict = verdict or Verdict(SCORES[score], int(labels), lost / labels, least / labels, back_to)
        if self._rfm is not None:
            self._rfm.learn_block(block.x, block.horizon, block.purchases, block.spend)
        return verdict

    def _show(self, score: int, labels: int, sums: FloatArray) -> None:
        shown = self._shown[score]
        shown.append((labels, sums))
        while sum(n for n, _ in shown) - shown[0][0] >= SHOWN_LABELS:
            shown.popleft()

    def _try(self, score: int, at: float, labels: int, served: float, previous: float) -> bool:
        more = served - previous
        self._trial[score] += [1.0, more, more**2, labels, served, previous]
        blocks, total, squares, _, _, loss = self._trial[score].tolist()
        # How many windows of one customer, which overlap, lie in the trial.
        repeats = min(max((at - self._began) / DAY_S, EXPOSE_DAYS), HORIZON_OF[score]) / EXPOSE_DAYS
        return is_worse(blocks, total, squares, repeats, _MARGIN * loss / blocks)

    def keep(self, at: float, labels: int, fit: Fit) -> None:
        """Ends a trial when it is long enough, and takes the fit, as of `at`, for one that may be gone back to later."""
        self._blocks += 1
        if self._blocks < _TRIAL_BLOCKS:
            return
        self._start()
        if self._candidate is None or at >= self._candidate.at + _APART_S:
            self._set(self._candidate, _Kept(at, float(labels), fit.to_vector()))

    def go_back(self, like: Fit) -> Fit:
        """The previous version's fit; a trial begins anew when there is one to go back to that was learnt after it.

        Args:
            like: a fit of the same shapes.
        """
        assert self._previous is not None
        found = Fit.from_vector(self._previous.vector, like)
        self._start()
        self._set(None, None)
        return found

    def shown(self) -> dict[str, dict[str, float]]:
        """Score -> contestant -> mean loss over the latest labels that all of them have forecast."""
        found: dict[str, dict[str, float]] = {}
        for score, blocks in zip(SCORES, self._shown, strict=True):
            if blocks:
                labels = sum(n for n, _ in blocks)
                means = np.sum([sums for _, sums in blocks], axis=0) / labels
                named = zip(CONTESTANTS, means.tolist(), strict=True)
                found[score] = {name: value for name, value in named if np.isfinite(value)}
        return found

    def _start(self) -> None:
        self._trial[:], self._blocks = 0.0, 0

    def _set(self, previous: _Kept | None, candidate: _Kept | None) -> None:
        self._previous, self._candidate = previous, candidate
        self._forecaster = None

    def to_array(self) -> FloatArray:
        """(any,): trial, kept fits and the cells of RFM."""
        kept = [each for each in (self._previous, self._candidate) if each is not None]
        return np.concatenate(
            [
                [self._previous is not None, self._candidate is not None, self._blocks, self._began],
                self._trial.ravel(),
                *(np.r_[each.at, each.labels, each.vector] for each in kept),
                np.zeros(0) if self._rfm is None else self._rfm.to_array(),
            ]
        )

    @classmethod
    def from_array(cls, names: tuple[str, ...], prior: Scorer, array: FloatArray) -> Self:
        """The inverse of `to_array`; the array is as long as `array_size` says."""
        found = cls(names, prior)
        kept = [bool(flag) for flag in array[:2]]
        found._blocks, found._began = int(array[2]), float(array[3])
        end = 4 + found._trial.size
        found._trial = array[4:end].reshape(found._trial.shape).copy()
        rest = array[end:]
        if found._rfm is not None:
            rest, cells = rest[:-WIDTH], rest[-WIDTH:]
            found._rfm = RfmCells.from_array(names, cells)
        fits = iter(np.split(rest, sum(kept)) if any(kept) else ())
        for name, there in zip(("_previous", "_candidate"), kept, strict=True):
            if there:
                at, labels, *_ = each = next(fits)
                setattr(found, name, _Kept(float(at), float(labels), each[2:].copy()))
        return found


def array_size(names: tuple[str, ...], fit_size: int, array: FloatArray) -> int:
    """How long the array of a scoreboard is, by what its own beginning says; `fit_size`: numbers of a fit."""
    kept = sum(bool(flag) for flag in np.ravel(array)[:2].tolist())
    return 4 + 6 * len(SCORES) + kept * (2 + fit_size) + (WIDTH if RfmCells.known(names) else 0)

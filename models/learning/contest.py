"""Champion and challengers: who is served for each target, decided by forecasts made before their labels were learnt.

    block of labels -> forecast by the default model and each challenger -> losses -> evidence -> learnt by each challenger

For each target one contestant is served: at first the default, the model of `models.learning.learner`. The others are the
challengers and the prior, which nothing but its population is learnt of: so that what is learnt is not served where it is
worse. A *trial* compares every other one with the served one, on the same labels:

    D = sum over a block's labels of loss(served) - loss(other)

The other is served from the moment on at which the mean of D lies above a five-hundredth of the served one's loss beyond
noise (`models.learning.evidence`): as good at every block, so that one may look after each. That is promotion, and, where
the other is the default, demotion. A trial begins anew with each change of what is served, and every half a year: old
blocks would hold up what has changed since. Somebody may pin a contestant; then evidence is gathered and decides nothing.

Losses are those of the scoreboard (`models.learning.scoreboard.losses`): log loss, half the Poisson deviance.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from models.features import FloatArray
from models.labels import EXPOSE_DAYS
from models.learning.challenger import Challenger
from models.learning.evidence import Evidence
from models.learning.inputs import links
from models.learning.learner import Judged
from models.learning.plug import Plugged
from models.learning.scoreboard import BG_NBD, HORIZON_OF, SERVED, losses
from models.learning.scorer import SnapshotScorer
from models.learning.snapshots import DEFAULT, PRIOR
from schemas.learning import SCORES
from schemas.times import DAY_S

# Chance that a contestant that isn't better is promoted within one trial.
_RISK = 0.001
# The sequence is narrowest at 64 blocks: 16,000 labels, or two months of a small shop.
_NARROWEST = 64.0
# Better by less than this share of the loss is not worth a change.
_MARGIN = 0.002
# A model learns fastest at first, and so who is ahead changes: before so many labels no challenger is promoted. The prior
# may take the place as soon as there is evidence: it is what was served before the first label.
_FEWEST_LABELS = 2_000
_TRIAL_S = 183 * DAY_S


class PairedTrial(NamedTuple):
    """One contestant beside the served one."""

    began: float  # event time of the first block, epoch seconds
    evidence: Evidence = Evidence()
    labels: int = 0
    served_loss: float = 0.0  # sums
    own_loss: float = 0.0

    def with_block(self, labels: int, served: float, own: float) -> "PairedTrial":
        """One block more."""
        evidence = self.evidence.with_block(served - own)
        return PairedTrial(self.began, evidence, self.labels + labels, self.served_loss + served, self.own_loss + own)

    def of_default(self) -> "PairedTrial":
        """The same labels as the default beside itself."""
        return PairedTrial(self.began, Evidence(self.evidence.blocks), self.labels, self.served_loss, self.served_loss)

    def to_list(self) -> list[float]:
        """Its numbers."""
        return [self.began, *self.evidence, self.labels, self.served_loss, self.own_loss]

    @classmethod
    def of(cls, numbers: Sequence[float]) -> "PairedTrial":
        """The inverse of `to_list`."""
        began, blocks, total, squares, labels, served, own = numbers
        return cls(began, Evidence(blocks, total, squares), int(labels), served, own)

    def repeats(self, at: float, horizon: int) -> float:
        """How many windows of one customer, which overlap, lie in the trial."""
        return min(max((at - self.began) / DAY_S, EXPOSE_DAYS), horizon) / EXPOSE_DAYS

    def is_better(self, at: float, horizon: int) -> bool:
        """Whether the contestant is better than the served one beyond noise."""
        least = _MARGIN * self.served_loss / max(self.evidence.blocks, 1.0)
        return self.evidence.lower(_RISK, _NARROWEST, self.repeats(at, horizon)) > least


class Promotion(NamedTuple):
    """What is served for a target has changed: from whom, to whom, and the mean losses of both on `labels`."""

    target: str
    previous: str
    served: str
    labels: int
    previous_loss: float
    served_loss: float
    why: str  # `evidence`, `failure` or `pinned`


class _Remembered(Challenger):
    """A challenger that is known by name alone."""

    def __init__(self, target: str, name: str, failure: str) -> None:
        self.target, self.name, self.failure, self.ahead = target, name, failure, 0


class Row(NamedTuple):
    """One contestant of one target, for people."""

    target: str
    name: str
    served: bool
    pinned: bool
    labels: int  # that both have forecast
    loss: float  # mean over those
    difference: float  # mean loss less that of the default
    error: float  # standard error of the difference
    failure: str


class Contest:
    """The challengers of all targets, and who is served.

    Args:
        contenders: what is plugged in, by target.
        names: the F features.

    Attributes:
        challengers: all of them.
        served: target -> contestant that is served.
        pinned: target -> contestant that somebody wants served, whatever the evidence.
        judged: labels judged so far, of all horizons.
    """

    def __init__(self, contenders: Sequence[Plugged], names: tuple[str, ...]) -> None:
        self.challengers: tuple[Challenger, ...] = tuple(
            Challenger(contender.name, target, model.clone(), names, contender.packages)
            for target in SCORES
            for contender in contenders
            for of, model in contender.models.items()
            if of == target
        )
        self.served = dict.fromkeys(SCORES, DEFAULT)
        self.pinned: dict[str, str] = {}
        self.judged = 0
        self.trials: dict[tuple[str, str], PairedTrial] = {}
        # Each challenger beside the default over all labels since it joined.
        self.records: dict[tuple[str, str], PairedTrial] = {}
        self._at = 0.0

    def of(self, target: str) -> list[Challenger]:
        """The challengers of a target."""
        return [each for each in self.challengers if each.target == target]

    def get(self, target: str, name: str) -> Challenger | None:
        """The challenger of this name."""
        return next((each for each in self.of(target) if each.name == name), None)

    def take(self, judged: Judged) -> list[Promotion]:
        """Judges a block by what was known before it, then learns it. Gives what is served differently from now on."""
        block, changes = judged.block, []
        self.judged += len(block.x)
        self._at = max(self._at, block.at)
        prior = links(judged.forecasts[BG_NBD])
        for score, target in enumerate(SCORES):
            of = block.horizon == HORIZON_OF[score]
            if not of.any():
                continue
            x, truth, known = block.x[of], block.truth(score)[of], prior[of, score]
            forecasts = {
                DEFAULT: judged.forecasts[SERVED][of, score],
                PRIOR: judged.forecasts[BG_NBD][of, score],
            }
            taking_part = [each for each in self.of(target) if not each.failure and not each.ahead]
            forecasts |= {each.name: each.forecast(x, known, judged.unit) for each in taking_part}
            forecasts = {name: said for name, said in forecasts.items() if not self._is_out(target, name)}
            lost = {name: float(losses(score, truth, said, judged.unit).sum()) for name, said in forecasts.items()}
            self._count(target, len(truth), lost)
            changes += self._decide(target, score)
            for each in taking_part:
                each.learn(x, known, truth, block.at, judged.unit)
        for each in self.challengers:
            each.ahead = max(each.ahead - len(block.x), 0)
        return changes

    def _is_out(self, target: str, name: str) -> bool:
        challenger = self.get(target, name)
        return challenger is not None and bool(challenger.failure)

    def _count(self, target: str, labels: int, lost: Mapping[str, float]) -> None:
        served = lost.get(self.served[target], lost[DEFAULT])
        for name, own in lost.items():
            key = (target, name)
            if name != DEFAULT:
                record = self.records.get(key, PairedTrial(self._at))
                self.records[key] = record.with_block(labels, lost[DEFAULT], own)
            if name == self.served[target]:
                continue
            trial = self.trials.get(key)
            if trial is None or self._at > trial.began + _TRIAL_S:
                trial = PairedTrial(self._at)
            self.trials[key] = trial.with_block(labels, served, own)

    def _decide(self, target: str, score: int) -> list[Promotion]:
        served = self.get(target, self.served[target])
        if served is not None and served.failure:
            self.pinned.pop(target, None)
            return [self._serve(target, DEFAULT, "failure")]
        if target in self.pinned:
            return []
        better = [
            (trial.evidence.mean, name == DEFAULT, name)
            for (of, name), trial in self.trials.items()
            if of == target
            and not self._is_out(target, name)
            and (name in (DEFAULT, PRIOR) or trial.labels >= _FEWEST_LABELS)
            and trial.is_better(self._at, HORIZON_OF[score])
        ]
        return [self._serve(target, max(better)[-1], "evidence")] if better else []

    def _serve(self, target: str, name: str, why: str) -> Promotion:
        trial = self.trials.get((target, name), PairedTrial(self._at))
        labels = max(trial.labels, 1)
        change = Promotion(
            target, self.served[target], name, trial.labels, trial.served_loss / labels, trial.own_loss / labels, why
        )
        self.served[target] = name
        self.trials = {key: trial for key, trial in self.trials.items() if key[0] != target}
        return change

    def pin(self, name: str | None, target: str) -> list[Promotion]:
        """Serves the contestant `name` of a target from now on, whatever the evidence; None: evidence decides again.

        Raises:
            KeyError: it has no contestant of that name, or that one is out.
        """
        if name is None:
            self.pinned.pop(target, None)
            return []
        challenger = self.get(target, name)
        if name not in (DEFAULT, PRIOR) and (challenger is None or challenger.failure):
            raise KeyError(f"{target} has no contestant {name} that could be served")
        self.pinned[target] = name
        return [] if self.served[target] == name else [self._serve(target, name, "pinned")]

    def follow(self, pinned: Mapping[str, str]) -> list[Promotion]:
        """Pins what `pinned` (target -> contestant) says; evidence decides elsewhere. Unknown names are passed over."""
        changes = []
        for target in SCORES:
            name = pinned.get(target)
            try:
                changes += self.pin(name, target)
            except KeyError:
                changes += self.pin(None, target)
        return changes

    def overriding(self) -> list[Challenger]:
        """The challengers that are served."""
        found = (self.get(target, name) for target, name in self.served.items())
        return [each for each in found if each is not None and not each.failure]

    def rows(self) -> list[Row]:
        """Every contestant, target by target, the default first."""
        return [
            row
            for score, target in enumerate(SCORES)
            if (target, PRIOR) in self.records
            for row in (
                self._row(score, DEFAULT, self.records[target, PRIOR].of_default()),
                self._row(score, PRIOR, self.records[target, PRIOR]),
                *(
                    self._row(score, each.name, self.records.get((target, each.name), PairedTrial(self._at)), each)
                    for each in self.of(target)
                ),
            )
        ]

    def _row(self, score: int, name: str, record: PairedTrial, challenger: Challenger | None = None) -> Row:
        target, labels, evidence = SCORES[score], max(record.labels, 1), record.evidence
        error = evidence.error(record.repeats(self._at, HORIZON_OF[score])) * evidence.blocks / labels
        return Row(
            target,
            name,
            self.served[target] == name,
            self.pinned.get(target) == name,
            record.labels,
            record.own_loss / labels,
            -evidence.total / labels,
            error,
            "" if challenger is None else challenger.failure,
        )

    def state(self) -> dict[str, Any]:
        """All but the challengers' own models, as JSON takes it."""
        return {
            "served": {target: name for target, name in self.served.items() if name != DEFAULT},
            "pinned": dict(self.pinned),
            "judged": self.judged,
            "at": self._at,
            "trials": [[*key, *trial.to_list()] for key, trial in self.trials.items()],
            "records": [[*key, *trial.to_list()] for key, trial in self.records.items()],
            "failures": [[each.target, each.name, each.failure] for each in self.challengers if each.failure],
        }

    def take_state(self, state: Mapping[str, Any]) -> None:
        """Goes on from `state`; of contestants that aren't here any more nothing is kept, and the default is served."""
        known = {(target, name) for target in SCORES for name in (DEFAULT, PRIOR)}
        known |= {(each.target, each.name) for each in self.challengers}
        self.judged, self._at = int(state.get("judged", 0)), float(state.get("at", 0.0))
        served = state.get("served", {}).items()
        self.served |= {target: name for target, name in served if (target, name) in known}
        self.pinned = {target: name for target, name in state.get("pinned", {}).items() if (target, name) in known}
        for kept, name in ((self.trials, "trials"), (self.records, "records")):
            kept |= {
                (target, of): PairedTrial.of(numbers)
                for target, of, *numbers in state.get(name, ())
                if (target, of) in known
            }

    @classmethod
    def of_state(cls, state: Mapping[str, Any], names: tuple[str, ...]) -> "Contest":
        """The contest that a state was taken of, to be looked at: its challengers have no models."""
        found = cls((), names)
        failures = {(target, name): why for target, name, why in state.get("failures", ())}
        pairs = dict.fromkeys((target, name) for target, name, *_ in (*state.get("records", ()), *failures))
        found.challengers = tuple(
            _Remembered(target, name, failures.get((target, name), "")) for target, name in pairs if name != PRIOR
        )
        found.take_state(state)
        return found


class WithChallengers:
    """A scorer whose forecasts of some targets are those of challengers.

    Args:
        default: scores all targets, and has the prior that challengers know.
        challengers: at most one a target.
    """

    def __init__(self, default: SnapshotScorer, challengers: Sequence[Challenger]) -> None:
        self._default, self._challengers = default, tuple(challengers)
        parts = (f"{each.target}={each.name}-{each.learnt}" for each in self._challengers)
        self.version = "+".join((default.version, *parts))

    def score(self, x: FloatArray) -> FloatArray:
        """(n, 4), in the order of SCORES; where a challenger fails, the default's."""
        scores = self._default.score(x)
        prior = links(self._default.prior(x))
        for each in self._challengers:
            own = each.forecast(x, prior[:, each.score], self._default.unit)
            if not each.failure:
                scores[:, each.score] = own
        return scores

    def intervals(self, scores: FloatArray) -> FloatArray:
        """(n, 2): see `models.learning.scorer.SnapshotScorer.intervals`."""
        return self._default.intervals(scores)

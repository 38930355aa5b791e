"""Policies: dimensions of ordered segments over one number each.

A policy is a document (YAML). Read it with `load`; a mistake is a `PolicyError` that names the place. The number a
dimension is cut on is a score, or `days_since_purchase`, which is None for who never bought and whose bounds are crossed
in silence at a moment known in advance, to the second.
"""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta, Struct

from schemas.learning import SCORES
from schemas.states import NEVER, Held
from schemas.times import DAY_S

DAYS_SINCE_PURCHASE = "days_since_purchase"

# Between events a dimension over scores is looked at again this many days after the customer's latest event. Fixed
# moments make "what happens next, and when" a matter of evaluating the served model there, the same live, in a replay
# and in advance; they lie close where scores move fast.
REVIEW_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0, 365.0)

# Event times are float64 seconds: at 2^31 s a step is 2.4e-7 s. A bound counts as reached within a millisecond, so that
# the moment computed for it is also the moment at which it is crossed.
_TOLERANCE_DAYS = 0.001 / DAY_S


class PolicyError(Exception):
    """The policy document can't be served; the message says where and what would be right."""


class Segment(Struct, frozen=True, forbid_unknown_fields=True):
    """One segment; `bound` is where it begins, None the lowest (or never-bought) one's."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    bound: Annotated[float, Meta(ge=0)] | None = msgspec.field(default=None, name="from")


class Dimension(Struct, frozen=True, forbid_unknown_fields=True):
    """Ordered segments over one number."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    over: str
    segments: Annotated[tuple[Segment, ...], Meta(min_length=2)]
    exit_margin: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    dwell_days: Annotated[float, Meta(ge=0)] = 0.0


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """What is served: judged on by `models.step`, stamped on every change as `<name>-<version>`."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Annotated[str, Meta(min_length=1, max_length=64)]
    dimensions: Annotated[tuple[Dimension, ...], Meta(min_length=1)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "GBP"
    unit_minor: Annotated[int, Meta(ge=1)] = 100

    @property
    def label(self) -> str:
        """Name and version, as changes carry it."""
        return f"{self.name}-{self.version}"


def parse(document: str) -> Policy:
    """The policy in a YAML document.

    Raises:
        PolicyError: not YAML, or not a policy.
    """
    try:
        tree: Any = yaml.safe_load(document)
    except yaml.YAMLError as exc:
        raise PolicyError(f"not YAML: {' '.join(str(exc).split())}") from exc
    try:
        policy = msgspec.convert(tree, Policy)
    except msgspec.ValidationError as exc:
        raise PolicyError(str(exc)) from exc
    for d, dimension in enumerate(policy.dimensions):
        where = f"$.dimensions[{d}]"
        allowed = (DAYS_SINCE_PURCHASE, *SCORES)
        if dimension.over not in allowed:
            raise PolicyError(f"{where}.over: '{dimension.over}' is none of {', '.join(allowed)}")
        bounds = [segment.bound for segment in dimension.segments]
        if bounds[0] is not None:
            raise PolicyError(f"{where}.segments[0]: the first segment takes what is left; it has no `from`")
        rest = bounds[1:]
        if any(bound is None for bound in rest):
            raise PolicyError(f"{where}.segments[{bounds.index(None, 1)}]: `from` is missing; only the first has none")
        known = [bound for bound in rest if bound is not None]
        if sorted(set(known)) != known:
            raise PolicyError(f"{where}.segments: `from` must rise from segment to segment: {known}")
        names = [segment.name for segment in dimension.segments]
        if len(set(names)) != len(names):
            raise PolicyError(f"{where}.segments: a name stands twice: {names}")
    names = [dimension.name for dimension in policy.dimensions]
    if len(set(names)) != len(names):
        raise PolicyError(f"$.dimensions: a name stands twice: {names}")
    return policy


def load(path: Path | None = None) -> Policy:
    """The policy in the file at `path`, or the one shipped with the package.

    Raises:
        PolicyError: the file can't be read, or holds no policy; the message begins with its path.
    """
    try:
        if path is None:
            return parse((files("models") / "policies" / "default.yaml").read_text(encoding="utf-8"))
        return parse(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise PolicyError(f"{path}: {exc.strerror}") from exc
    except PolicyError as exc:
        raise PolicyError(f"{path or 'default policy'}: {exc}") from exc


class Ruling:
    """One dimension, compiled for judging.

    Attributes:
        name: of the dimension.
        segments: names, lowest first.
        bounds: where each segment begins; the first is -inf. Days for a timed dimension, else the score's unit.
        lowered: the same, less the exit margin.
        dwell_s: how long a segment is held at least.
        score: index in `schemas.learning.SCORES`; None for a timed dimension.
    """

    __slots__ = ("_index", "bounds", "dwell_s", "lowered", "name", "score", "segments")

    def __init__(self, dimension: Dimension) -> None:
        self.name = dimension.name
        self.segments = tuple(segment.name for segment in dimension.segments)
        self.score = None if dimension.over == DAYS_SINCE_PURCHASE else SCORES.index(dimension.over)
        tolerance = _TOLERANCE_DAYS if self.score is None else 0.0
        known = [segment.bound for segment in dimension.segments if segment.bound is not None]
        self.bounds = (-NEVER, *(bound - tolerance for bound in known))
        self.lowered = (-NEVER, *(bound * (1.0 - dimension.exit_margin) - tolerance for bound in known))
        self.dwell_s = dimension.dwell_days * DAY_S - 0.001 if dimension.dwell_days else 0.0
        self._index = {name: i for i, name in enumerate(self.segments)}

    def index(self, segment: str) -> int:
        """The place of `segment` in the order; -1 where the policy doesn't know it."""
        return self._index.get(segment, -1)

    def place(self, number: float | None, held: Held | None, at: float) -> str:
        """The segment of a customer whose number is `number` (None: never bought) at `at`, `held` in one so far.

        A bound above the held segment is reached at itself, one at or below it is left only under its lowered value;
        within the dwell the held segment stays.
        """
        segments = self.segments
        current = -1
        if held is not None:
            if at - held.since < self.dwell_s:
                return held.segment
            current = self._index.get(held.segment, -1)
        if number is None:
            return segments[0]
        bounds, lowered = self.bounds, self.lowered
        for i in range(len(segments) - 1, 0, -1):
            if number >= (lowered[i] if i <= current else bounds[i]):
                return segments[i]
        return segments[0]


class Rules:
    """A policy compiled for judging, once a version."""

    __slots__ = ("crossing_s", "label", "policy", "review_s", "rulings", "unit_minor")

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.label = policy.label
        self.unit_minor = policy.unit_minor
        self.rulings = tuple(Ruling(dimension) for dimension in policy.dimensions)
        #: Seconds after the last purchase at which a silent customer crosses a bound; 0 is the purchase and no crossing.
        self.crossing_s = tuple(
            sorted(
                {
                    segment.bound * DAY_S
                    for dimension in policy.dimensions
                    if dimension.over == DAYS_SINCE_PURCHASE
                    for segment in dimension.segments
                    if segment.bound
                }
            )
        )
        scored = any(ruling.score is not None for ruling in self.rulings)
        #: Seconds after the latest event at which dimensions over scores are looked at again.
        self.review_s = tuple(days * DAY_S for days in REVIEW_DAYS) if scored else ()

    def moments(self, last_event_at: float, last_purchase_at: float | None, after: float, until: float) -> set[float]:
        """Every moment of silence in (after, until) at which a segment may change."""
        found = {at for s in self.review_s if after < (at := last_event_at + s) < until}
        if last_purchase_at is not None:
            found.update(at for s in self.crossing_s if after < (at := last_purchase_at + s) < until)
        return found

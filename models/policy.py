"""Policies: dimensions of ordered segments over one number each.

A policy is a document (YAML). Read it with `load`; a mistake is a `PolicyError` that names the line and column. The
number a dimension is cut on is a score, a feature as a person counts it, or `days_since_purchase`, which is None for
who never bought and whose bounds are crossed in silence at a moment known in advance, to the second.
"""

import math
from collections.abc import Sequence
from difflib import get_close_matches
from hashlib import blake2b
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from models.features import COLUMN, NAMES, Shop
from models.localdays import LocalDays, ZoneUnknown
from models.marks import Mark, Marked, NotYaml
from models.scores import Counted, Scorer
from models.season import USUAL, Season
from schemas.currencies import unit_minor_of
from schemas.learning import SCORES
from schemas.states import NEVER, Held
from schemas.times import DAY_S

DAYS_SINCE_PURCHASE = "days_since_purchase"

# Between events a dimension over scores is looked at again this many days after the customer's latest event. Fixed
# moments make "what happens next, and when" a matter of evaluating the served model there, the same live, in a replay
# and in advance; they lie close where scores move fast.
REVIEW_DAYS = (1.0, 3.0, 7.0, 14.0, 30.0, 60.0, 90.0, 180.0, 365.0)

# What a dimension may be cut on beside days and scores. A component of the texts' vector means nothing by itself, and the
# season is the same for everybody.
COUNTABLE = tuple(
    name for name in NAMES if not name.startswith(("text_", "season_")) or name in ("text_days", "text_weight")
)

# What numbers can be at most, and at least, where a bound outside is a slip: a percentage, mostly.
_RANGES = dict.fromkeys(
    ("p_purchase_30d", "p_purchase_90d", "refunded_share", "coupon_share", "text_weight"), (0.0, 1.0)
)
_RANGES["sentiment"] = (-1.0, 1.0)

# A feature comes back from its logarithm with an error in the last places: five purchases are reached at 4.9999999999.
_FEATURE_TOLERANCE = 1e-9

# Event times are float64 seconds: at 2^31 s a step is 2.4e-7 s. A bound counts as reached within a millisecond, so that
# the moment computed for it is also the moment at which it is crossed.
_TOLERANCE_DAYS = 0.001 / DAY_S

# The default policy has 1 KB. Twenty such documents, the history that a record of the topic carries, stay below Kafka's
# default of 1 MiB a record with this limit.
MOST_BYTES = 32 * 1024

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


class PolicyError(Exception):
    """The policy document can't be served; the message says where and what would be right.

    Attributes:
        mark: line and column; None where it is no matter of a place.
    """

    def __init__(self, why: str, mark: Mark | None = None) -> None:
        super().__init__(why if mark is None else f"line {mark.line}, column {mark.column}: {why}")
        self.mark = mark


class Segment(Struct, frozen=True, forbid_unknown_fields=True):
    """One segment; `bound` is where it begins, None the lowest (or never-bought) one's.

    `quantile` stands for a bound in a document that is to be calibrated; it is never served.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    bound: float | None = msgspec.field(default=None, name="from")
    quantile: Annotated[float, Meta(gt=0, lt=1)] | None = msgspec.field(default=None, name="from_quantile")


class Dimension(Struct, frozen=True, forbid_unknown_fields=True):
    """Ordered segments over one number."""

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    over: str
    segments: Annotated[tuple[Segment, ...], Meta(min_length=2)]
    exit_margin: Annotated[float, Meta(ge=0, lt=1)] = 0.0
    dwell_days: Annotated[float, Meta(ge=0)] = 0.0


class Policy(Struct, frozen=True, forbid_unknown_fields=True):
    """What is served: judged on by `models.step`, stamped on every change as `<name>-<version>`.

    `flap_budget` is what `models.flaps` holds against its history: reversals within 7 days per 1,000 changes.
    """

    name: Annotated[str, Meta(min_length=1, max_length=64)]
    version: Annotated[str, Meta(min_length=1, max_length=64)]
    dimensions: Annotated[tuple[Dimension, ...], Meta(min_length=1)]
    currency: Annotated[str, Meta(pattern="^[A-Z]{3}$")] = "GBP"
    unit_minor: Annotated[int, Meta(ge=1)] = 100
    time_zone: str | None = None
    flap_budget: Annotated[float, Meta(ge=0, le=1000)] | None = None
    season: (
        Annotated[tuple[Annotated[float, Meta(ge=0.01, le=100)], ...], Meta(min_length=12, max_length=12)] | None
    ) = None

    @property
    def label(self) -> str:
        """Name and version, as changes carry it."""
        return f"{self.name}-{self.version}"

    @property
    def tag(self) -> int:
        """32 bits of what the policy says: two that differ in anything have different ones. Never 0."""
        said = msgspec.to_builtins(self)
        # A field that came later leaves policies that don't state it the tag they had: nobody is judged anew for it.
        for name in _LATER:
            if said[name] is None:
                del said[name]
        return int.from_bytes(blake2b(msgspec.json.encode(said), digest_size=4).digest()) or 1


_LATER = ("time_zone", "flap_budget", "season")


def parse(document: str, *, published: bool = False) -> Policy:
    """The policy in a YAML document.

    Args:
        document: the YAML.
        published: it was published once, maybe by a version of the program that let slips pass: they are served as they are.

    Raises:
        PolicyError: not YAML, not a policy, or one that is still to be calibrated.
    """
    policy, marked = parse_marked(document, published=published)
    for d, dimension in enumerate(policy.dimensions):
        for s, segment in enumerate(dimension.segments):
            if segment.quantile is not None:
                where = f"$.dimensions[{d}].segments[{s}]"
                raise PolicyError(
                    f"{where}: a quantile must become a number first: `regulars policy calibrate FILE`",
                    marked.mark(where, "from_quantile"),
                )
    return policy


def parse_marked(document: str, *, published: bool = False) -> tuple[Policy, Marked]:
    """As `parse`, quantiles allowed, with the places of everything."""
    if len(document.encode()) > MOST_BYTES:
        raise PolicyError(f"{len(document.encode()):,} bytes; a policy has at most {MOST_BYTES:,}")
    try:
        marked = Marked(document)
    except NotYaml as exc:
        raise PolicyError(f"not YAML: {exc}", exc.mark) from exc
    try:
        policy = msgspec.convert(marked.tree, Policy)
    except msgspec.ValidationError as exc:
        raise PolicyError(*marked.explain(exc)) from exc
    _check(policy, marked)
    if not published:
        _check_slips(policy, marked)
    return policy, marked


def _check(policy: Policy, marked: Marked) -> None:
    def refuse(where: str, why: str, key: str | None = None) -> None:
        raise PolicyError(f"{where}: {why}", marked.mark(where, key))

    if policy.time_zone is not None:
        try:
            LocalDays(policy.time_zone)
        except ZoneUnknown as exc:
            refuse("$.time_zone", str(exc))
    for d, dimension in enumerate(policy.dimensions):
        where = f"$.dimensions[{d}]"
        if dimension.over not in (DAYS_SINCE_PURCHASE, *SCORES, *COUNTABLE):
            refuse(f"{where}.over", _no_number(dimension.over))
        if dimension.over == DAYS_SINCE_PURCHASE and dimension.dwell_days:
            refuse(where, "days since the last purchase are crossed to the second; they have no dwell", "dwell_days")
        known: list[float] = []
        names: set[str] = set()
        for s, segment in enumerate(dimension.segments):
            place = f"{where}.segments[{s}]"
            if segment.name in names:
                refuse(f"{place}.name", f"'{segment.name}' stands twice")
            names.add(segment.name)
            begins = segment.bound is not None or segment.quantile is not None
            if s == 0 and begins:
                refuse(place, "the first segment takes what is left; it has no `from`", "from")
            if s > 0 and not begins:
                refuse(place, "`from` is missing; only the first has none")
            if segment.bound is not None and segment.quantile is not None:
                refuse(place, "`from` or `from_quantile`, not both", "from_quantile")
            if segment.bound is not None:
                if not math.isfinite(segment.bound):
                    refuse(f"{place}.from", f"{segment.bound} is no bound")
                if segment.bound < 0 and dimension.over not in COUNTABLE:
                    refuse(f"{place}.from", f"{dimension.over} is never below 0, {segment.bound} is no bound")
                if known and segment.bound <= known[-1]:
                    refuse(
                        f"{place}.from", f"`from` must rise from segment to segment: {segment.bound} after {known[-1]}"
                    )
                known.append(segment.bound)
    seen: set[str] = set()
    for d, dimension in enumerate(policy.dimensions):
        if dimension.name in seen:
            refuse(f"$.dimensions[{d}].name", f"'{dimension.name}' stands twice")
        seen.add(dimension.name)


def _check_slips(policy: Policy, marked: Marked) -> None:
    """Refuses what can be served but can't be meant."""
    unit_minor = unit_minor_of(policy.currency)
    if unit_minor is not None and policy.unit_minor != unit_minor:
        where = "$.unit_minor" if "unit_minor" in marked.tree else "$.currency"
        why = f"{policy.currency} has {unit_minor:,} minor units in a unit, not {policy.unit_minor:,}"
        raise PolicyError(f"{where}: {why}: `unit_minor: {unit_minor}`", marked.mark(where))
    for d, dimension in enumerate(policy.dimensions):
        low, high = _RANGES.get(dimension.over, (-math.inf, math.inf))
        for s, segment in enumerate(dimension.segments):
            bound = segment.bound
            if bound is None or low <= bound <= high:
                continue
            where = f"$.dimensions[{d}].segments[{s}].from"
            meant = f"; did you mean {bound / 100:g}?" if low <= bound / 100 <= high else ""
            why = f"{dimension.over} lies between {low:g} and {high:g}, {bound:g} is no bound"
            raise PolicyError(f"{where}: {why}{meant}", marked.mark(where))


def _no_number(name: str) -> str:
    near = get_close_matches(name, (DAYS_SINCE_PURCHASE, *SCORES, *COUNTABLE), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"'{name}' is none of {', '.join((DAYS_SINCE_PURCHASE, *SCORES))}, and no feature in docs/features.md{hint}"


def load(path: Path | None = None) -> Policy:
    """The policy in the file at `path`, or the one shipped with the package.

    Raises:
        PolicyError: the file can't be read, or holds no policy; the message begins with its path.
    """
    document = read(path)
    try:
        return parse(document)
    except PolicyError as exc:
        raise _in(path, exc) from exc


def read(path: Path | None = None) -> str:
    """The document in the file at `path`, or the one shipped with the package. Raises as `load`."""
    try:
        if path is None:
            return (files("models") / "policies" / "default.yaml").read_text(encoding="utf-8")
        return path.read_text(encoding="utf-8")
    except OSError as exc:
        raise PolicyError(f"{path}: {exc.strerror}") from exc
    except UnicodeDecodeError as exc:
        raise PolicyError(f"{path}: not UTF-8 (byte {exc.start})") from exc


def _in(path: Path | None, error: PolicyError) -> PolicyError:
    named = PolicyError(f"{path or 'default policy'}: {error}")
    named.mark = error.mark
    return named


class Ruling:
    """One dimension, compiled for judging.

    Attributes:
        name: of the dimension.
        segments: names, lowest first.
        bounds: where each segment begins; the first is -inf. Days for a timed dimension, else the number's unit.
        lowered: the same, less the exit margin.
        dwell_s: how long a segment is held at least.
        score: which of the numbers that `Rules.numbers` gives; None for a timed dimension.
        feature: column in `models.features.FEATURES`; None where it isn't cut on one.
        local: whose days a timed dimension counts; None: 86,400 s each.
    """

    __slots__ = ("_index", "bounds", "dwell_s", "feature", "local", "lowered", "name", "score", "segments")

    def __init__(self, dimension: Dimension, numbers: Sequence[str] = SCORES, local: LocalDays | None = None) -> None:
        """Args: numbers: names of what `score` counts."""
        self.local = local
        self.name = dimension.name
        self.segments = tuple(segment.name for segment in dimension.segments)
        self.score = None if dimension.over == DAYS_SINCE_PURCHASE else numbers.index(dimension.over)
        self.feature = COLUMN.get(dimension.over)
        known = [segment.bound for segment in dimension.segments if segment.bound is not None]
        self.bounds = (-NEVER, *(bound - self._tolerance(bound) for bound in known))
        margin = dimension.exit_margin
        lowered = [(bound * (1.0 - margin if bound >= 0 else 1.0 + margin), bound) for bound in known]
        self.lowered = (-NEVER, *(low - self._tolerance(bound) for low, bound in lowered))
        self.dwell_s = dimension.dwell_days * DAY_S - 0.001 if dimension.dwell_days else 0.0
        self._index = {name: i for i, name in enumerate(self.segments)}

    def _tolerance(self, bound: float) -> float:
        if self.score is None:
            return _TOLERANCE_DAYS
        return 0.0 if self.feature is None else _FEATURE_TOLERANCE * max(abs(bound), 1.0)

    def index(self, segment: str) -> int:
        """The place of `segment` in the order; -1 where the policy doesn't know it."""
        return self._index.get(segment, -1)

    def place(self, number: float | None, held: Held | None, at: float) -> str:
        """The segment of a customer whose number is `number` (None: never bought) at `at`, `held` in one so far.

        A bound above the held segment is reached at itself, one at or below it is left only under its lowered value;
        within the dwell the held segment stays, if the policy knows it.
        """
        segments = self.segments
        current = -1
        if held is not None:
            current = self._index.get(held.segment, -1)
            if at - held.since < self.dwell_s and current >= 0:
                return held.segment
        if number is None:
            return segments[0]
        bounds, lowered = self.bounds, self.lowered
        for i in range(len(segments) - 1, 0, -1):
            if number >= (lowered[i] if i <= current else bounds[i]):
                return segments[i]
        return segments[0]

    def places(self, numbers: FloatArray, current: IntArray) -> IntArray:
        """`place` for many, dwell aside: indices of the segments of `numbers`, held in those of index `current`.

        Args:
            numbers: nan: never bought.
            current: -1: held in none, or in one unknown here; broadcast against `numbers`.
        """
        target = np.zeros(np.broadcast_shapes(numbers.shape, current.shape), dtype=np.int64)
        for k in range(1, len(self.segments)):
            target[numbers >= np.where(current >= k, self.lowered[k], self.bounds[k])] = k
        return target

    def kept_between(self, segment: str) -> tuple[float, float]:
        """From where on, and below what, a number keeps whoever is held in `segment`; (nan, nan): nothing does."""
        i = self.index(segment)
        if i < 0:
            return math.nan, math.nan
        return self.lowered[i], self.bounds[i + 1] if i + 1 < len(self.segments) else NEVER

    def passed(self, previous: str, current: str) -> float | None:
        """The bound behind which `current` lies, coming from `previous`; None: there is no order between them."""
        i, j = self.index(previous), self.index(current)
        if i < 0 or i == j:
            return None
        return self.bounds[j] if j > i else self.lowered[j + 1]


class Rules:
    """A policy compiled for judging, once a version."""

    __slots__ = (
        "_crossing_days",
        "crossing_s",
        "features",
        "label",
        "local",
        "policy",
        "review_s",
        "rulings",
        "shop",
        "tag",
    )

    def __init__(self, policy: Policy) -> None:
        self.policy = policy
        self.label = policy.label
        self.tag = policy.tag
        #: What features know of the shop.
        self.shop = Shop(policy.unit_minor, USUAL if policy.season is None else Season(policy.season))
        #: The days of the policy's time zone; None: days are 86,400 s from the purchase on.
        self.local = None if policy.time_zone is None else LocalDays(policy.time_zone)
        over = dict.fromkeys(dimension.over for dimension in policy.dimensions)
        #: Columns of the features that dimensions are cut on.
        self.features = tuple(COLUMN[name] for name in over if name in COLUMN)
        numbers = (*SCORES, *(NAMES[column] for column in self.features))
        self.rulings = tuple(Ruling(dimension, numbers, self.local) for dimension in policy.dimensions)
        self._crossing_days = sorted(
            {
                segment.bound
                for dimension in policy.dimensions
                if dimension.over == DAYS_SINCE_PURCHASE
                for segment in dimension.segments
                if segment.bound
            }
        )
        #: Seconds after the last purchase at which a silent customer crosses a bound without a time zone; 0 is the
        #: purchase itself.
        self.crossing_s = tuple(days * DAY_S for days in self._crossing_days)
        scored = any(ruling.score is not None for ruling in self.rulings)
        quiet = {
            segment.bound
            for dimension in policy.dimensions
            if dimension.over == "quiet_days"
            for segment in dimension.segments
            if segment.bound is not None and segment.bound > 0
        }
        #: Seconds after the latest event at which dimensions over scores and features are looked at again. Days since
        #: that event are themselves a feature: its bounds are moments of their own, and so crossed to the second.
        self.review_s = tuple(days * DAY_S for days in sorted(quiet.union(REVIEW_DAYS))) if scored else ()

    def numbers(self, scorer: Scorer) -> Scorer:
        """`scorer` with the features behind its scores that dimensions are cut on; itself where there are none."""
        return Counted(scorer, self.features) if self.features else scorer

    def days_since(self, bought_at: float, at: float) -> float:
        """Days since the last purchase, as dimensions over them are cut; 0 before it."""
        if self.local is not None:
            return float(self.local.between(bought_at, at))
        return (at - bought_at) / DAY_S if at > bought_at else 0.0

    def crossings(self, bought_at: float) -> list[float]:
        """When a customer who is silent after a purchase crosses each bound on the days since, earliest first."""
        if self.local is None:
            return [bought_at + s for s in self.crossing_s]
        return [self.local.after(bought_at, days) for days in self._crossing_days]

    def crossing_after(self, bought_at: float, after: float) -> float:
        """The first of `crossings` after `after`; `NEVER`: there is none."""
        if self.local is None:
            for s in self.crossing_s:
                if (at := bought_at + s) > after:
                    return at
            return NEVER
        return next((at for at in self.crossings(bought_at) if at > after), NEVER)

    def moments(self, last_event_at: float, last_purchase_at: float | None, after: float, until: float) -> set[float]:
        """Every moment of silence in (after, until) at which a segment may change."""
        found = {at for s in self.review_s if after < (at := last_event_at + s) < until}
        if last_purchase_at is not None:
            found.update(at for at in self.crossings(last_purchase_at) if after < at < until)
        return found

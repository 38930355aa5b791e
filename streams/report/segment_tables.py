"""An evaluation of segments, as tables for people and as figures for programs."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any

from models.decisions.confidence import Interval
from streams.report.challengers import aligned
from streams.report.churn import ChurnQuality
from streams.report.segment_evaluation import SegmentEvaluation
from streams.report.segments import Boundary, DimensionQuality


def tables(found: SegmentEvaluation) -> str:
    """Lines of text: each dimension, then who is lost."""
    first, last = (f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in (found.cutoffs[0], found.cutoffs[-1]))
    head = (
        f"{found.dataset}, policy {found.policy}: {found.customers:,} buyers at {len(found.cutoffs)} cut-offs, {first} to"
        f" {last}; 95 % intervals over customers"
    )
    return "\n\n".join([head, *(_dimension(each) for each in found.dimensions), _churn(found.churn)])


def figures(found: SegmentEvaluation) -> dict[str, Any]:
    """The same as JSON values; a figure that is not defined is null."""
    plain: dict[str, Any] = _plain(found)
    plain["cutoffs"] = [f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d}" for at in found.cutoffs]
    plain["dimensions"] = {each.pop("name"): each for each in plain["dimensions"]}
    for each in plain["dimensions"].values():
        each["by_segment"] = {one.pop("name"): one for one in each["by_segment"]}
        each["boundaries"] = {one.pop("segment"): one for one in each["boundaries"]}
    return plain


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Interval):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _shown(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "-"
    return f"{interval.value:.3f} ({interval.low:.3f} to {interval.high:.3f})"


def _dimension(quality: DimensionQuality) -> str:
    lines = [f"{quality.name}, over {quality.over}; what came in {quality.horizon_days} days: {quality.outcome}"]
    head = ("called", "rows", *(f"came {name}" for name in quality.came_segments))
    counts = [
        (name, f"{sum(row):,}", *(f"{count:,}" for count in row))
        for name, row in zip(quality.segments, quality.confusion, strict=True)
    ]
    lines.append(aligned([head, *counts]))
    if quality.by_segment:
        lines.append(f"segment as called came true: {_shown(quality.accuracy)}")
        rows = [
            (each.name, f"{each.called:,}", _shown(each.precision), _shown(each.recall), _shown(each.f1))
            for each in quality.by_segment
        ]
        lines.append(aligned([("segment", "called", "precision", "recall", "F1"), *rows]))
    if quality.boundaries:
        titles = ("at or above", "base rate", "precision", "recall", "F1", "ROC AUC", "average precision")
        lines.append(aligned([titles, *(_boundary(each) for each in quality.boundaries)]))
        lines += [_thresholds(each) for each in quality.boundaries]
    return "\n".join(lines)


def _boundary(each: Boundary) -> tuple[str, ...]:
    measured = (each.precision, each.recall, each.f1, each.auc, each.average_precision)
    return (f"{each.segment} ({each.bound:g})", f"{each.base_rate:.3f}", *(_shown(one) for one in measured))


def _thresholds(each: Boundary) -> str:
    kept, chosen = each.kept, each.chosen
    if not math.isfinite(kept["f1"]) or not math.isfinite(chosen["f1"]):
        return f"{each.segment}: on the later cut-offs a threshold cannot be judged"
    return (
        f"{each.segment}: on the later cut-offs F1 {kept['f1']:.3f} with the policy's bound {kept['threshold']:g},"
        f" {chosen['f1']:.3f} with {chosen['threshold']:.4g}, the best of the earlier ones"
    )


def _churn(quality: ChurnQuality) -> str:
    costs = quality.costs
    head = (
        f"lost (no purchase in {quality.horizon_days} days): {quality.base_rate:.3f} of {quality.rows:,} rows; a missed one"
        f" costs {costs.missed:g}, an alarm {costs.alarm:g}\non the later cut-offs, per customer: approach everybody"
        f" {quality.cost_of_everybody:.3f}, nobody {quality.cost_of_nobody:.3f}, or whoever is above the threshold of the"
        " earlier ones:"
    )
    rows = [
        (name, _shown(way.auc), _shown(way.average_precision), f"{way.threshold:.4g}", f"{way.cost:.3f}")
        for name, way in quality.ways.items()
    ]
    return head + "\n" + aligned([("told by", "ROC AUC", "average precision", "threshold", "cost"), *rows])

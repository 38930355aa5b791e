"""Every promise of a replayed year, against what then happened. Real Kafka, real workers; reads the topics alone.

    python -m tests.acceptance.verify_promises [online_retail.parquet] [--workers 3] [--kills 1] [--speed max]

A standing in `customer-segments` and a change in `segment-changes` say what happens `next` if nothing more is heard. Each
is a promise, and counted once:

    overtaken   an event of the customer came by that moment (at the very second it comes first)
    superseded  another policy or model judged the customer by then
    open        the moment lies beyond the file's last time
    due         all others: exactly that change must be in the log, at that second, and no other before it

A `next` of null promises that nothing comes until the customer's next event or the file's end, and is counted apart.
Workers serve what REGULARS_POLICY names. Broker, staging and exit codes as in `verify_replay`.
"""

import json
import sys
import tempfile
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.stage import INPUTS, Stage
from tests.acceptance.verify_replay import command_line, fold, read_invoices

NEVER = float("inf")


class Promise(NamedTuple):
    """What one record says of what comes next."""

    customer: str
    source: str  # standing or change
    seen: int  # how many of the customer's events it knows
    as_of: float  # epoch seconds, as all times here
    at: float  # NEVER: nothing comes
    dimension: str
    segment: str
    version: tuple[str, str]  # policy, model


class Verdict(NamedTuple):
    """`counts`: by (source, what became of it). `broken`: what must not be, in words."""

    counts: Counter[tuple[str, str]]
    broken: list[str]

    def total(self, *outcomes: str) -> int:
        """Promises with one of these outcomes; all without."""
        return sum(count for (_, outcome), count in self.counts.items() if not outcomes or outcome in outcomes)


def seconds(stamp: str) -> float:
    """Epoch seconds of an RFC 3339 timestamp."""
    return datetime.fromisoformat(stamp).timestamp()


def promises_of(
    standings: Iterable[Mapping[str, Any]],
    changes: Iterable[Mapping[str, Any]],
    events: Mapping[str, Sequence[tuple[float, str]]],
) -> list[Promise]:
    """What each record promises.

    Args:
        standings: records of `customer-segments`, decoded.
        changes: records of `segment-changes`, decoded, each once.
        events: of each customer (time, event id) in order of time.
    """
    found = []
    for body in standings:
        profile = body["profile"]
        seen = sum(profile[name] for name in ("purchases", "refunds", "clicks", "reviews"))
        found.append(_promise(body, "standing", seen, seconds(body["as_of"])))
    for body in changes:
        own, at = events.get(body["customer_id"], ()), seconds(body["changed_at"])
        cause = body["cause"]
        if cause["kind"] == "event":
            seen = 1 + next(i for i, (_, event_id) in enumerate(own) if event_id == cause["event_id"])
        else:
            seen = bisect_right(own, at, key=lambda event: event[0])
        found.append(_promise(body, "change", seen, at))
    return found


def _promise(body: Mapping[str, Any], source: str, seen: int, as_of: float) -> Promise:
    coming = body["next"] or {"at": None, "dimension": "", "segment": ""}
    at = NEVER if coming["at"] is None else seconds(coming["at"])
    version = (body["versions"]["policy"], body["versions"]["model"])
    return Promise(body["customer_id"], source, seen, as_of, at, coming["dimension"], coming["segment"], version)


def judge(
    promises: Iterable[Promise],
    changes: Iterable[Mapping[str, Any]],
    events: Mapping[str, Sequence[tuple[float, str]]],
    last: float,
) -> Verdict:
    """What became of each promise; `last`: time had come so far at the end. Args else as `promises_of`."""
    moves: dict[str, list[tuple[float, str, str, tuple[str, str]]]] = {}
    for body in changes:
        version = (body["versions"]["policy"], body["versions"]["model"])
        move = (seconds(body["changed_at"]), body["dimension"], body["current"], version)
        moves.setdefault(body["customer_id"], []).append(move)
    counts: Counter[tuple[str, str]] = Counter()
    broken: list[str] = []
    for promise in promises:
        own = events.get(promise.customer, ())
        heard_at = own[promise.seen][0] if promise.seen < len(own) else NEVER
        until = min(promise.at, heard_at, last)
        later = [move for move in moves.get(promise.customer, ()) if promise.as_of < move[0]]
        early = [move for move in later if move[0] < until]
        if any(move[3] != promise.version for move in later if move[0] <= until):
            outcome = "superseded"
        elif promise.at == NEVER:
            outcome = "broken" if early else "nothing came"
        elif heard_at <= promise.at:
            outcome = "broken" if early else "overtaken"
        elif promise.at >= last:  # silence counts strictly before the time that was reached
            outcome = "broken" if early else "open"
        else:
            named = (promise.at, promise.dimension, promise.segment)
            outcome = "came true" if not early and any(move[:3] == named for move in later) else "broken"
        if outcome == "broken":
            said = "nothing" if promise.at == NEVER else f"{promise.dimension} {promise.segment} at {promise.at}"
            broken.append(f"{promise.customer}: {promise.source} of {promise.as_of} promised {said}; came {later[:2]}")
        counts[promise.source, outcome] += 1
    return Verdict(counts, broken)


def verify(path: Path, workers: int, kills: int, speed: str) -> int:
    """Replays `path` and prints what became of its promises; the number of broken ones, -1: none was due."""
    with tempfile.TemporaryDirectory(prefix="verify-promises-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with Stage(folder) as stage:
            for number in range(workers):
                stage.start(number)
            stage.follow(stage.begin_replay(path, speed), kills)
            log = fold((key, value) for key, value in stage.records("segment-changes") if value is not None)
            bodies = dict.fromkeys(value for _, value in stage.records("customer-segments") if value is not None)
            events = _heard(stage)
    last = read_invoices(path)[1].timestamp()
    promises = promises_of(map(json.loads, bodies), log.changes, events)
    verdict = judge(promises, log.changes, events, last)
    print(f"{len(bodies):,} standings and {len(log.changes):,} changes of {len(events):,} customers")
    kept, due = verdict.total("came true"), verdict.total("came true", "broken")
    rows = [("made", verdict.total())]
    rows += [(outcome, verdict.total(outcome)) for outcome in ("overtaken", "superseded", "open", "nothing came")]
    for what, count in [*rows, ("due", due), ("came true at their second", kept)]:
        print(f"{count:>9,}  {what}")
    print(f"kept: {kept / due:.2%}" if due else "no promise fell due")
    for line in [*log.faults, *verdict.broken][:10]:
        print(f"    {line}")
    return len(log.faults) + len(verdict.broken) if due else -1


def _heard(stage: Stage) -> dict[str, list[tuple[float, str]]]:
    """Each customer's events, as `promises_of` takes them."""
    events: dict[str, list[tuple[float, str]]] = {}
    for topic in INPUTS:
        for key, value in stage.records(topic):
            if key and value:
                body = json.loads(value)
                events.setdefault(key.decode(), []).append((seconds(body["event_time"]), body["event_id"]))
    for own in events.values():
        own.sort(key=lambda event: event[0])  # stable: the order of the log where times are equal
    return events


def main() -> int:
    """The command line."""
    return command_line("verify-promises", "Compare what was promised with what then came.", verify)


if __name__ == "__main__":
    sys.exit(main())

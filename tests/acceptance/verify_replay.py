"""A real year replayed through the real thing, against a direct computation on its file. `make verify-replay`.

    python -m tests.acceptance.verify_replay [online_retail.parquet] [--workers 3] [--kills 1] [--speed max]

Knows nothing of the product's code: it runs the command line, reads the topics with another client and computes with
pandas. Three things are compared, and each prints its number of differences (0 is right):

    states      `regulars state export`: purchases, refunds, spend_minor, refunded_minor, first and last purchase
    log         `segment-changes` by (customer_id, sequence): holes, one id with two bodies, broken chains, and its
                fold against `customer-segments`
    lifecycle   every change of the default policy's lifecycle: segments, cause and second

Uses the Kafka that REGULARS_BOOTSTRAP_SERVERS names, under a topic prefix of its own; starts one where none is named.
Exit codes: 0 no difference (or no file to replay), 1 differences or a step failed, 2 wrong use.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tests.acceptance.stage import ROOT, Stage, StepFailed

AT_RISK_AFTER, LAPSED_AFTER = pd.Timedelta(days=30), pd.Timedelta(days=90)
COUNTS = ["purchases", "refunds", "spend_minor", "refunded_minor"]
TIMES = ["first_purchase_at", "last_purchase_at"]


# --- what must be, from the file alone


def read_invoices(path: Path) -> tuple[pd.DataFrame, pd.Timestamp]:
    """One row an invoice and customer (customer_id, at, minor, refund) in the file's order; the file's last time."""
    lines = pd.read_parquet(path)
    lines["at"] = pd.to_datetime(lines["InvoiceDate"], utc=True)
    last = lines["at"].max()
    lines = lines[lines["CustomerID"].notna()].copy()
    lines["refund"] = lines["InvoiceNo"].str.startswith("C")
    lines = lines[lines["refund"] | ((lines["Quantity"] > 0) & (lines["UnitPrice"] > 0))].copy()
    lines["customer_id"] = lines["CustomerID"].astype("int64").astype(str)
    # Quantities are below 10^5 and prices have three places: the float product is within 10^-6 of the exact one, and
    # none of the file's lines lies that near a half penny.
    lines["minor"] = (lines["Quantity"] * lines["UnitPrice"] * 100).round().astype("int64")
    invoices = lines.groupby(["InvoiceNo", "customer_id"], sort=False).agg(
        at=("at", "first"), minor=("minor", "sum"), refund=("refund", "first")
    )
    invoices = invoices.reset_index("customer_id").reset_index(drop=True)
    invoices.loc[invoices["refund"], "minor"] *= -1
    invoices = invoices[invoices["minor"] > 0]
    return invoices.sort_values("at", kind="stable").reset_index(drop=True), last


def expected_states(invoices: pd.DataFrame) -> pd.DataFrame:
    """One row a customer, index customer_id, columns `COUNTS` and `TIMES`."""
    bought, returned = invoices[~invoices["refund"]], invoices[invoices["refund"]]
    spent = bought.groupby("customer_id").agg(
        purchases=("minor", "size"),
        spend_minor=("minor", "sum"),
        first_purchase_at=("at", "min"),
        last_purchase_at=("at", "max"),
    )
    back = returned.groupby("customer_id").agg(refunds=("minor", "size"), refunded_minor=("minor", "sum"))
    states = spent.join(back, how="outer")
    states[COUNTS] = states[COUNTS].fillna(0).astype("int64")
    return states[COUNTS + TIMES]


def expected_lifecycle(invoices: pd.DataFrame, last: pd.Timestamp) -> pd.DataFrame:
    """Every lifecycle change by customer and time: customer_id, at, previous, current, kind (event or silence).

    A due moment fires when event time goes past it; a purchase at that very second comes first and cancels it.
    """
    bought = invoices[~invoices["refund"]][["customer_id", "at"]].copy()
    by_customer = bought.groupby("customer_id")["at"]
    bought["before"], bought["after"] = by_customer.shift(1), by_customer.shift(-1)
    reach = bought["after"].fillna(last)
    at_risk, lapsed = bought["at"] + AT_RISK_AFTER, bought["at"] + LAPSED_AFTER
    silences = pd.concat(
        [
            _changes(bought[at_risk < reach], at_risk, "active", "at_risk", "silence"),
            _changes(bought[lapsed < reach], lapsed, "at_risk", "lapsed", "silence"),
        ]
    )
    gap = bought["at"] - bought["before"]
    returns = pd.concat(
        [
            _changes(bought[gap > LAPSED_AFTER], bought["at"], "lapsed", "active", "event"),
            _changes(bought[(gap > AT_RISK_AFTER) & (gap <= LAPSED_AFTER)], bought["at"], "at_risk", "active", "event"),
        ]
    )
    firsts = invoices.drop_duplicates("customer_id")
    buyers = firsts[~firsts["refund"]]
    browsers = firsts[firsts["refund"]]
    debuts = bought[bought["before"].isna() & bought["customer_id"].isin(browsers["customer_id"])]
    begins = pd.concat(
        [
            _changes(buyers, buyers["at"], None, "active", "event"),
            _changes(browsers, browsers["at"], None, "prospect", "event"),
            _changes(debuts, debuts["at"], "prospect", "active", "event"),
        ]
    )
    changes = pd.concat([begins, silences, returns])
    changes["order"] = changes["previous"].notna().astype(int)
    changes = changes.sort_values(["customer_id", "at", "order"], kind="stable")
    return changes.drop(columns="order").reset_index(drop=True)


def _changes(rows: pd.DataFrame, at: pd.Series, previous: str | None, current: str, kind: str) -> pd.DataFrame:
    made = pd.DataFrame({"customer_id": rows["customer_id"], "at": at.loc[rows.index]})
    return made.assign(previous=pd.Series(previous, index=made.index, dtype=object), current=current, kind=kind)


# --- what is


class Log(NamedTuple):
    """`segment-changes` folded.

    Attributes:
        changes: one row a (customer_id, sequence), in that order, as the JSON has it.
        segments: customer_id -> {dimension: current} after the last change.
        sequences: customer_id -> last sequence.
        repeats: deliveries beyond the first of a change; allowed.
        faults: what must not be, in words.
    """

    changes: list[dict[str, Any]]
    segments: dict[str, dict[str, str]]
    sequences: dict[str, int]
    repeats: int
    faults: list[str]


def fold(records: Iterable[tuple[bytes, bytes]]) -> Log:
    """The log's (key, body) pairs, dropped where (customer_id, sequence) was seen, and checked."""
    bodies: dict[tuple[str, int], bytes] = {}
    repeats = 0
    faults: list[str] = []
    for key, body in records:
        change = json.loads(body)
        name = (change["customer_id"], change["sequence"])
        if key.decode() != change["customer_id"] or change["change_id"] != f"{name[0]}:{name[1]}":
            faults.append(f"{name}: key or change_id say another customer or sequence")
        if name in bodies:
            repeats += 1
            if bodies[name] != body:
                faults.append(f"{name}: delivered with two bodies")
            continue
        bodies[name] = body
    changes = [json.loads(bodies[name]) for name in sorted(bodies)]
    segments: dict[str, dict[str, str]] = {}
    sequences: dict[str, int] = {}
    for change in changes:
        customer, sequence, dimension = change["customer_id"], change["sequence"], change["dimension"]
        if sequence != sequences.get(customer, 0) + 1:
            faults.append(f"{customer}: sequence {sequence} follows {sequences.get(customer, 0)}")
        held = segments.setdefault(customer, {})
        if change["previous"] != held.get(dimension):
            faults.append(f"{customer}:{sequence}: {dimension} was {held.get(dimension)}, not {change['previous']}")
        held[dimension], sequences[customer] = change["current"], sequence
    return Log(changes, segments, sequences, repeats, faults)


def standing_differences(log: Log, standings: dict[str, bytes | None]) -> list[str]:
    """Where the compacted table isn't the fold of the log."""
    found: list[str] = []
    for customer in sorted(log.segments.keys() | standings.keys()):
        body = standings.get(customer)
        standing = {} if body is None else json.loads(body)
        is_ = (standing.get("segments", {}), standing.get("sequence", 0))
        must = (log.segments.get(customer, {}), log.sequences.get(customer, 0))
        if is_ != must:
            found.append(f"{customer}: standing {is_}, fold of the log {must}")
    return found


def state_differences(expected: pd.DataFrame, exported: pd.DataFrame) -> list[str]:
    """Where the export isn't the file: customers too many or too few, and cells that differ."""
    found = [f"{customer}: not exported" for customer in expected.index.difference(exported.index)]
    found += [f"{customer}: not in the file" for customer in exported.index.difference(expected.index)]
    both = expected.index.intersection(exported.index)
    for column in COUNTS + TIMES:
        must, is_ = expected.loc[both, column], exported.loc[both, column]
        if column in TIMES:
            is_ = pd.to_datetime(is_, utc=True)
        wrong = ~((must == is_) | (must.isna() & is_.isna()))
        found += [f"{customer}: {column} {is_[customer]}, must be {must[customer]}" for customer in both[wrong]]
    return found


def lifecycle_differences(expected: pd.DataFrame, log: Log) -> list[str]:
    """Where the log's lifecycle changes aren't those of the file, customer by customer."""
    must: dict[str, list[tuple[Any, ...]]] = {}
    for row in expected.itertuples(index=False):
        must.setdefault(row.customer_id, []).append((row.at, _none(row.previous), row.current, row.kind))
    is_: dict[str, list[tuple[Any, ...]]] = {}
    found: list[str] = []
    for change in log.changes:
        if change["dimension"] != "lifecycle":
            continue
        cause, at = change["cause"], pd.Timestamp(change["changed_at"])
        is_.setdefault(change["customer_id"], []).append((at, change["previous"], change["current"], cause["kind"]))
        if cause["kind"] == "silence" and pd.Timestamp(cause["due_at"]) != at:
            found.append(f"{change['change_id']}: due at {cause['due_at']}, stamped {change['changed_at']}")
    for customer in sorted(must.keys() | is_.keys()):
        wanted, got = must.get(customer, []), is_.get(customer, [])
        for position in range(max(len(wanted), len(got))):
            pair = [side[position] if position < len(side) else None for side in (wanted, got)]
            if pair[0] != pair[1]:
                found.append(
                    f"{customer}: lifecycle change {position + 1} is {_said(pair[1])}, must be {_said(pair[0])}"
                )
    return found


def _none(value: Any) -> Any:
    return None if pd.isna(value) else value


def _said(change: tuple[Any, ...] | None) -> str:
    return "missing" if change is None else f"{change[1]} -> {change[2]} at {change[0].isoformat()} ({change[3]})"


# --- the verification


def verify(path: Path, workers: int, kills: int, speed: str) -> int:
    """Replays `path` and prints what differs; the number of differences."""
    invoices, last = read_invoices(path)
    states, lifecycle = expected_states(invoices), expected_lifecycle(invoices, last)
    buyers = int((states["purchases"] > 0).sum())
    print(
        f"file: {len(invoices):,} invoices of {len(states):,} customers ({buyers:,} buy), "
        f"{states['spend_minor'].sum() / 100:,.2f} spent, {len(lifecycle):,} lifecycle changes due"
    )
    with tempfile.TemporaryDirectory(prefix="verify-replay-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with Stage(folder) as stage:
            for number in range(workers):
                stage.start(number)
            begun = time.monotonic()
            stage.follow(stage.begin_replay(path, speed), kills)
            print(f"replayed and processed in {time.monotonic() - begun:.0f} s")
            stage.run("state", "export", "--out", str(folder / "states.parquet"))
            exported = pd.read_parquet(folder / "states.parquet").set_index("customer_id")
            log = fold((key, value) for key, value in stage.records("segment-changes") if value is not None)
            standings = {key.decode(): value for key, value in stage.records("customer-segments")}
            letters = sum(1 for _ in stage.records("dead-letters"))
    print(f"log: {len(log.changes):,} changes, {log.repeats:,} of them delivered again, {letters:,} dead letters")
    findings = {
        "states": state_differences(states, exported),
        "log": log.faults + standing_differences(log, standings),
        "lifecycle": lifecycle_differences(lifecycle, log),
    }
    if letters:
        findings["log"].append(f"{letters} dead letters of a file that has none")
    for what, found in findings.items():
        print(f"{what}: {len(found)} differences")
        for line in found[:10]:
            print(f"    {line}")
    return sum(len(found) for found in findings.values())


def arguments(description: str) -> argparse.Namespace:
    """What the command line says: file, workers, kills, speed."""
    parser = argparse.ArgumentParser(description=description)
    shared = Path(os.environ.get("REGULARS_SHARED", ROOT.parent / "shared"))
    parser.add_argument("file", nargs="?", type=Path, default=shared / "data" / "online_retail.parquet")
    parser.add_argument("--workers", type=int, default=1, help="how many share the work (default 1)")
    parser.add_argument("--kills", type=int, default=0, help="kill -9 a worker so many times on the way (default 0)")
    parser.add_argument("--speed", default="max", help="of the replay: max, or times real time")
    return parser.parse_args()


def command_line(name: str, purpose: str, check: Callable[[Path, int, int, str], int]) -> int:
    """Parses the arguments, runs `check` (file, workers, kills, speed), which counts what is wrong; gives the exit code."""
    options = arguments(purpose)
    if not options.file.exists():
        print(f"skipped: there is no {options.file}; name UCI Online Retail as a parquet file to verify with it")
        return 0
    from confluent_kafka import KafkaException

    try:
        wrong = check(options.file, options.workers, options.kills, options.speed)
    except (StepFailed, KafkaException) as exc:
        print(f"{name}: {exc}", file=sys.stderr)
        return 1
    return 1 if wrong else 0


def main() -> int:
    """The command line."""
    return command_line("verify-replay", "Compare a replayed year with a direct computation on its file.", verify)


if __name__ == "__main__":
    sys.exit(main())

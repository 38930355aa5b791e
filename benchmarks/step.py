"""What the step costs per event, without Kafka: `ScoringJob.decode` and `.step` over chunks of known customers.

    python benchmarks/step.py [--against CHECKOUT] [--turns 5] [--customers 20000] [--chunk 8000] [--alone] [--campaigns]

90 % clicks, 9 % purchases, 1 % reviews whose texts are cached. `--against` names a checkout of another commit: both
run in turns, each in a process of its own, and the medians and their ratio are printed. Figures are the process's CPU
time, so that work beside it disturbs them less. `--alone`: one event per chunk, as under little load. `--campaigns`: with
two campaigns on, in turns with none; the first decides about every new customer, the second about every first purchase.
"""

import argparse
import gc
import json
import os
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

START_S = 1.7e9
KINDS = ("view",) * 78 + ("add_to_cart",) * 10 + ("wishlist",) * 4 + ("remove_from_cart",) * 4 + ("checkout",) * 4
GC_THRESHOLD = (200_000, 20, 100)  # as the worker sets it
VECTOR = 16  # numbers of a reading
BEFORE, COUNTED = 6, 6  # chunks that make customers known, chunks that are counted


class Record(NamedTuple):
    """What the job reads of a consumer's record."""

    topic: str
    partition: int
    offset: int
    key: Any
    value: Any
    headers: Any = ()
    timestamp: int = 0
    timestamp_type: int = 0


class Texts:
    """Every text has been read."""

    version = "fake"

    def cached(self, texts: list[str]) -> list[Any]:
        """One reading for all."""
        from models.state import Reading

        return [Reading((0.1,) * VECTOR, 0.5) for _ in texts]


class Nobody:
    """An observer that looks away."""

    def events(self, *_: Any) -> None:
        """Nothing."""

    revoked = changes = decided = erased = events

    restored = revoked


def make_job() -> Any:
    """A job of one partition under the shipped policy, of this checkout or of an earlier one."""
    from models.policy import Rules, load
    from models.scores import PriorScorer
    from streams.settings import Settings

    settings, rules = Settings(partitions=1, clock="event"), Rules(load())
    try:
        from streams.worker.scoring import ScoringJob

        made: Any = ScoringJob(
            settings,
            rules,
            PriorScorer(),
            readings=Texts(),
            waiting=Nobody(),
            observer=Nobody(),  # type: ignore[arg-type]
        )
    except ImportError:  # before `streams` was laid out by process
        from streams.scoring import ScoringJob as FormerJob  # type: ignore[import-not-found]

        made = FormerJob(settings, rules, PriorScorer(), Texts(), Nobody())
    list(made.restored(0, iter(())) or ())  # earlier commits give nothing
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    return made


def chunk(rnd: random.Random, size: int, customers: int, start_s: float, offset: int) -> list[Record]:
    """`size` records of customers drawn evenly."""
    from schemas.times import to_rfc3339

    records = []
    for i in range(size):
        customer, at, which = f"c{int(customers * rnd.random()):07d}", start_s + i * 0.02, rnd.random()
        event = {"event_id": f"e{offset + i:09d}", "customer_id": customer, "event_time": to_rfc3339(at)}
        if which < 0.9:
            topic = "clickstream"
            event |= {"type": rnd.choice(KINDS), "session_id": f"s{customer}-{int(at) // 1800}", "product_id": "p1"}
        elif which < 0.99:
            topic = "purchases"
            event |= {"type": "purchase", "order_id": f"o{i}", "amount_minor": rnd.randrange(100, 20_000)}
            event |= {"currency": "GBP"}
        else:
            topic = "reviews"
            event |= {"type": "review", "text": f"good {rnd.randrange(1000)}", "rating": rnd.randrange(1, 6)}
        records.append(Record(topic, 0, offset + i, customer.encode(), json.dumps(event).encode()))
    return records


CAMPAIGN = """campaign: %s
version: "1"
when: {dimension: lifecycle, to: %s}
arms: [{name: small, cost: 1.00}, {name: large, cost: 3.00}]
reward: {target: spend, days: 14}
choose: {by: bandit, floor: 0.05}
holdout: 0.1
limits: {per_customer: {actions: 1, days: 14}, budget: {amount: 100000.00, days: 30}, quiet_hours: "21:00-08:00"}
"""


def measure(customers: int, size: int, known: int, campaigns: bool) -> dict[str, float]:
    """Microseconds of CPU an event, and bytes a state."""
    job, states, rnd = make_job(), {}, random.Random(3)
    if campaigns:
        from models.decisions.board import Board
        from models.decisions.campaign import parse

        job.board = Board([parse(CAMPAIGN % ("hello", "prospect")), parse(CAMPAIGN % ("welcome", "active"))])
    before = max(BEFORE, known * 2 // size)
    chunks = [chunk(rnd, size, customers, START_S + k * size, k * size) for k in range(before + COUNTED)]
    decoded, stepped, outputs, seen = [], [], 0, 0
    for k, records in enumerate(chunks):
        began = time.process_time()
        work = job.decode(0, records)
        middle = time.process_time()
        values = [states.get(key) for key in work.keys]
        again = time.process_time()
        effects = job.step(0, work, values)
        ended = time.process_time()
        for put in effects.puts:
            states[put.key] = put.value
        if k >= before:
            decoded.append(middle - began)
            stepped.append(ended - again)
            outputs += sum(len(put.outputs) for put in effects.puts)
            seen += len(work.keys)
    sizes = sorted(len(value) for value in states.values())
    return {
        "decode_us": statistics.median(decoded) / size * 1e6,
        "step_us": statistics.median(stepped) / size * 1e6,
        "customers": seen / COUNTED,
        "outputs": outputs / COUNTED,
        "state_bytes": statistics.fmean(sizes),
        "state_bytes_p50": sizes[len(sizes) // 2],
    }


def measure_alone(customers: int) -> dict[str, float]:
    """Microseconds of a step of one event, of customers known before."""
    job, states, rnd = make_job(), {}, random.Random(3)
    for k in range(4):
        work = job.decode(0, chunk(rnd, 5000, customers, START_S + k * 5000, k * 5000))
        for put in job.step(0, work, [states.get(key) for key in work.keys]).puts:
            states[put.key] = put.value
    took = []
    for record in chunk(rnd, 2000, customers, START_S + 20_000, 20_000):
        work = job.decode(0, [record])
        values = [states.get(key) for key in work.keys]
        began = time.process_time()
        effects = job.step(0, work, values)
        took.append(time.process_time() - began)
        for put in effects.puts:
            states[put.key] = put.value
    took.sort()
    return {"alone_us": took[len(took) // 2] * 1e6, "alone_p90_us": took[len(took) * 9 // 10] * 1e6}


def turn(checkout: Path, options: list[str]) -> dict[str, float]:
    """One measurement in a process of its own."""
    here = Path(__file__).resolve()
    done = subprocess.run(
        [sys.executable, str(here), "--once", *options],
        env={**os.environ, "PYTHONPATH": str(checkout)},
        cwd=checkout,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


def main() -> None:
    """Prints a line per checkout, and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--against", type=Path)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--customers", type=int, default=20_000)
    parser.add_argument("--chunk", type=int, default=8000)
    parser.add_argument("--known", type=int, default=0, help="events before those that are counted, halved")
    parser.add_argument("--alone", action="store_true")
    parser.add_argument("--campaigns", action="store_true")
    parser.add_argument("--once", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.once:
        alone = measure_alone(args.customers) if args.alone else None
        print(json.dumps(alone or measure(args.customers, args.chunk, args.known, args.campaigns)))
        return
    options = [f"--customers={args.customers}", f"--chunk={args.chunk}", f"--known={args.known}"]
    options += ["--alone"] if args.alone else []
    checkouts = [Path(__file__).resolve().parents[1]] + ([args.against.resolve()] if args.against else [])
    own = [options] * len(checkouts)
    if args.campaigns:
        checkouts, own = [*checkouts[:1] * 2], [[*options, "--campaigns"], options]
    turns: list[list[dict[str, float]]] = [[] for _ in checkouts]
    for _ in range(args.turns):
        for checkout, with_options, taken in zip(checkouts, own, turns, strict=True):
            taken.append(turn(checkout, with_options))
    medians = [{name: statistics.median(each[name] for each in taken) for name in taken[0]} for taken in turns]
    for checkout, figures in zip(checkouts, medians, strict=True):
        print(checkout.name, {name: round(value, 1) for name, value in figures.items()})
    if len(medians) > 1:
        print("ratio", {name: round(value / medians[1][name], 3) for name, value in medians[0].items()})


if __name__ == "__main__":
    main()

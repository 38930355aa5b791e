"""What a shadow policy adds to a step: microseconds and bytes a customer, over the shipped policy and one on features.

python benchmarks/shadow.py [--customers 12800]
"""

import argparse
import time
import tracemalloc
from datetime import UTC, datetime

from msgspec.structs import replace

from models.policy import Dimension, Policy, Rules, Segment, load
from models.scores import PriorScorer
from models.shadow import Shadow
from models.state import PURCHASE
from models.step import Customer, Heard, Outcome, Terms, advance
from schemas.events import Purchase
from schemas.states import NEVER
from streams.worker.scoring import WAVE

START_S = 1_300_000_000.0


def outcomes(customers: int) -> tuple[list[list[Outcome]], float]:
    """Chunks of customers who just bought, and how long the step took over them."""
    terms, chunks, took_s = Terms(Rules(load()), PriorScorer(), -NEVER), [], 0.0
    for start in range(0, customers, WAVE):
        new = []
        for n in range(start, min(start + WAVE, customers)):
            at = START_S + n
            event = Purchase("e", f"c{n}", datetime.fromtimestamp(at, UTC), "purchase", "o", 100 + n, "GBP")
            new.append(Customer(f"c{n}", None, NEVER, [Heard(PURCHASE, "purchases", 0, n, at, event)]))
        began = time.perf_counter()
        chunks.append(advance(new, terms))
        took_s += time.perf_counter() - began
    return chunks, took_s


def on_features() -> Policy:
    """The shipped policy with a dimension over a feature."""
    more = Dimension("loyalty", "purchases", (Segment("new"), Segment("loyal", 3.0)))
    return replace(load(), dimensions=(*load().dimensions, more))


def main() -> None:
    """Prints a line a policy."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--customers", type=int, default=12_800)
    customers = parser.parse_args().customers
    chunks, step_s = outcomes(customers)
    print(f"step: {step_s / customers * 1e6:.1f} us a customer")
    for name, policy in (("shipped", load()), ("on features", on_features())):
        shadow, began = Shadow(Rules(policy)), time.perf_counter()
        for chunk in chunks:
            shadow.see(0, chunk)
        took_s = time.perf_counter() - began
        tracemalloc.start()
        measured = Shadow(Rules(policy))
        for chunk in chunks:
            measured.see(0, chunk)
        size = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        print(
            f"shadow, {name}: {took_s / customers * 1e6:.1f} us a customer ({took_s / step_s:.0%} of the step), "
            f"{size / customers:.0f} bytes a customer"
        )
    began = time.perf_counter()
    shadow.reach(0, START_S + 40 * 86_400)
    print(f"one look at silence: {(time.perf_counter() - began) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()

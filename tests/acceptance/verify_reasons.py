"""Every move of a real year: do its reasons add up, and does its counterfactual hold when it is scored again?

    python -m tests.acceptance.verify_reasons online_retail.parquet [--customers 1000]
    python -m tests.acceptance.verify_reasons --topic [PREFIX]segment-changes

With a file, every customer's invoices go through the pure step one by one, silence moves them in between, and each move is
checked on the state that it was decided on: baseline and contributions against the number, and the counterfactual by
changing that one feature and placing the customer again. With a topic (of the Kafka that REGULARS_BOOTSTRAP_SERVERS names)
each change's baseline and contributions are held against the score it carries.
Exit codes: 0 all hold, 1 not all, 2 wrong use.
"""

import argparse
import json
import os
import sys
from collections import Counter
from pathlib import Path

from models.counterfactual import instead
from models.features import rows
from models.policy import DAYS_SINCE_PURCHASE, Rules, Ruling, load
from models.scores import PriorScorer
from models.state import PURCHASE
from models.step import Customer, Heard, Move, Outcome, Terms, step
from schemas.changes import Contribution
from schemas.events import Purchase
from schemas.states import NEVER, CustomerState, Held
from schemas.times import DAY_S
from tests.acceptance.verify_replay import read_invoices

TOLERANCE = 1e-6
RULES, SCORER = Rules(load()), PriorScorer()
RULINGS = {ruling.name: ruling for ruling in RULES.rulings}


def total(baseline: float | None, reasons: tuple[Contribution, ...]) -> float | None:
    """What baseline and contributions sum to."""
    return None if baseline is None else baseline + sum(reason.contribution for reason in reasons)


def number_of(ruling: Ruling, move: Move, state: CustomerState) -> float | None:
    """The number that was judged, computed anew."""
    if ruling.score is not None:
        return float(SCORER.score(rows([state], [move.at], RULES.shop))[0, ruling.score])
    bought_at = state.last_purchase_at
    return None if bought_at is None else max(move.at - bought_at, 0.0) / DAY_S


def holds(ruling: Ruling, move: Move, state: CustomerState, held: Held) -> bool:
    """Whether the counterfactual keeps the previous segment."""
    keeper = move.counterfactual
    assert keeper is not None
    number: float | None
    if ruling.score is None:
        number = None if keeper.feature == "purchases" else keeper.instead
    else:
        x = instead(rows([state], [move.at], RULES.shop)[0], keeper)
        number = float(SCORER.score(x[None, :])[0, ruling.score])
    return ruling.place(number, Held(held.segment, -NEVER), move.at) == move.previous


class Follower:
    """One customer, moment by moment, so that each move is seen with the state that it was decided on."""

    def __init__(self, told: Counter[str]) -> None:
        self.told = told
        self.state: CustomerState | None = None
        self.due = NEVER

    def take(self, heard: list[Heard], horizon: float) -> None:
        """What was heard, or silence until `horizon`; checks the moves."""
        held = {} if self.state is None else self.state.segments
        outcome: Outcome = step(Customer("c", self.state, self.due, heard), Terms(RULES, SCORER, horizon))
        if outcome.state is not None:
            self.state, self.due = outcome.state, outcome.due
        assert self.state is not None
        for move in outcome.moves:
            self.check(move, self.state, held.get(move.dimension))

    def check(self, move: Move, state: CustomerState, held: Held | None) -> None:
        """Counts what holds and what doesn't."""
        told, ruling = self.told, RULINGS[move.dimension]
        told["moves"] += 1
        number, said = number_of(ruling, move, state), total(move.baseline, move.reasons)
        adds_up = said is number is None or (
            said is not None and number is not None and abs(said - number) <= TOLERANCE * max(1.0, abs(number))
        )
        told["reasons that add up" if adds_up else "REASONS THAT DO NOT ADD UP"] += 1
        if held is None:
            return
        told["moves out of a segment"] += 1
        order = ruling.index(move.current) - ruling.index(held.segment)
        moved = sum(reason.contribution for reason in move.reasons)
        told["sums that point the way" if moved * order >= -TOLERANCE else "SUMS THAT POINT THE OTHER WAY"] += 1
        if move.counterfactual is None:
            told[f"{move.dimension} without a counterfactual"] += 1
            return
        good = holds(ruling, move, state, held)
        told["counterfactuals that hold" if good else "COUNTERFACTUALS THAT DO NOT HOLD"] += 1
        told[f"{move.dimension} kept by {move.counterfactual.feature}"] += 1


def over_file(path: Path, customers: int | None) -> Counter[str]:
    """Checks the moves of the file's customers, or of the first `customers`."""
    invoices, last = read_invoices(path)
    told: Counter[str] = Counter()
    end = last.timestamp()
    for n, (_, own) in enumerate(invoices.groupby("customer_id", sort=False)):
        if customers is not None and n >= customers:
            break
        follower = Follower(told)
        for offset, invoice in enumerate(own.itertuples()):
            at = invoice.at.timestamp()
            kind = "refund" if invoice.refund else "purchase"
            event = Purchase(f"e{offset}", "c", invoice.at.to_pydatetime(), kind, "o", int(invoice.minor), "GBP")  # type: ignore[arg-type]
            while follower.state is not None and follower.due < at:
                follower.take([], follower.due + 0.5)
            follower.take([Heard(PURCHASE, "purchases", 0, offset, at, event)], -NEVER)
        while follower.due < end:
            follower.take([], follower.due + 0.5)
    return told


def over_topic(topic: str) -> Counter[str]:
    """Checks the changes of a topic, each once, under the default policy."""
    from confluent_kafka import Consumer, TopicPartition

    servers = os.environ.get("REGULARS_BOOTSTRAP_SERVERS", "127.0.0.1:9092")
    consumer = Consumer({"bootstrap.servers": servers, "group.id": "verify-reasons", "enable.auto.commit": False})
    over = {dimension.name: dimension.over for dimension in RULES.policy.dimensions}
    told: Counter[str] = Counter()
    seen: set[str] = set()
    for partition in consumer.list_topics(topic, timeout=20).topics[topic].partitions:
        first, end = consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=20)
        consumer.assign([TopicPartition(topic, partition, first)])
        while first < end:
            for message in consumer.consume(1000, 1.0):
                first = message.offset() + 1
                body = json.loads(message.value())
                if body["change_id"] in seen:
                    continue
                seen.add(body["change_id"])
                told["moves"] += 1
                moved, score = sum(r["contribution"] for r in body["reasons"]), over[body["dimension"]]
                if score == DAYS_SINCE_PURCHASE:
                    number = next((r["value"] for r in body["reasons"] if r["feature"] == "recency_days"), 0.0)
                else:
                    number = body["scores"][score]
                good = abs(body.get("baseline", 0.0) + moved - number) <= TOLERANCE * max(1.0, abs(number))
                told["reasons that add up" if good else "REASONS THAT DO NOT ADD UP"] += 1
    consumer.close()
    return told


def main() -> int:
    """Prints what was counted; see the module for exit codes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("file", type=Path, nargs="?")
    parser.add_argument("--customers", type=int, help="the first so many; default: all")
    parser.add_argument("--topic", help="full name of a segment-changes topic, instead of a file")
    given = parser.parse_args()
    if (given.file is None) == (given.topic is None):
        parser.error("give a file, or a topic")
    told = over_topic(given.topic) if given.topic is not None else over_file(given.file, given.customers)
    for name, count in told.items():
        print(f"{count:>9,}  {name}")
    return int(any(name.isupper() for name in told) or not told["moves"])


if __name__ == "__main__":
    sys.exit(main())

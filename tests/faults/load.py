"""What a careless shop sends: events at a steady rate, with retries, late events and records that are no events."""

import json
import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from confluent_kafka import Producer

BEGIN = datetime(2005, 1, 1, tzinfo=UTC)
# A quarter of an hour of event time an event: 10,000 of them are 104 days, so that silence moves customers as well;
# 700,000 are twenty years, and then comes the future, which is refused.
STEP = timedelta(minutes=15)
CLICKS = ("view", "view", "view", "search", "add_to_cart", "remove_from_cart", "wishlist", "checkout")
SENTENCES = ("I love it", "It broke after a week", "Fits well", "Never again", "As described, quick delivery")


class Load:
    """Events of `customers`, made from a seed; `send` now, or `run` at a rate in a thread.

    One in fifty is sent twice (a retry), one in fifty is three days late, one in `poison` is no event. Reviews have no
    text, so that no encoder is needed, unless `texts` says how many in a hundred have one. An event's time is `step` after
    the one before it; `live`: the time at which it is sent.
    """

    def __init__(
        self,
        servers: str,
        prefix: str,
        *,
        customers: int = 200,
        seed: int = 1,
        poison: int = 100,
        texts: int = 0,
        step: timedelta = STEP,
        live: bool = False,
    ) -> None:
        self.sent = 0
        self._step, self._live = step, live
        self._rnd, self._seed = random.Random(seed), seed
        self._prefix, self._customers, self._poison, self._texts = prefix, customers, poison, texts
        self._producer = Producer(
            {
                "bootstrap.servers": servers,
                "partitioner": "murmur2_random",
                "enable.idempotence": True,
                "linger.ms": 5,
                "message.timeout.ms": 300_000,
                "socket.timeout.ms": 10_000,
                "log_level": 0,
            }
        )
        self._failed = 0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def send(self, count: int) -> None:
        """Produces `count` events and waits until Kafka has them."""
        for _ in range(count):
            self._one()
        self.flush()

    def run(self, rate: float) -> None:
        """Produces `rate` events a second until `stop`."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._produce, args=(rate,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends `run`; returns when Kafka has everything."""
        if self._thread is not None:
            self._stop.set()
            self._thread.join()
            self._thread = None
        self.flush()

    def abandon(self) -> None:
        """Ends `run` at once; what Kafka does not have yet is never sent."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self._producer.purge()

    def flush(self) -> None:
        """Returns when Kafka has everything."""
        left = self._producer.flush(180)
        if left or self._failed:
            raise RuntimeError(f"{left} records not delivered, {self._failed} failed: the run says nothing")

    def _produce(self, rate: float) -> None:
        began, first = time.monotonic(), self.sent
        while not self._stop.is_set():
            due = first + int((time.monotonic() - began) * rate)
            while self.sent < due:
                self._one()
            self._stop.wait(0.01)

    def _one(self) -> None:
        rnd = self._rnd
        number, self.sent = self.sent, self.sent + 1
        now = datetime.now(UTC) if self._live else BEGIN + number * self._step
        at = now - (timedelta(days=3) if rnd.random() < 0.02 else timedelta())
        customer = f"c{int(self._customers * rnd.random() ** 2):05d}"
        event: dict[str, Any] = {"event_id": f"e{self._seed}-{number}", "customer_id": customer}
        event["event_time"] = at.isoformat()
        draw = rnd.random()
        if draw < 0.55:
            topic = "clickstream"
            event |= {"type": rnd.choice(CLICKS), "session_id": f"s{number // 10}", "product_id": f"p{number % 50}"}
        elif draw < 0.9:
            topic = "purchases"
            kind = "refund" if rnd.random() < 0.1 else "purchase"
            event |= {
                "type": kind,
                "order_id": f"o{number}",
                "amount_minor": rnd.randrange(100, 20_000),
                "currency": "GBP",
            }
        else:
            topic = "reviews"
            text = f"{rnd.choice(SENTENCES)} ({number})" if rnd.random() * 100 < self._texts else ""
            event |= {"type": rnd.choice(("review", "support")), "text": text, "rating": rnd.randrange(1, 6)}
        value: bytes | None = json.dumps(event).encode()
        if rnd.random() * self._poison < 1:
            value = self._spoil(event)
        self._hand_over(topic, customer, value)
        if rnd.random() < 0.02:
            self._hand_over(topic, customer, value)

    def _spoil(self, event: dict[str, Any]) -> bytes | None:
        rnd = self._rnd
        return rnd.choice(
            (
                None,
                b"",
                b"{",
                b"[" * 5000,
                b"\xff\xfe" + rnd.randbytes(20),
                json.dumps(event | {"customer_id": "somebody else"}).encode(),
                json.dumps(event | {"event_time": "yesterday"}).encode(),
                json.dumps(event | {"type": "wish"}).encode(),
                json.dumps({name: value for name, value in event.items() if name != "event_id"}).encode(),
                json.dumps(event | {"text": 7, "amount_minor": "7", "session_id": None}).encode(),
                json.dumps(event | {"filler": "x" * 70_000}).encode(),
            )
        )

    def _hand_over(self, topic: str, key: str, value: bytes | None) -> None:
        while True:
            try:
                self._producer.produce(f"{self._prefix}{topic}", value, key.encode(), on_delivery=self._delivered)
            except BufferError:
                self._producer.poll(0.1)
            else:
                self._producer.poll(0)
                return

    def _delivered(self, error: Any, _: Any) -> None:
        self._failed += error is not None

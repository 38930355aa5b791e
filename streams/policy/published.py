"""The `policies` topic: what is served, what was served before, publishing and rolling back.

A record's key is the policy's name and its value the document, as it was written. The topic is compacted, so what was
served before travels with each record: its header `regulars-history` is msgpack, an array of ``[unix seconds,
document]``, newest first, the record's own document being the first. The latest record of the topic is what every
worker serves (or, where it can't read that, the latest that it can), but for the key `shadow`, under which stands the
policy that is only compared with it; null: none is. Under any other key null takes nothing back.
"""

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.structs import ConsumerRecord

from models.policy import Policy, PolicyError, load, parse, parse_marked, read
from streams.kafka.errors import InfrastructureFailure
from streams.kafka.patience import leave
from streams.kafka.readers import connect, layout, read_topic
from streams.kafka.security import kafka_options, telling
from streams.settings import Settings

HISTORY_HEADER = "regulars-history"
SHADOW_KEY = b"shadow"
# With documents of at most 32 KiB a record stays below 1 MiB, Kafka's default.
MOST_VERSIONS = 20


class Version(NamedTuple):
    """A document as it was published; an array of two in the header."""

    at: float  # unix seconds
    document: str

    @property
    def policy(self) -> Policy | None:
        """What it says; None where this version of the program can't read it."""
        try:
            return parse(self.document, published=True)
        except PolicyError:
            return None


class PolicyRefused(Exception):
    """The policy can't be published or taken back as asked; the message says why."""


_history = msgspec.msgpack.Decoder(list[Version])
_encode = msgspec.msgpack.Encoder().encode


async def history(settings: Settings) -> tuple[Version, ...]:
    """Every version that was served, newest first; empty: none was published, workers serve the default or a file.

    Raises:
        BrokerAway: no broker answers.
        TopicMissing: there is no topic `policies`.
    """
    latest: ConsumerRecord | None = None
    async for records in read_topic(settings, settings.topic("policies")):
        served = (r for r in reversed(records) if r.value is not None and r.key != SHADOW_KEY)
        latest = next(served, latest)
    return () if latest is None else _versions(latest)


async def served(settings: Settings) -> Policy:
    """What workers serve: the latest published policy that can be read, else the file in `settings` or the default.

    Raises as `history`, and:

    Raises:
        PolicyError: the file in `settings` is no policy.
    """
    published = (version.policy for version in await history(settings))
    return next((policy for policy in published if policy is not None), None) or load(settings.policy)


def newest_readable(records: Iterable[ConsumerRecord]) -> Policy | None:
    """What a worker serves that met these records of the topic, in order, while it ran: those it can't read it refused.

    None: none was published, or none that it can read ever was; it serves the default or a file.

    Raises:
        InfrastructureFailure: it can read none of them, and what was served before them isn't known.
    """
    published = [record for record in records if record.key != SHADOW_KEY]
    first_known = not published
    for record in reversed(published):
        if record.value is None:
            continue
        for version in _versions(record):
            if (policy := version.policy) is not None:
                return policy
        first_known |= 0 < len(_kept(record)) < MOST_VERSIONS
    if first_known:
        return None
    last = published[-1]
    raise InfrastructureFailure(
        f"{last.topic}: none of the policies that were published can be read by this version of the program (the latest "
        f"at offset {last.offset}); upgrade the worker, or publish one that it can read: `regulars policy publish FILE`"
    )


def _kept(record: ConsumerRecord) -> list[Version]:
    found = [value for name, value in record.headers if name == HISTORY_HEADER]
    return _history.decode(found[-1]) if found else []


def _versions(record: ConsumerRecord) -> tuple[Version, ...]:
    document = record.value.decode(errors="replace")
    kept = _kept(record)
    if not kept or kept[0].document != document:  # written by another hand
        kept = [Version(record.timestamp / 1000, document), *kept]
    return tuple(kept)


async def publish(settings: Settings, document: str) -> tuple[Policy, Policy | None]:
    """Has every worker serve the policy in `document`; gives it and the one that was published before.

    Publishing what is served already changes nothing. Raises as `history`, and:

    Raises:
        PolicyError: no policy.
        PolicyRefused: its name and version stand for another policy already, or its name for shadows.
    """
    policy = parse(document)
    if policy.name.encode() == SHADOW_KEY:
        raise PolicyRefused("a policy that is to be served can't have the name 'shadow', which stands for another kind")
    known = await history(settings)
    before = known[0].policy if known else None
    if before is not None and before.tag == policy.tag:
        return policy, before
    _refuse_taken(policy, known)
    await _send(settings, policy.name, document, known)
    return policy, before


def _refuse_taken(policy: Policy, known: Sequence[Version]) -> None:
    """Raises PolicyRefused where what was served, or the shipped policy, has the name and version of another `policy`."""
    for other in (*(version.policy for version in known), parse(read())):
        if other is not None and other.label == policy.label and other.tag != policy.tag:
            raise PolicyRefused(
                f"{policy.label} is another policy already, which changes carry; give this one a `version` of its own"
            )


async def rollback(settings: Settings, to: str | None = None) -> tuple[Policy, Policy | None]:
    """Publishes again what was served before, or the version `to` (as changes carry it, or its `version` alone).

    A second rollback takes the first one back. Gives what is served now and what was. Raises as `history`, and:

    Raises:
        PolicyRefused: nothing was published, or no such version.
    """
    known = await history(settings)
    if not known:
        raise PolicyRefused("no policy was published; there is nothing to take back")
    served = known[0].policy
    candidates = [*known[1:], Version(0.0, read())]  # before the first the shipped default was served
    for version in candidates:
        policy = version.policy
        if policy is None or (served is not None and policy.tag == served.tag):
            continue
        if to is None or to in (policy.label, policy.version):
            await _send(settings, policy.name, version.document, known)
            return policy, served
    said = ", ".join(version.policy.label for version in candidates if version.policy is not None)
    raise PolicyRefused(f"{to or 'what was served before'} is not among what is known: {said}")


async def set_shadow(settings: Settings, document: str | None) -> Policy | None:
    """Has every worker compare the policy in `document` with the served one; None: none any more. Raises as `history`.

    Raises:
        PolicyError: no policy.
        PolicyRefused: its name and version stand for another policy already.
    """
    policy = None if document is None else parse(document)
    if policy is not None:
        _refuse_taken(policy, await history(settings))
    client = await connect(settings)
    try:
        await layout(client, [settings.topic("policies")], settings.bootstrap_servers)
    finally:
        await client.close()
    await _produce(settings, SHADOW_KEY, None if document is None else document.encode(), [])
    return policy


async def _send(settings: Settings, name: str, document: str, known: tuple[Version, ...]) -> None:
    kept = [Version(time.time(), document), *(version for version in known if version.document != document)]
    headers = [(HISTORY_HEADER, _encode(kept[:MOST_VERSIONS]))]
    await _produce(settings, name.encode(), document.encode(), headers)


async def _produce(settings: Settings, key: bytes, value: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    producer = AIOKafkaProducer(**kafka_options(settings), acks="all")
    try:
        async with telling(settings):
            await producer.start()
            await producer.send_and_wait(settings.topic("policies"), value, key, headers=headers)
    finally:
        await leave(producer)


def with_margins(document: str, margins: Mapping[int, float]) -> str:
    """`document` with other exit margins, by the place of the dimension; nothing else is touched."""
    _, marked = parse_marked(document)
    lines = document.splitlines(keepends=True)
    places = []
    for d, margin in margins.items():
        where = f"$.dimensions[{d}]"
        if marked.mark(where, "exit_margin") != marked.mark(where):
            places.append((marked.mark(f"{where}.exit_margin"), r"[^\s,}\]#]+", f"{margin:g}"))
            continue
        over = marked.mark(where, "over")
        # In braces the margin goes before what the dimension is cut on, elsewhere on a line of its own above it.
        braces = marked.is_flow(where)
        places.append((over, "^", f"exit_margin: {margin:g}" + (", " if braces else "\n" + " " * (over.column - 1))))
    for mark, old, new in sorted(places, reverse=True):
        line, at = lines[mark.line - 1], mark.column - 1
        lines[mark.line - 1] = line[:at] + re.sub(old, new, line[at:], count=1)
    return "".join(lines)


def calibrated(document: str, numbers: Sequence[Sequence[float | None]]) -> str:
    """`document` with each `from_quantile` as a `from`; nothing else is touched.

    Args:
        document: a policy with quantiles.
        numbers: a dimension, a segment; None: it has no quantile. Rounded to hundredths.
    """
    _, marked = parse_marked(document)
    lines = document.splitlines(keepends=True)
    places = []
    for d, segments in enumerate(numbers):
        for s, number in enumerate(segments):
            if number is not None:
                where = f"$.dimensions[{d}].segments[{s}]"
                key, value = marked.mark(where, "from_quantile"), marked.mark(f"{where}.from_quantile")
                places.append((value, r"[^\s,}\]#]+", f"{number:.2f}"))
                places.append((key, r"['\"]?from_quantile['\"]?", "from"))
    for mark, old, new in sorted(places, reverse=True):  # from the end, so that what comes before stays where it is
        line, at = lines[mark.line - 1], mark.column - 1
        lines[mark.line - 1] = line[:at] + re.sub(old, new, line[at:], count=1)
    return "".join(lines)

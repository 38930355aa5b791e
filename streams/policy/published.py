"""The topic `policies`: which policy is served, which ones were served before, publishing and rolling back.

A record's key is the policy's name, and its value is the document as it was written. The topic is compacted, so each
record carries what was served before (`streams.kafka.documents`).

Every worker serves the latest record of the topic, or the latest one that it can read. The key `shadow` is different: its
policy is only compared with the served one, and null means that there is none. Under any other key null has no effect.
"""

from collections.abc import Iterable, Sequence

from aiokafka.structs import ConsumerRecord

from models.policy import Policy, PolicyError, Rules, load, parse, read
from schemas.topics import POLICIES
from streams.kafka.cluster import layout_of
from streams.kafka.documents import MOST_VERSIONS, PublishedDocument, recorded, send_document, send_value, versions_in
from streams.kafka.errors import InfrastructureFailure
from streams.kafka.readers import read_topic
from streams.settings import Settings

SHADOW_KEY = b"shadow"


class Version(PublishedDocument):
    """A policy's document as it was published."""

    __slots__ = ()

    @property
    def policy(self) -> Policy | None:
        """The policy in the document; None: this version of the program cannot read it."""
        try:
            return readable(self.document).policy
        except PolicyError:
            return None


def readable(document: str | bytes) -> Rules:
    """The rules of a published document, ready to judge by.

    Raises:
        PolicyError: it is none that can be served, whatever it is.
    """
    try:
        return Rules(parse(document if isinstance(document, str) else document.decode(), published=True))
    except PolicyError:
        raise
    except UnicodeDecodeError as exc:
        raise PolicyError(f"not UTF-8 (byte {exc.start})") from exc
    except Exception as exc:  # whatever made-up documents lead to
        raise PolicyError(f"it can't be judged by: {type(exc).__name__}: {exc}") from exc


class PolicyRefused(Exception):
    """The policy cannot be published or rolled back as asked; the message says why."""


async def history(settings: Settings) -> tuple[Version, ...]:
    """Every version that was served, newest first; empty: none was published, and workers serve the default or a file.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no topic `policies`.
    """
    latest: ConsumerRecord | None = None
    async for records in read_topic(settings, settings.topic(POLICIES)):
        served = (r for r in reversed(records) if r.value is not None and r.key != SHADOW_KEY)
        latest = next(served, latest)
    return () if latest is None else _versions(latest)


async def served(settings: Settings) -> Policy:
    """The policy that workers serve: the latest published one that can be read, else the file in `settings` or the default.

    Raises as `history`, and:

    Raises:
        PolicyError: the file in `settings` is no policy.
    """
    published = (version.policy for version in await history(settings))
    return next((policy for policy in published if policy is not None), None) or load(settings.policy)


def newest_readable(records: Iterable[ConsumerRecord]) -> Policy | None:
    """The policy that a running worker serves after these records of the topic, in order: it skips those it cannot read.

    None: no policy was published, or no readable one ever was; the worker serves the default or a file.

    Raises:
        InfrastructureFailure: it can read none of them, and what was served before them is not known.
    """
    published = [record for record in records if record.key != SHADOW_KEY]
    first_known = not published
    for record in reversed(published):
        if record.value is None:
            continue
        for version in _versions(record):
            if (policy := version.policy) is not None:
                return policy
        first_known |= 0 < len(recorded(record)) < MOST_VERSIONS
    if first_known:
        return None
    last = published[-1]
    raise InfrastructureFailure(
        f"{last.topic}: none of the policies that were published can be read by this version of the program (the latest "
        f"at offset {last.offset}); upgrade the worker, or publish one that it can read: `regulars policy publish FILE`"
    )


def _versions(record: ConsumerRecord) -> tuple[Version, ...]:
    return tuple(Version(*each) for each in versions_in(record))


async def publish(settings: Settings, document: str) -> tuple[Policy, Policy | None]:
    """Makes every worker serve the policy in `document`; gives that policy and the one that was published before.

    Publishing what is served already changes nothing. Raises as `history`, and:

    Raises:
        PolicyError: `document` is no policy.
        PolicyRefused: its name and version belong to another policy already, or its name is reserved for shadows.
    """
    policy = parse(document)
    if policy.name.encode() == SHADOW_KEY:
        raise PolicyRefused("a served policy cannot have the name 'shadow', which is reserved for the compared one")
    versions = await history(settings)
    before = versions[0].policy if versions else None
    if before is not None and before.tag == policy.tag:
        return policy, before
    _refuse_taken(policy, versions)
    await send_document(settings, POLICIES, policy.name.encode(), document, versions)
    return policy, before


def _refuse_taken(policy: Policy, versions: Sequence[Version]) -> None:
    """Raises PolicyRefused if a served policy, or the shipped one, differs from `policy` under its name and version."""
    for other in (*(version.policy for version in versions), parse(read())):
        if other is not None and other.label == policy.label and other.tag != policy.tag:
            raise PolicyRefused(
                f"{policy.label} names another policy already, and changes carry that name; give this one another `version`"
            )


async def rollback(settings: Settings, to: str | None = None) -> tuple[Policy, Policy | None]:
    """Publishes again what was served before, or the version `to` (as changes carry it, or its `version` alone).

    A second rollback undoes the first one. Gives the policy that is served now and the one before. Raises as `history`, and:

    Raises:
        PolicyRefused: nothing was published, or there is no such version.
    """
    versions, found = await _former(settings, to)
    policy, document = found
    await send_document(settings, POLICIES, policy.name.encode(), document, versions)
    return policy, versions[0].policy


async def former(settings: Settings, to: str | None = None) -> tuple[Policy, Policy]:
    """The policy that `rollback` would publish, and the one that is served. Raises as `rollback`."""
    versions, (policy, _) = await _former(settings, to)
    readable = (version.policy for version in versions)
    return policy, next((each for each in readable if each is not None), None) or load(settings.policy)


async def _former(settings: Settings, to: str | None) -> tuple[tuple[Version, ...], tuple[Policy, str]]:
    versions = await history(settings)
    if not versions:
        raise PolicyRefused("no policy was published; there is nothing to take back")
    served = versions[0].policy
    candidates = [*versions[1:], Version(0.0, read())]  # before the first one the shipped default was served
    for version in candidates:
        policy = version.policy
        if policy is None or (served is not None and policy.tag == served.tag):
            continue
        if to is None or to in (policy.label, policy.version):
            return versions, (policy, version.document)
    labels = ", ".join(version.policy.label for version in candidates if version.policy is not None)
    raise PolicyRefused(f"{to or 'what was served before'} is not among the known versions: {labels}")


async def set_shadow(settings: Settings, document: str | None) -> Policy | None:
    """Makes every worker compare the policy in `document` with the served one; None ends that.

    Raises as `history`, and:

    Raises:
        PolicyError: `document` is no policy.
        PolicyRefused: its name and version belong to another policy already.
    """
    policy = None if document is None else parse(document)
    if policy is not None:
        _refuse_taken(policy, await history(settings))
    await layout_of(settings, [settings.topic(POLICIES)])
    await send_value(settings, POLICIES, SHADOW_KEY, None if document is None else document.encode())
    return policy

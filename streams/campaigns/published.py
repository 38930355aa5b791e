"""The topic `campaigns`: which campaigns decide, which versions did before; publishing, pausing, rolling back.

A record's key is the campaign's name, and its value is the document as it was written, with what was published before it
(`streams.kafka.documents`). Null ends the campaign. A campaign is paused by a record with the key `paused:<name>`, and goes
on when that is null: no name has a colon, and the document stays as it is. What was learnt of a campaign stands under the
key `weights:<name>` (`models.decisions.weights`).
"""

from collections.abc import Mapping
from typing import NamedTuple

from aiokafka.structs import ConsumerRecord

from models.decisions.campaign import Campaign, CampaignError, parse
from models.decisions.weights import LearntWeights
from schemas.topics import CAMPAIGNS
from streams.kafka.cluster import layout_of
from streams.kafka.documents import PublishedDocument, send_document, send_value, versions_in
from streams.kafka.readers import read_topic
from streams.policy.published import served
from streams.settings import Settings

_PAUSED, _WEIGHTS = b"paused:", b"weights:"


class CampaignRefused(Exception):
    """The campaign cannot be published, paused or rolled back as asked; the message says why."""


class PublishedCampaign(NamedTuple):
    """One campaign as the topic has it.

    Attributes:
        versions: what was published, newest first.
        paused: it decides about nobody until it is resumed.
    """

    versions: tuple[PublishedDocument, ...]
    paused: bool

    @property
    def campaign(self) -> Campaign | None:
        """The newest version; None: this version of the program cannot read it."""
        return campaign_in(self.versions[0])


def paused_name(key: bytes) -> str | None:
    """The campaign that a record with this key pauses or resumes; None: the key is that of a document."""
    return key.removeprefix(_PAUSED).decode(errors="replace") if key.startswith(_PAUSED) else None


def weights_name(key: bytes) -> str | None:
    """The campaign whose weights a record with this key holds; None: it holds none."""
    return key.removeprefix(_WEIGHTS).decode(errors="replace") if key.startswith(_WEIGHTS) else None


def weights_key(name: str) -> bytes:
    """The key under which the weights of a campaign stand."""
    return _WEIGHTS + name.encode()


def readable(document: str | bytes) -> Campaign:
    """The campaign in a published document.

    Raises:
        CampaignError: it is none that can be served, whatever it is.
    """
    try:
        campaign = parse(document if isinstance(document, str) else document.decode())
    except CampaignError:
        raise
    except UnicodeDecodeError as exc:
        raise CampaignError(f"not UTF-8 (byte {exc.start})") from exc
    except Exception as exc:  # whatever made-up documents lead to
        raise CampaignError(f"it can't be decided by: {type(exc).__name__}: {exc}") from exc
    if campaign.when is None:
        raise CampaignError("$.while: workers decide on entering a segment (`when`); `while` is not served yet")
    return campaign


def campaign_in(version: PublishedDocument) -> Campaign | None:
    """The campaign of a version; None: this version of the program cannot read it."""
    try:
        return readable(version.document)
    except CampaignError:
        return None


async def published(settings: Settings) -> Mapping[str, PublishedCampaign]:
    """Every campaign that was published and not ended, by name.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no topic `campaigns`.
    """
    latest: dict[bytes, ConsumerRecord] = {}
    async for records in read_topic(settings, settings.topic(CAMPAIGNS)):
        latest |= {record.key: record for record in records}
    alive = {key: record for key, record in latest.items() if record.value is not None}
    return {
        key.decode(errors="replace"): PublishedCampaign(versions_in(record), _PAUSED + key in alive)
        for key, record in sorted(alive.items())
        if paused_name(key) is None and weights_name(key) is None
    }


async def publish(settings: Settings, document: str) -> tuple[Campaign, Campaign | None]:
    """Makes every worker decide by the campaign in `document`; gives it, and the version that was published before.

    Publishing what is served already changes nothing. Raises as `published`, and:

    Raises:
        CampaignError: `document` is no campaign of the served policy, or none that workers serve.
        CampaignRefused: its name and version belong to another document already.
    """
    readable(document)
    campaign = parse(document, await served(settings))
    known = (await published(settings)).get(campaign.name)
    versions = () if known is None else known.versions
    before = None if known is None else known.campaign
    if before == campaign:
        return campaign, before
    for version in versions:
        other = campaign_in(version)
        if other is not None and other.version == campaign.version and other != campaign:
            raise CampaignRefused(
                f"{campaign.label} names another campaign already, and actions carry that name; give this one another "
                "`version`"
            )
    await send_document(settings, CAMPAIGNS, campaign.name.encode(), document, versions)
    return campaign, before


async def set_paused(settings: Settings, name: str, paused: bool) -> bool:
    """Pauses or resumes a campaign; False: it was so already.

    Raises as `published`, and:

    Raises:
        CampaignRefused: there is no such campaign.
    """
    known = await _known(settings, name)
    if known.paused is paused:
        return False
    await layout_of(settings, [settings.topic(CAMPAIGNS)])
    await send_value(settings, CAMPAIGNS, _PAUSED + name.encode(), b"paused" if paused else None)
    return True


async def publish_weights(settings: Settings, weights: LearntWeights) -> None:
    """Makes every worker decide by what was learnt.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: there is no topic `campaigns`.
        WeightsRefused: there are too many arms for one record.
    """
    value = weights.encode()
    await layout_of(settings, [settings.topic(CAMPAIGNS)])
    await send_value(settings, CAMPAIGNS, weights_key(weights.campaign), value)


async def rollback(settings: Settings, name: str, to: str | None = None) -> tuple[Campaign, Campaign | None]:
    """Publishes again the version before, or the version `to`; gives it, and the one that was published until now.

    A second rollback undoes the first one. Raises as `published`, and:

    Raises:
        CampaignRefused: there is no such campaign, or no such version of it.
    """
    known = await _known(settings, name)
    now = known.campaign
    labels = []
    for version in known.versions[1:]:
        former = campaign_in(version)
        if former is None or former == now:
            continue
        if to is None or to in (former.label, former.version):
            await send_document(settings, CAMPAIGNS, name.encode(), version.document, known.versions)
            return former, now
        labels.append(former.label)
    raise CampaignRefused(
        f"{to or f'a version of {name} before the served one'} is not among those that were published"
        + (f": {', '.join(labels)}" if labels else "")
    )


async def _known(settings: Settings, name: str) -> PublishedCampaign:
    campaigns = await published(settings)
    if name not in campaigns:
        raise CampaignRefused(f"there is no campaign {name}, only {', '.join(campaigns) or 'none at all'}")
    return campaigns[name]

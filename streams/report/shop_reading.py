"""Reads a shop's report from topics alone. No worker needs to run, and nothing joins the group or commits.

One partition after the other, so that memory holds the customers of one partition at a time.
"""

import math
import time
from collections import Counter

import msgspec
from aiokafka import AIOKafkaConsumer, TopicPartition

from models.features import FEATURE_SET
from models.learning.snapshots import DYNAMIC, SnapshotError, decode_snapshot
from schemas.changes import decode_change, decode_standing
from schemas.events import PURCHASES, Purchase, Rejected, decode
from schemas.learning import SCORES
from schemas.topics import CUSTOMER_SEGMENTS, MODEL_SNAPSHOTS, SEGMENT_CHANGES
from streams.campaigns.published import CampaignRefused, published
from streams.campaigns.reporting import CampaignReport, report
from streams.kafka.broadcast import read_latest
from streams.kafka.cluster import layout_of
from streams.kafka.errors import TopicsNotReady
from streams.kafka.readers import read_span, reader
from streams.ops.dead_letters import survey
from streams.report.campaign import lead_words
from streams.report.formats import day
from streams.report.shop_figures import CampaignEffect, ServedModelNote
from streams.report.shop_tally import NothingToReport, ShopTally
from streams.settings import Settings

_JUDGED = SCORES[0]
_Spans = dict[TopicPartition, tuple[int, int]]


async def tally_of(settings: Settings) -> ShopTally:
    """Standings, changes and purchases as of the call, counted.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: a topic does not exist.
        NothingToReport: there is no standing.
    """
    topics = [settings.topic(name) for name in (CUSTOMER_SEGMENTS, SEGMENT_CHANGES, PURCHASES)]
    tps = list(await layout_of(settings, topics))
    tally = ShopTally()
    latest_s = time.time() + settings.future_limit_s
    async with reader(settings) as consumer:
        starts, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        for partition in sorted({tp.partition for tp in tps}):
            spans = [
                {tp: (starts[tp], ends[tp]) for tp in tps if tp == TopicPartition(topic, partition)} for topic in topics
            ]
            await _count_standings(consumer, spans[0], tally)
            await _count_changes(consumer, spans[1], tally)
            await _count_purchases(consumer, spans[2], tally, latest_s)
            tally.end_partition(all(start == 0 for start, _ in spans[1].values()))
    if not tally.customers:
        raise NothingToReport(f"{topics[0]} has no standing: no worker has judged a customer yet")
    return tally


async def _count_standings(consumer: AIOKafkaConsumer, spans: _Spans, tally: ShopTally) -> None:
    latest: dict[bytes, bytes] = {}
    async for records in read_span(consumer, spans):
        for record in records:
            if record.value is None:
                latest.pop(record.key, None)  # erased
            else:
                latest[record.key] = record.value
    for value in latest.values():
        tally.standing(decode_standing(value))


async def _count_changes(consumer: AIOKafkaConsumer, spans: _Spans, tally: ShopTally) -> None:
    async for records in read_span(consumer, spans):
        for record in records:
            tally.change(decode_change(record.value))


async def _count_purchases(consumer: AIOKafkaConsumer, spans: _Spans, tally: ShopTally, latest_s: float) -> None:
    async for records in read_span(consumer, spans):
        for record in records:
            if not record.value:  # a clock record or an erasure
                continue
            try:
                event = decode(PURCHASES, record.key, record.value, latest_s)
            except Rejected:
                tally.refused()
                continue
            assert isinstance(event, Purchase)
            tally.purchase(event)


async def refusals(settings: Settings) -> dict[str, int]:
    """Refused records that `dead-letters` still has, by reason; the most frequent first. Raises as `survey`."""
    try:
        return dict(Counter(each.letter.reason for each in await survey(settings)).most_common())
    except TopicsNotReady:
        return {}


async def campaign_reports(settings: Settings) -> list[tuple[str, CampaignReport | None]]:
    """Each published campaign with its report; None: this version of the program cannot read it."""
    try:
        names = list(await published(settings))
    except TopicsNotReady:
        return []
    reports: list[tuple[str, CampaignReport | None]] = []
    for name in names:
        try:
            reports.append((name, await report(settings, name)))
        except CampaignRefused:
            reports.append((name, None))
    return reports


def effect_of(name: str, report: CampaignReport | None, page: str) -> CampaignEffect:
    """A campaign's line in the report; `page` is the file that says more, empty where there is none."""
    if report is None:
        words = "This version of the program cannot read it."
        return CampaignEffect(name, name, False, 0, 0, "", None, None, None, words, "")
    against = report.effects.against_holdout
    known = against is not None and math.isfinite(against.low)
    effect, low, high = (against.value, against.low, against.high) if known and against is not None else (None,) * 3
    campaign = report.campaign
    unit = campaign.currency if campaign.reward.target == "spend" else "buyers"
    return CampaignEffect(
        name,
        campaign.label,
        report.paused,
        report.recent.decisions,
        report.effects.decisions,
        unit,
        effect,
        low,
        high,
        lead_words(against),
        page,
    )


async def served_model(settings: Settings) -> ServedModelNote | None:
    """What the latest snapshot says of itself; None: there is none that this version of the program can read."""
    try:
        data = (await read_latest(settings, MODEL_SNAPSHOTS)).get(DYNAMIC.encode())
        snapshot = None if data is None else decode_snapshot(data, FEATURE_SET)
    except (SnapshotError, TopicsNotReady, msgspec.MsgspecError):
        return None
    if snapshot is None:
        return None
    learnt_to = day(snapshot.learnt_to) if snapshot.labels else ""
    quality = {name: value for name, value in snapshot.quality.get(_JUDGED, {}).items() if math.isfinite(value)}
    return ServedModelNote(snapshot.version, snapshot.labels, learnt_to, quality)

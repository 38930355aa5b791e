"""What a campaign did, read from topics alone: its rewards, its actions, and what partitions have spent."""

import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from models.decisions.budget import window_of
from models.decisions.campaign import Campaign
from models.decisions.effects import CampaignEffects, effects
from models.decisions.ledger import amount_minor
from schemas.actions import decode_action, decode_outcome
from schemas.campaigns import MaturedReward, decode_reward
from schemas.stored import decode_partition
from schemas.times import DAY_S, from_rfc3339
from schemas.topics import ACTION_REWARDS, ACTIONS, OUTCOMES
from streams.campaigns.published import CampaignRefused, published
from streams.kafka.changelog import changelog
from streams.kafka.readers import read_topic
from streams.settings import Settings


class Recent(NamedTuple):
    """What `actions` still holds of a campaign.

    Attributes:
        decisions: how many.
        arms: decisions by arm.
        suppressed: by arm and reason.
        since: epoch seconds of the earliest; None: there is none.
        outcomes: by arm and kind, how many of these decisions `outcomes` says it of, each once.
    """

    decisions: int
    arms: Counter[str]
    suppressed: Counter[tuple[str, str]]
    since: float | None
    outcomes: Counter[tuple[str, str]]


class BudgetStand(NamedTuple):
    """The budget's latest window in which anything was spent, minor units."""

    amount_minor: int
    spent_minor: int
    begins: float
    ends: float


class CampaignReport(NamedTuple):
    """Everything that a report shows.

    Attributes:
        campaign: the served version.
        paused: whether it decides about nobody now.
        effects: of the decisions whose days are over.
        recent: decisions of the last weeks, whether over or not.
        budget: None: it has none.
        unreadable: records of the topics that are none.
    """

    campaign: Campaign
    paused: bool
    effects: CampaignEffects
    recent: Recent
    budget: BudgetStand | None
    unreadable: int


async def report(settings: Settings, name: str) -> CampaignReport:
    """The report of the campaign `name`.

    Raises:
        BrokerLost: no broker answers.
        TopicsNotReady: a topic is missing.
        CampaignRefused: there is no such campaign, or none that can be read.
    """
    campaigns = await published(settings)
    if name not in campaigns:
        raise CampaignRefused(f"there is no campaign {name}, only {', '.join(campaigns) or 'none at all'}")
    campaign = campaigns[name].campaign
    if campaign is None:
        raise CampaignRefused(f"the newest version of {name} cannot be read by this version of the program; upgrade it")
    rewards, bad_rewards = await rewards_of(settings, name)
    recent, bad_actions = await _recent(settings, name)
    budget = await _budget(settings, campaign)
    return CampaignReport(
        campaign, campaigns[name].paused, effects(rewards, campaign), recent, budget, bad_rewards + bad_actions
    )


async def rewards_of(settings: Settings, name: str, latest_only: int | None = None) -> tuple[list[MaturedReward], int]:
    """The rewards of a campaign as they were decided, each once, and how many records are none.

    Those of erased customers are gone. Raises as `report`.

    Args:
        settings: which cluster.
        name: of the campaign.
        latest_only: so many at most, the latest, with their features; None: all, without them, to spare memory.
    """
    latest: dict[bytes, MaturedReward] = {}
    unreadable = 0
    async for records in read_topic(settings, settings.topic(ACTION_REWARDS)):
        for record in records:
            if record.value is None:
                latest.pop(record.key, None)
                continue
            try:
                reward = decode_reward(record.value)
            except (msgspec.DecodeError, UnicodeDecodeError):
                unreadable += 1
                continue
            if reward.campaign == name:
                latest[record.key] = replace(reward, features=()) if latest_only is None else reward
        if latest_only is not None and len(latest) > 2 * latest_only:
            latest = dict(sorted(latest.items(), key=_decided)[-latest_only:])
    return [reward for _, reward in sorted(latest.items(), key=_decided)][-(latest_only or len(latest)) :], unreadable


def _decided(item: tuple[bytes, MaturedReward]) -> tuple[float, str]:
    return item[1].decided_at, item[1].reward_id


async def _recent(settings: Settings, name: str) -> tuple[Recent, int]:
    seen: dict[str, str] = {}  # the arm of each action
    arms: Counter[str] = Counter()
    suppressed: Counter[tuple[str, str]] = Counter()
    since: float | None = None
    unreadable = 0
    async for records in read_topic(settings, settings.topic(ACTIONS)):
        for record in records:
            try:
                action = decode_action(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                unreadable += 1
                continue
            if action.campaign != name or action.action_id in seen:
                continue
            seen[action.action_id] = action.arm
            arms[action.arm] += 1
            suppressed.update(action.suppressed.items())
            at = from_rfc3339(action.decided_at)
            since = at if since is None else min(since, at)
    outcomes, bad_outcomes = await _outcomes(settings, seen)
    return Recent(len(seen), arms, suppressed, since, outcomes), unreadable + bad_outcomes


async def _outcomes(settings: Settings, arms: Mapping[str, str]) -> tuple[Counter[tuple[str, str]], int]:
    """Outcomes of the actions in `arms` by arm and kind; and records that are none, or under another customer's key."""
    seen: set[tuple[str, str]] = set()
    unreadable = 0
    async for records in read_topic(settings, settings.topic(OUTCOMES)):
        for record in records:
            try:
                outcome = decode_outcome(record.value or b"")
            except (msgspec.DecodeError, UnicodeDecodeError):
                unreadable += 1
                continue
            if outcome.customer_id.encode() != record.key:
                unreadable += 1
            elif outcome.action_id in arms:
                seen.add((outcome.action_id, outcome.kind))
    return Counter((arms[action], kind) for action, kind in seen), unreadable


async def _budget(settings: Settings, campaign: Campaign) -> BudgetStand | None:
    amount, limit = amount_minor(campaign), campaign.limits.budget
    if amount is None or limit is None:
        return None
    spends = []
    async with changelog(settings) as log:
        for number in range(log.partitions):
            stored = (await log.read(number)).partition_state
            if stored is not None:
                spends += [each for each in decode_partition(stored).spends if each.campaign == campaign.name]
    spends = [each for each in spends if each.days == limit.days]
    window = max((each.window for each in spends), default=window_of(time.time(), limit.days))
    spent = sum(each.minor for each in spends if each.window == window)
    length_s = limit.days * DAY_S
    return BudgetStand(amount, spent, window * length_s, (window + 1) * length_s)

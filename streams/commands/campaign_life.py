"""`regulars campaign publish, pause, resume, rollback, history, preview`: a campaign's life on live events."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from
from streams.commands.policy_inputs import BROKER, FILE, STATES, run

if TYPE_CHECKING:
    from models.decisions.campaign import Campaign
    from streams.campaigns.preview import CampaignPreview
    from streams.settings import Settings

NAME = click.argument("name")


@click.command("publish")
@FILE
@setting_options(*BROKER, "partitions")
def publish(file: Path, **options: Any) -> None:
    """Make every worker decide by FILE about customers who enter its segment from now on.

    A version that is published under the same name before stops deciding. Holdouts stay the same customers.
    """
    from streams.campaigns.published import publish as send

    settings, document = settings_from(**options), _text(file)
    campaign, before = run(send(settings, document), str(file))
    _warn_of_shares(campaign, settings.partitions)
    _warn_of_consent(campaign)
    if before == campaign:
        click.echo(f"{campaign.label} is published already; nothing changed")
    else:
        click.echo(f"{campaign.label} published{'' if before is None else f', instead of {before.label}'}")


@click.command("pause")
@NAME
@setting_options(*BROKER)
def pause(name: str, **options: Any) -> None:
    """Let the campaign NAME decide about nobody until it is resumed. Rewards of earlier decisions still come."""
    _set_paused(name, True, settings_from(**options))


@click.command("resume")
@NAME
@setting_options(*BROKER)
def resume(name: str, **options: Any) -> None:
    """Let the campaign NAME decide again. Who entered its segment meanwhile is not decided about."""
    _set_paused(name, False, settings_from(**options))


def _set_paused(name: str, paused: bool, settings: "Settings") -> None:
    from streams.campaigns.published import set_paused

    word = "paused" if paused else "resumed"
    changed = run(set_paused(settings, name, paused))
    click.echo(f"{name} {word}" if changed else f"{name} is {'paused' if paused else 'not paused'}; nothing changed")


@click.command("rollback")
@NAME
@click.option("--to", metavar="VERSION", help="A version that was published before; default: the latest of those.")
@setting_options(*BROKER)
def rollback(name: str, to: str | None, **options: Any) -> None:
    """Publish again the version of the campaign NAME before; a second rollback undoes the first one."""
    from streams.campaigns.published import rollback as send

    campaign, before = run(send(settings_from(**options), name, to))
    click.echo(f"{campaign.label} published again{'' if before is None else f', instead of {before.label}'}")


@click.command("history")
@click.argument("name", required=False)
@setting_options(*BROKER)
def history(name: str | None, **options: Any) -> None:
    """List what was published of every campaign, or of NAME, latest first."""
    from schemas.times import to_rfc3339
    from streams.campaigns.published import campaign_in, published

    campaigns = run(published(settings_from(**options)))
    if name is not None and name not in campaigns:
        raise Failure(f"there is no campaign {name}, only {', '.join(campaigns) or 'none at all'}")
    if not campaigns:
        click.echo("no campaign was published")
    for each in campaigns if name is None else (name,):
        known = campaigns[each]
        for i, version in enumerate(known.versions):
            campaign = campaign_in(version)
            label = f"{each} (unreadable)" if campaign is None else campaign.label
            state = "" if i else "  (paused)" if known.paused else "  (decides)"
            click.echo(f"{to_rfc3339(round(version.at))}  {label}{state}")


@click.command("preview")
@FILE
@click.option("--days", type=click.FloatRange(0, 400), default=14.0, show_default=True, help="Look this far ahead.")
@click.option(
    "--sample", type=click.IntRange(0, 10_000), default=10, show_default=True, help="Name this many customers."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@setting_options(*STATES, "partitions", "assumed_consent")
def preview(file: Path, days: float, sample: int, as_json: bool, **options: Any) -> None:
    """Show who would get what in the days ahead if nothing more is heard of anybody, what it costs, and who is suppressed.

    Each is a decision that a worker would make at that second: the same customers, arms and holdouts. Who comes by what
    they do cannot be foreseen and is not counted.
    """
    from streams.campaigns.preview import preview as compute
    from streams.campaigns.published import readable

    settings = settings_from(**options)
    campaign = _campaign(file, readable)
    result = run(compute(settings, campaign, days, sample))
    _warn_of_shares(campaign, settings.partitions)
    if as_json:
        click.echo(json.dumps(_as_json(campaign, days, result)))
    else:
        _print(campaign, days, result)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise Failure(f"{file}: {getattr(exc, 'strerror', None) or 'not UTF-8'}") from exc


def _campaign(file: Path, read: Any) -> "Campaign":
    from models.decisions.campaign import CampaignError

    try:
        campaign: Campaign = read(_text(file))
    except CampaignError as exc:
        raise Failure(f"{file}: {exc}") from exc
    return campaign


def _warn_of_shares(campaign: "Campaign", partitions: int) -> None:
    """Prints a warning where a partition's share of the budget pays for no arm."""
    from models.decisions.ledger import amount_minor, share_minor

    amount = amount_minor(campaign)
    costs = [round(arm.cost * campaign.unit_minor) for arm in campaign.arms if arm.cost]
    if amount is None or not costs:
        return
    least = share_minor(amount, partitions - 1, partitions)
    if least < max(costs):
        click.echo(
            f"warning: each of {partitions} partitions may spend {least / campaign.unit_minor:.2f} {campaign.currency} of "
            f"the budget, and the dearest arm costs {max(costs) / campaign.unit_minor:.2f}: it is never drawn there",
            err=True,
        )


def _warn_of_consent(campaign: "Campaign") -> None:
    """Prints which consent workers must be told of."""
    from models.decisions.campaign import CHANNELS

    needed = {arm.channel for arm in campaign.arms} & set(CHANNELS) | ({campaign.consent} - {None})
    if needed:
        names = ",".join(sorted(str(name) for name in needed))
        click.echo(
            f"note: it needs consent to {names}; nothing is known of customers' consent yet, so workers suppress its arms "
            f"unless they run with REGULARS_ASSUMED_CONSENT={names}",
            err=True,
        )


def _as_json(campaign: "Campaign", days: float, result: "CampaignPreview") -> dict[str, Any]:
    import msgspec

    return {
        "campaign": campaign.label,
        "days": days,
        "customers": result.customers,
        "standing": result.standing,
        "entering": result.entering,
        "arms": {name: result.arms[name] for name in campaign.arm_names},
        "cost": result.cost_minor / campaign.unit_minor,
        "currency": campaign.currency,
        "held_out": result.held_out,
        "suppressed": [
            {"arm": arm, "reason": reason, "decisions": count}
            for (arm, reason), count in sorted(result.suppressed.items())
        ],
        "sample": msgspec.to_builtins(result.sample),
    }


def _print(campaign: "Campaign", days: float, result: "CampaignPreview") -> None:
    click.echo(
        f"{campaign.label}: of {result.customers:,} customers, {result.entering:,} enter its segment within {days:g} days "
        f"if nothing more is heard; {result.standing:,} are in it already and are not decided about"
    )
    for name in campaign.arm_names:
        click.echo(f"  {name:<24}{result.arms[name]:>10,}")
    click.echo(
        f"cost: {result.cost_minor / campaign.unit_minor:,.2f} {campaign.currency}; held out: {result.held_out:,}"
    )
    for (arm, reason), count in sorted(result.suppressed.items()):
        click.echo(f"  {arm} cannot be drawn in {count:,} decisions: {reason}")
    for action in result.sample:
        click.echo(f"  {action.decided_at}  {action.customer_id}  {action.arm}")

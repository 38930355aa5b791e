"""`regulars campaign report` and `learn`: what a campaign did, and what is learnt of it."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.options import Failure, setting_options, settings_from
from streams.commands.policy_inputs import BROKER, run

if TYPE_CHECKING:
    from streams.campaigns.reporting import CampaignReport
    from streams.settings import Settings


@click.command("report")
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object instead of tables.")
@click.option(
    "--out", "folder", metavar="DIR", type=click.Path(file_okay=False, path_type=Path),
    help="Also write a page there, index.html, and every number of it, report.json.",
)  # fmt: skip
@setting_options(*BROKER, "app_id")
def report(name: str, as_json: bool, folder: Path | None, **options: Any) -> None:
    """Show what the campaign NAME did: each arm against the holdout, and deciding against the best arm for all.

    The intervals hold however often you look. Read from topics alone; no worker needs to run.
    """
    from streams.campaigns.reporting import report as compute

    result = run(compute(settings_from(**options), name))
    if folder is not None:
        _write(folder, result)
    if as_json:
        click.echo(json.dumps(_as_json(result)))
    else:
        show(result)


def _write(folder: Path, report: "CampaignReport") -> None:
    from streams.report.campaign import campaign_page

    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "index.html").write_text(campaign_page(report), encoding="utf-8")
        (folder / "report.json").write_text(json.dumps(_as_json(report), indent=1) + "\n", encoding="utf-8")
    except OSError as exc:
        raise Failure(f"{folder}: {exc.strerror}") from exc
    click.echo(f"{folder / 'index.html'} written", err=True)


@click.command("learn")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--every", type=click.FloatRange(min=0, min_open=True), metavar="MINUTES",
    help="Do it again so often, until stopped. Default: once.",
)  # fmt: skip
@setting_options(*BROKER)
def learn(names: tuple[str, ...], every: float | None, **options: Any) -> None:
    """Learn each campaign that chooses by bandit, or those named, from all rewards so far; give workers what is new.

    Until a campaign was learnt its arms are all as likely. Deciding by customer is served only while it is better than
    every arm for all beyond noise; half of the decisions try it meanwhile. Nothing is kept between two runs: the same
    rewards give the same weights, so it may run anywhere, and again after a crash.
    """
    settings = settings_from(**options)
    while True:
        run(_learn(settings, names))
        if every is None:
            return
        time.sleep(60.0 * every)


async def _learn(settings: "Settings", names: tuple[str, ...]) -> None:
    from streams.campaigns.learning import learn_campaigns

    async for campaign, learnt, sent in learn_campaigns(settings, names):
        if learnt is None:
            click.echo(f"{campaign.label}: too few decisions are over; all arms stay as likely")
            continue
        judgement = learnt.judgement
        click.echo(
            f"{campaign.label}: {learnt.decisions:,} decisions{'' if sent else ', nothing new'}; best arm for all "
            f"{campaign.arm_names[judgement.arm]} {judgement.constant.words}; by customer {judgement.policy.words}, "
            f"difference {judgement.difference.words}: {'by customer' if learnt.personal else 'kept constant'}"
        )


def _as_json(report: "CampaignReport") -> dict[str, Any]:
    from schemas.times import to_rfc3339

    found, campaign = report.effects, report.campaign
    budget = report.budget
    return {
        "campaign": campaign.name,
        "version": campaign.version,
        "paused": report.paused,
        "currency": campaign.currency,
        "decisions": found.decisions,
        "customers": found.customers,
        "arms": {
            arm: {
                "decisions": each.decisions,
                "value": each.value.plain,
                "against_holdout": None if each.against_holdout is None else each.against_holdout.plain,
                "cost": each.cost,
            }
            for arm, each in found.arms.items()
        },
        "holdout": None if found.holdout is None else found.holdout.plain,
        "policy": found.policy.plain,
        "against_holdout": None if found.against_holdout is None else found.against_holdout.plain,
        "best_constant": None if found.best is None else {"arm": found.best, **found.best_value.plain},
        "difference": found.difference.plain,
        "kept_constant": not found.difference.low > 0,
        "exploring": found.exploring,
        "ratio_mismatch": found.ratio.mismatch,
        "holdout_mismatch": found.holdout_ratio.mismatch,
        "recent": {
            "decisions": report.recent.decisions,
            "since": None if report.recent.since is None else to_rfc3339(report.recent.since),
            "arms": dict(report.recent.arms),
            "suppressed": [
                {"arm": arm, "reason": reason, "decisions": count}
                for (arm, reason), count in sorted(report.recent.suppressed.items())
            ],
            "outcomes": [
                {"arm": arm, "kind": kind, "decisions": count}
                for (arm, kind), count in sorted(report.recent.outcomes.items())
            ],
        },
        "budget": None
        if budget is None
        else {
            "amount": budget.amount_minor / campaign.unit_minor,
            "spent": budget.spent_minor / campaign.unit_minor,
            "begins": to_rfc3339(budget.begins),
            "ends": to_rfc3339(budget.ends),
        },
        "unreadable": report.unreadable,
    }


def show(report: "CampaignReport") -> None:
    """Prints a report for people."""
    found, campaign = report.effects, report.campaign
    unit = campaign.currency if campaign.reward.target == "spend" else "buyers"
    click.echo(
        f"{campaign.label}{' (paused)' if report.paused else ''}: {found.decisions:,} decisions are over, about "
        f"{found.customers:,} customers; {unit} a decision within {campaign.reward.days:g} days"
        f"{', less cost' if campaign.reward.less_cost else ''}"
    )
    if found.holdout is not None and found.against_holdout is not None:
        click.echo(f"  holdout               {found.holdout.words}")
        click.echo(
            f"  everybody else        {found.policy.words}; more than the holdout: {found.against_holdout.words}"
        )
    for name, arm in found.arms.items():
        against = "" if arm.against_holdout is None else f"; more than the holdout: {arm.against_holdout.words}"
        click.echo(f"  {name:<22}{arm.decisions:>8,} decisions, cost {arm.cost:,.2f}; {arm.value.words}{against}")
    if found.best is not None:
        click.echo(f"best arm for all: {found.best}: {found.best_value.words}")
        click.echo(f"difference of what was done to that: {found.difference.words}")
        if not found.difference.low > 0:
            click.echo("kept constant: deciding by customer is not better than the best arm for all beyond noise")
    if found.ratio.mismatch:
        click.echo("WARNING: arms were not drawn as often as their probabilities say; do not trust the effects")
    if found.holdout_ratio.mismatch:
        click.echo("WARNING: not as many customers are held out as the document says (a changed share also does this)")
    recent = report.recent
    click.echo(f"the last weeks: {recent.decisions:,} decisions")
    for (name, reason), count in sorted(recent.suppressed.items()):
        click.echo(f"  {name} could not be drawn in {count:,}: {reason}")
    for (name, kind), count in sorted(recent.outcomes.items()):
        click.echo(f"  {name}: {count:,} {kind} ({count / recent.arms[name]:.1%} of its decisions)")
    if report.budget is not None:
        spent, amount = (each / campaign.unit_minor for each in (report.budget.spent_minor, report.budget.amount_minor))
        click.echo(f"budget: {spent:,.2f} of {amount:,.2f} {campaign.currency} spent in the window")
    if report.unreadable:
        click.echo(f"{report.unreadable:,} records could not be read and are left out")

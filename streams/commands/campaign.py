"""`regulars campaign`: check a document; judge deciding on a logged trial. Beside it `campaign_life`, `campaign_report`."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from streams.commands.campaign_life import history, pause, preview, publish, resume, rollback
from streams.commands.campaign_report import learn, report
from streams.commands.options import Failure

if TYPE_CHECKING:
    from models.bandits.replay import LoggedTrial, Replay
    from models.bandits.trial import Judgement

DATASETS = ("hillstrom", "karlan-list", "open-bandit", "dsjson", "generic")


@click.group("campaign")
def command() -> None:
    """Campaigns: who gets what, and what came of it. docs/campaigns.md explains every field."""


@command.command("check")
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path), envvar="REGULARS_POLICY", show_envvar=True,
    help="Policy whose dimensions and segments FILE speaks of; the shipped one by default.",
)  # fmt: skip
def check(file: Path, policy: Path | None) -> None:
    """Say whether FILE is a campaign, and if not where it isn't: line and column."""
    from models.decisions.campaign import CampaignError, load
    from models.policy import PolicyError
    from models.policy import load as load_policy

    try:
        campaign = load(file, load_policy(policy))
    except (CampaignError, PolicyError) as exc:
        raise Failure(str(exc)) from exc
    arms = ", ".join(campaign.arm_names)
    click.echo(
        f"{file}: {campaign.label} is good: {arms}; {campaign.holdout:.0%} held out; chosen by {campaign.choose.by}"
    )


for each in (preview, publish, pause, resume, rollback, history, report, learn):
    command.add_command(each)


@command.command("replay")
@click.argument("dataset", type=click.Choice(DATASETS))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="Also write the figures there.")
@click.option("--reward", help="Column that counts as success; default: visit, gave, click, or reward (generic).")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Of the bandit's draws.")
@click.option(
    "--what-if", "document", type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A campaign with fixed shares over the trial's arms: also say what it would have been worth.",
)  # fmt: skip
def replay(dataset: str, file: Path, out: Path | None, reward: str | None, seed: int, document: Path | None) -> None:
    """Take FILE, a logged randomised trial, through the code that decides and learns live.

    Says what each arm earned; what the best arm for all is worth; whether deciding by customer is worth more, with intervals
    that hold however often they are looked at; and after how many decisions, from nothing, 95 % of the best arm's value were
    reached. Where deciding by customer is not better beyond noise, it is not served: `kept constant`.
    """
    from models.bandits.replay import joined
    from models.bandits.replay import replay as run

    trials = _trials(dataset, file, reward)
    judged = None if document is None else _what_if(document, trials, seed)
    parts = {name: run(trial, seed) for name, trial in trials.items()}
    whole = next(iter(parts.values())) if len(parts) == 1 else joined(parts)
    for name, part in parts.items():
        _print(name, part, "given" if trials[name].policy is not None else "learnt")
    if judged is not None:
        click.echo(f"what if {document}: {judged.policy.words}; less the best arm for all: {judged.difference.words}")
    if out is not None:
        figures = _plain(whole)
        if judged is not None:
            figures["what_if"] = {**judged.policy.plain, "difference": judged.difference.plain}
        if len(parts) > 1:
            figures["campaigns"] = {name: _plain(part) for name, part in parts.items()}
        try:
            out.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
        except OSError as exc:
            raise Failure(f"{out}: {exc.strerror}") from exc


@command.command("export")
@click.argument("dataset", type=click.Choice(DATASETS))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Where the lines go.")
@click.option("--reward", help="Column that counts as success; as for `replay`.")
def export(dataset: str, file: Path, out: Path, reward: str | None) -> None:
    """Write FILE, a logged trial, as DSJSON: what `vw --dsjson --cb_adf` reads. `replay dsjson` reads it back."""
    from streams.sources.dsjson import dsjson_lines

    count = 0
    trials = _trials(dataset, file, reward)
    try:
        with out.open("w", encoding="utf-8") as lines:
            for trial in trials.values():
                for line in dsjson_lines(trial):
                    lines.write(line + "\n")
                    count += 1
    except OSError as exc:
        raise Failure(f"{out}: {exc.strerror}") from exc
    click.echo(f"{out}: {count:,} decisions")


def _what_if(document: Path, trials: "dict[str, LoggedTrial]", seed: int) -> "Judgement":
    from models.bandits.replay import what_if
    from models.decisions.campaign import CampaignError, load

    try:
        campaign = load(document)
    except CampaignError as exc:
        raise Failure(str(exc)) from exc
    if campaign.choose.shares is None:
        raise Failure(f"{document}: a bandit's shares depend on what it has learnt", "give a campaign with `by: fixed`")
    if len(trials) > 1:
        raise Failure("a trial of several campaigns has no arms in common", "judge one campaign's rows at a time")
    (trial,) = trials.values()
    try:
        return what_if(trial, campaign.choose.shares, seed)
    except KeyError as exc:
        raise Failure(f"{document}: the trial has no arm {exc.args[0]!r}, only {', '.join(trial.arms)}") from exc


def _trials(dataset: str, file: Path, reward: str | None) -> "dict[str, LoggedTrial]":
    """The trials of a file; what was left out is said on stderr."""
    from streams.sources.tables import FileRefused
    from streams.sources.trials import TRIALS

    read, known = TRIALS[dataset]
    if reward is not None and known and reward not in known:
        raise click.UsageError(f"--reward: {dataset} has {', '.join(known)}, not {reward!r}")
    try:
        trials = read(file, reward or (known[0] if known else "reward"))
    except FileRefused as exc:
        raise Failure(str(exc)) from exc
    for trial in trials.values():
        for note in trial.notes:
            click.echo(note, err=True)
    return trials


def _plain(replayed: "Replay") -> dict[str, Any]:
    """The contract's object, and what stands beside it."""
    judgement = replayed.judgement
    return {
        "rows": replayed.rows,
        "arms": {
            name: {
                "n": arm.n,
                "mean": _number(arm.mean),
                "se": _number(arm.se),
                **{each.estimator: {**each.span.plain, "ess": each.effective} for each in (arm.snips, arm.dr)},
            }
            for name, arm in replayed.arms.items()
        },
        "best_constant": {"arm": _best(replayed), **judgement.constant.plain},
        "policy": {**judgement.policy.plain, "estimator": "dr", "ess": replayed.effective},
        "difference": judgement.difference.plain,
        "kept_constant": not judgement.better,
        "decisions_to_95_percent": replayed.near,
        "decisions": replayed.decisions,
    }


def _number(value: float) -> float | None:
    return value if value == value else None


def _best(replayed: "Replay") -> str:
    return list(replayed.arms)[replayed.judgement.arm] if replayed.judgement.arm >= 0 else "the best of each campaign"


def _print(name: str, replayed: "Replay", kind: str) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title=f"{name or 'all rows'}: {replayed.rows:,}")
    for column in ("arm", "rows", "mean", "standard error", "SNIPS", "doubly robust"):
        table.add_column(column, justify="left" if column == "arm" else "right")
    for arm, mean in replayed.arms.items():
        spans = (f"{each.span.low:.4f} to {each.span.high:.4f}" for each in (mean.snips, mean.dr))
        table.add_row(arm, f"{mean.n:,}", f"{mean.mean:.5f}", f"{mean.se:.5f}", *spans)
    Console().print(table)
    judgement = replayed.judgement
    lines = (
        (f"best arm for all ({_best(replayed)})", judgement.constant),
        (f"the {kind} policy", judgement.policy),
        ("difference", judgement.difference),
    )
    for label, span in lines:
        click.echo(f"{label}: {span.words}")
    click.echo(f"effective sample size of the policy: {replayed.effective:,.0f} of {replayed.rows:,}")
    kept = "better beyond noise: served" if judgement.better else "not better beyond noise: kept constant"
    click.echo(f"deciding by customer is {kept}" if kind == "learnt" else f"the given policy is {kept}")
    near = "not reached" if replayed.near is None else f"after {replayed.near:,} decisions"
    click.echo(f"95 % of the best arm's value, from nothing: {near} (of {replayed.decisions:,} that the log allows)")

"""`regulars evaluate`: how right the product was, on history that has an answer."""

import json
from pathlib import Path

import click

from streams.commands.options import Failure
from streams.sources.registry import SOURCES


@click.group("evaluate")
def command() -> None:
    """Judge segments against what then came. A table for people; with --json, the same figures for programs."""


@command.command("segments")
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="File for the figures.")
@click.option(
    "--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path), envvar="REGULARS_POLICY", show_envvar=True,
    help="Policy that is judged; default: the shipped one.",
)  # fmt: skip
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, envvar="REGULARS_SEED", show_envvar=True,
    help="Seed of the order of labels that mature on the same day.",
)  # fmt: skip
@click.option(
    "--cost-missed", type=click.FloatRange(min=0, min_open=True), default=5.0, show_default=True,
    help="Cost of a lost customer whom nobody approached.",
)  # fmt: skip
@click.option(
    "--cost-alarm", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
    help="Cost of approaching a customer who would have come back anyway.",
)  # fmt: skip
def segments(
    dataset: str, file: Path, out: Path | None, policy: Path | None, seed: int, cost_missed: float, cost_alarm: float
) -> None:
    """Did those called high spend high? Run FILE, a real DATASET, through the live code, and compare segments with outcomes.

    At the first day of each month every buyer stands in a segment of each dimension. The command compares that with what the
    buyer did in the next 90 days (30 for a dimension over p_purchase_30d): confusion matrix, precision, recall and F1 by
    segment; ROC and precision-recall curves of the number that the dimension is cut over; and who is lost, told by the
    forecast, by BG/NBD, by the customer's own rhythm and by recency. A cut-off counts when the file covers the days after
    it. Intervals hold 95 % of bootstrap samples of customers.
    """
    from models.policy import PolicyError
    from streams.report.backtest import Backtest, NoPlace, NothingToForecast, check_place
    from streams.report.churn import Costs
    from streams.report.segment_evaluation import NoWholeHorizon, evaluate
    from streams.report.segment_tables import figures, tables
    from streams.sources.tables import FileRefused

    try:
        if out is not None:
            check_place(out)
        run = Backtest(dataset, file, seed=seed, policy=policy, say=lambda line: click.echo(line, err=True))
        found = evaluate(run, Costs(cost_missed, cost_alarm))
    except (PolicyError, NoPlace, FileRefused, NothingToForecast, NoWholeHorizon) as exc:
        raise Failure(str(exc)) from exc
    click.echo(tables(found))
    if out is not None:
        out.write_text(json.dumps(figures(found), indent=1, allow_nan=False) + "\n", encoding="utf-8")


@command.command("clicks")
@click.argument("dataset", type=click.Choice(["session_purchase", "online_shoppers", "taobao2013"]))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--json", "out", type=click.Path(dir_okay=False, path_type=Path), help="File for the figures.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, envvar="REGULARS_SEED", show_envvar=True,
    help="Seed of the forest of online_shoppers, and of the standard errors of taobao2013's brands.",
)  # fmt: skip
def clicks(dataset: str, file: Path, out: Path | None, seed: int) -> None:
    """Do clicks foretell a purchase? Run FILE once through River pipelines; each forecast is judged before it is learnt.

    session_purchase: pages and times of each visit (parquet: pages, cum_seconds, purchase). A visit is scored after 3, 5 and
    10 pages and at its end, or at its end where that comes first. online_shoppers: a row per visit, with page_value and
    without, because an analytics service computes page_value from the very purchases. Visits are taken in the file's order.
    """
    from streams.commands.encoder_display import ProgressBar
    from streams.report import clicks as report
    from streams.report import next_brand, repurchase
    from streams.report.backtest import NoPlace, check_place
    from streams.sources.brand_events import read_brand_events
    from streams.sources.tables import FileRefused
    from streams.sources.visits import read_visit_rows, read_visits
    from streams.teaching.progress import TrainingProgress

    try:
        if out is not None:
            check_place(out)
        with ProgressBar() as bar:

            def show(what: str, done: int, of: int) -> None:
                bar.show(TrainingProgress(what, done, of))
                if bar.stopping():
                    raise Failure("stopped; nothing was written")

            if dataset == "session_purchase":
                read = read_visits(file)
                found = report.judge_pages(read.visits, show)
                figures = report.figures_of_pages(found) | {"left_out": read.left_out}
                table = report.table_of(found)
            elif dataset == "online_shoppers":
                found = report.judge_summaries(read_visit_rows(file), show, seed)
                figures, table = report.figures_of_summaries(found), report.table_of(found)
            else:
                events = read_brand_events(file)
                horizons = repurchase.judge_horizons(events, show)
                brands = next_brand.judge_next_brands(events, show, seed)
                figures = repurchase.figures_of(horizons) | next_brand.next_brand_figures(brands)
                table = "\n\n".join([repurchase.table_of(horizons), next_brand.next_brand_table(brands)])
    except (NoPlace, FileRefused, repurchase.NothingToJudge) as exc:
        raise Failure(str(exc)) from exc
    click.echo(table)
    if out is not None:
        out.write_text(json.dumps(figures, indent=1, allow_nan=False) + "\n", encoding="utf-8")

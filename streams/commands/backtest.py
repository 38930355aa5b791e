"""`regulars backtest`: forecasts of the live code over a real data set, made from the past alone."""

from pathlib import Path

import click

from streams.commands.options import Failure
from streams.sources.registry import SOURCES


@click.command("backtest")
@click.argument("dataset", type=click.Choice(list(SOURCES)))
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="File for the forecasts (parquet).")
@click.option(
    "--report", type=click.Path(file_okay=False, path_type=Path),
    help="Folder for a page (index.html) that shows the forecasts beside the outcomes.",
)  # fmt: skip
@click.option("--group-by", help="Column of FILE whose values group the customers in the report.")
@click.option(
    "--seed", type=click.IntRange(min=0), default=0, show_default=True, envvar="REGULARS_SEED", show_envvar=True,
    help="Seed of the order of labels that mature on the same day.",
)  # fmt: skip
@click.option(
    "--policy", type=click.Path(exists=True, dir_okay=False, path_type=Path), envvar="REGULARS_POLICY", show_envvar=True,
    help="Policy whose currency, minor units and segments are used; default: the shipped one.",
)  # fmt: skip
@click.option(
    "--models", default="", metavar="MODULE:FUNCTION", envvar="REGULARS_MODELS", show_envvar=True,
    help="Challengers beside the default model, comma between them: [NAME=]package.module:function, or a shipped name.",
)  # fmt: skip
@click.option("--prior", is_flag=True, help="Forecast with the prior alone, which is served before anything is learnt.")
def command(
    dataset: str,
    file: Path,
    out: Path | None,
    report: Path | None,
    group_by: str | None,
    seed: int,
    policy: Path | None,
    models: str,
    prior: bool,
) -> None:
    """Run FILE, a real DATASET, through the live code in event-time order, and forecast at the first day of each month.

    Writes the forecasts, or a page that compares them with the outcomes, or both. There is one row per cut-off and buyer
    known at that time: customer_id, as_of, p_purchase_30d, p_purchase_90d, expected_purchases_90d, expected_spend_90d, and
    the interval that should hold the spend of four in five such customers. A row is made from events before the cut-off and
    from labels that had matured by then. Cut-offs begin three months after the first purchase and end thirty days before the
    last one.

    With --models, challengers learn from the same labels and forecast at the same moments. A table shows the measures of
    each one, the difference to the default model, and its standard error. In FILE of --out, the column TARGET@NAME has the
    forecasts of each challenger.
    """
    if out is None and report is None and not models:
        raise click.UsageError("give --out FILE for the forecasts, --report DIR for the page, or --models for a table")
    import time

    from models.learning.plug import PlugError
    from models.policy import PolicyError
    from streams.report.backtest import Backtest, NoPlace, NothingToForecast, check_place
    from streams.report.challengers import comparison
    from streams.sources.tables import FileRefused

    started = time.monotonic()
    try:
        if out is not None:
            check_place(out)
        if report is not None:
            check_place(report, made=True)
        run = Backtest(
            dataset, file, seed=seed, policy=policy, group_by=group_by, models=models,
            say=lambda line: click.echo(line, err=True),
        )  # fmt: skip
        if out is not None:
            run.write(out, prior_alone=prior)
        shown = None if report is None else run.report(report)
    except (PolicyError, NoPlace, FileRefused, NothingToForecast, PlugError) as exc:
        raise Failure(str(exc)) from exc
    if models:
        click.echo(comparison(run.contest.rows(), run.forecasts, run.history.sales, run.history.last_purchase_at))
    done, places = run.done, " and ".join(str(path) for path in (out, shown) if path is not None)
    click.echo(
        f"{done.rows:,} forecasts at {done.cutoffs} cut-offs{places and f' in {places}'}: {done.events:,} events,"
        f" {done.labels:,} labels learnt, {time.monotonic() - started:.0f} s",
        err=True,
    )

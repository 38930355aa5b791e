"""What the commands of `regulars policy` take and how they fail: the file, the settings, errors of a policy."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from streams.commands.options import Failure

if TYPE_CHECKING:
    from models.policy import Policy

T = TypeVar("T")

FILE = click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
# Settings of commands that only publish, and of those that also read customers' states.
BROKER = ("bootstrap_servers", "topic_prefix")
STATES = (*BROKER, "app_id", "clock", "clock_grace_s")


def load_policy(file: Path) -> "Policy":
    """The policy in `file`.

    Raises:
        Failure: it is no policy; the message names line and column.
    """
    from models.policy import PolicyError, load

    try:
        return load(file)
    except PolicyError as exc:
        raise Failure(str(exc)) from exc


def run(work: Coroutine[Any, Any, T], file: str = "") -> T:
    """The result of `work`.

    Args:
        work: what is done with policies or campaigns.
        file: whose mistakes a message about a document names.

    Raises:
        Failure: the document cannot be published, rolled back, previewed or compared; the message says why.
    """
    import msgspec

    from models.decisions.campaign import CampaignError
    from models.decisions.weights import WeightsRefused
    from models.policy import PolicyError
    from streams.campaigns.published import CampaignRefused
    from streams.policy.comparison import NoComparison
    from streams.policy.published import PolicyRefused

    try:
        return asyncio.run(work)
    except CampaignError as exc:
        raise Failure(f"{file}: {exc}" if file else str(exc)) from exc
    except (PolicyError, PolicyRefused, CampaignRefused, WeightsRefused, NoComparison) as exc:
        raise Failure(str(exc)) from exc
    except msgspec.DecodeError as exc:
        raise Failure(f"a state cannot be read ({exc})", "it was written by another version of regulars") from exc


def replay_history(work: Callable[[], T]) -> T:
    """The result of `work`, which reads a data set.

    Raises:
        Failure: the file does not belong to the data set.
    """
    from streams.sources.tables import FileRefused

    try:
        return work()
    except FileRefused as exc:
        raise Failure(str(exc)) from exc


def warn_of_restless(policy: "Policy") -> None:
    """Prints a warning to stderr for each dimension that can move a customer with every event."""
    from models.flaps import restless

    for dimension in restless(policy):
        click.echo(
            f"warning: {dimension.name} (over {dimension.over}) has no dwell: it can move a customer with every event, and "
            "each move is a record of segment-changes; `dwell_days: 1` holds a segment for a day",
            err=True,
        )


def confirm(question: str) -> None:
    """Asks; without a terminal, or with another answer than yes, nothing is done.

    Raises:
        Failure: the answer is not yes.
    """
    try:
        if click.confirm(question, err=True):
            return
    except click.Abort:
        pass
    raise Failure("nothing was published", "answer yes, or give --yes")


def warn_of_dropped(policy: "Policy", served: "Policy") -> None:
    """Prints a warning to stderr for each dimension of the served policy that `policy` does not have."""
    kept = {dimension.name for dimension in policy.dimensions}
    for dimension in served.dimensions:
        if dimension.name not in kept:
            click.echo(
                f"warning: {policy.label} has no dimension {dimension.name}, which {served.label} has: its segments stay in "
                "the standings as they are, marked as retired, and no change says so",
                err=True,
            )


def warn_of_currency(policy: "Policy", served: "Policy") -> None:
    """Prints a warning to stderr if `policy` has another currency than the one that is served."""
    if policy.currency != served.currency:
        click.echo(
            f"warning: {policy.label} is in {policy.currency}, {served.label}, served until now, in {served.currency}: "
            "amounts are never converted. Sums so far stay as they are, and events in another currency count at face value",
            err=True,
        )

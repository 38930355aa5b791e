"""`regulars`: finds the command that is called, imports only that one and runs it.

So `regulars --help` answers at once, although some commands need torch and faust.
"""

import importlib
import importlib.util
import os
import sys
from typing import Any

import click

# Read when numpy is imported. Matrices of 80 x 80: two BLAS threads take five times as long as one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# name -> (where it is, what it does in one line). A command whose module is not installed is not listed.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("streams.commands.demo:command", "Watch a simulated shop's customers change segment, live."),
    "broker": ("streams.commands.broker:command", "Start, stop or check a single-node Kafka on this machine."),
    "topics": ("streams.commands.topics:command", "Make or check every topic."),
    "worker": ("streams.commands.worker:command", "Score customers: one process of the group."),
    "trainer": ("streams.commands.trainer:command", "Learn from matured labels and publish model snapshots."),
    "simulate": ("streams.commands.simulate:command", "Produce the events of a synthetic shop."),
    "replay": ("streams.commands.replay:command", "Produce a real data set as events, in event-time order."),
    "state": ("streams.commands.state:command", "Export every customer's state from the changelog."),
    "explain": ("streams.commands.explain:command", "Explain why a customer is in their segments."),
    "access": ("streams.commands.access:command", "Write everything that is held about a customer to a file."),
    "report": ("streams.commands.report:command", "Write the report of the shop as a page."),
    "erase": ("streams.commands.erase:command", "Erase customers, and show what remains where."),
    "events": ("streams.commands.events:command", "Check events before they are sent."),
    "dead-letters": ("streams.commands.dead_letters:command", "List refused records, and send them back after a fix."),
    "lag": ("streams.commands.lag:command", "Show how far the group is behind, in records and seconds."),
    "policy": ("streams.commands.policy:command", "Check, preview or publish a segment policy."),
    "campaign": ("streams.commands.campaign:command", "Check a campaign; judge its learning on a logged trial."),
    "backtest": ("streams.commands.backtest:command", "Forecast history with the live code, using only the past."),
    "evaluate": ("streams.commands.evaluate:command", "Judge segments against what then came."),
    "models": ("streams.commands.models:command", "Check, list and promote the shop's own models."),
    "encoder": ("streams.commands.encoder:command", "Fine-tune the text encoder, train its sentiment head."),
    "intents": ("streams.commands.intents:command", "Train the head that tells what customers want from support."),
    "bench": ("streams.commands.bench:command", "Measure speed."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the installed commands, in the order of `COMMANDS`."""
        return [name for name, (where, _) in COMMANDS.items() if _is_there(where)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None: there is no command of that name."""
        where, _ = COMMANDS.get(cmd_name, ("", ""))
        if not where or not _is_there(where):
            return None
        module, _, attribute = where.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands without importing any."""
        names = self.list_commands(ctx)
        if not names:
            return
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][1]) for name in names])

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; a broker that does not answer, or refuses, is one line instead of a traceback."""
        try:
            return super().invoke(ctx)
        except Exception as exc:
            if "aiokafka" in sys.modules:
                from streams.commands.failures import failure_of

                if (failure := failure_of(exc)) is not None:
                    raise failure from exc
            raise


def _is_there(where: str) -> bool:
    return importlib.util.find_spec(where.partition(":")[0]) is not None


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted and not ctx.resilient_parsing:
        from importlib.metadata import version

        click.echo(f"regulars {version('regulars')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Print the version."
)
def main() -> None:
    """Regulars: who your customers are right now, from the stream of what they do.

    Every option can also be set in the environment; `regulars COMMAND --help` shows the variable's name. How a secured
    Kafka is reached is the same for all commands: REGULARS_SECURITY_PROTOCOL, REGULARS_SASL_... and REGULARS_SSL_...,
    which `regulars worker --help` explains.
    """
    from streams.logs import configure_logging
    from streams.settings import OWNER_ALONE, WrongSetting, check_environment

    try:
        check_environment()
    except WrongSetting as exc:
        raise click.UsageError(str(exc)) from exc
    os.umask(OWNER_ALONE)
    configure_logging()


if __name__ == "__main__":
    main(prog_name="regulars")

"""`regulars`: finds the command that was asked for, imports that one and runs it.

Nothing else is imported, so `regulars --help` answers at once although some commands need torch and faust.
"""

import importlib
import importlib.util
import os
import sys
from typing import Any

import click

# Read when numpy is imported. Matrices of 80 x 80: two BLAS threads take five times as long as one.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

# name -> (where it is, what it does in one line). A command whose module isn't installed isn't listed.
COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("streams.commands.demo:command", "Watch a simulated shop's customers change segment, live."),
    "broker": ("streams.commands.broker:command", "Start, stop or look at a single-node Kafka on this machine."),
    "topics": ("streams.commands.topics:command", "Create or check every topic."),
    "worker": ("streams.commands.worker:command", "Score customers: one process of the group."),
    "trainer": ("streams.commands.trainer:command", "Learn from matured labels and publish model snapshots."),
    "simulate": ("streams.commands.simulate:command", "Produce the events of a synthetic shop."),
    "replay": ("streams.commands.replay:command", "Produce a real data set as events, in event-time order."),
    "state": ("streams.commands.state:command", "Export every customer's state from the changelog."),
    "explain": ("streams.commands.explain:command", "Say why a customer stands where they stand."),
    "erase": ("streams.commands.erase:command", "Erase customers, and say what remains where."),
    "dead-letters": ("streams.commands.dead_letters:command", "List what was refused, and send it back after a fix."),
    "lag": ("streams.commands.lag:command", "Show how far the group is behind, in records and seconds."),
    "policy": ("streams.commands.policy:command", "Check, preview or publish a segment policy."),
    "backtest": ("streams.commands.backtest:command", "Score history with the live code, honest about time."),
    "models": ("streams.commands.models:command", "Check, list and promote a shop's own models."),
    "encoder": ("streams.commands.encoder:command", "Fine-tune the text encoder, teach its sentiment head."),
    "bench": ("streams.commands.bench:command", "Measure speed."),
}


class LazyGroup(click.Group):
    """A group whose commands are imported only when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of the commands that are there, in the order of `COMMANDS`."""
        return [name for name, (where, _) in COMMANDS.items() if _is_there(where)]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; None where there is none of that name."""
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
        """Runs the command; a broker that can't be reached, or that refuses, is one line instead of a traceback."""
        try:
            return super().invoke(ctx)
        except Exception as exc:
            security = sys.modules.get("streams.kafka.security")
            if security is not None and isinstance(exc, (security.AccessRefused, *security.DENIALS)):
                from streams.commands.options import Failure

                raise Failure(str(exc) if isinstance(exc, security.AccessRefused) else security.denied(exc)) from exc
            errors = sys.modules.get("aiokafka.errors")
            if errors is not None and isinstance(exc, errors.KafkaConnectionError):
                from streams.commands.options import Failure

                raise Failure(
                    f"no Kafka to talk to: {exc}",
                    "start one with `regulars broker start`, or set REGULARS_BOOTSTRAP_SERVERS",
                ) from exc
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
    from streams.settings import WrongSetting, check_environment

    try:
        check_environment()
    except WrongSetting as exc:
        raise click.UsageError(str(exc)) from exc
    configure_logging()


if __name__ == "__main__":
    main(prog_name="regulars")

"""What the commands share: options made from the settings, one way to fail, logs on stderr."""

import logging
import os
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from streams.settings import Settings, misspelt

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Failure(click.ClickException):
    """The command could not do its work: exit code 1, one line that says why and the way out."""

    exit_code = 1

    def __init__(self, why: str, way_out: str = "") -> None:
        super().__init__(" ".join((f"{why}; {way_out}" if way_out else why).split()))


def setting_option(name: str, flag: str | None = None) -> Callable[[Decorated], Decorated]:
    """A click option `--x-y`, or `flag`, for the setting `x_y`: type, help, default and variable come from `Settings`.

    The command receives None where neither the option nor the variable is given; `settings_from` fills the default in.

    Raises:
        ValueError: the setting is a secret; every process of the machine sees a command line.
    """
    field = Settings.model_fields[name]
    if field.annotation is SecretStr:
        raise ValueError(f"{name} is a secret: a variable, never an option")
    switch = field.annotation is bool
    flag = flag or "--" + name.replace("_", "-")
    return click.option(
        f"{flag}/--no-{flag[2:]}" if switch else flag,
        name,
        type=None if switch else _click_type(field),
        default=None,
        envvar=f"REGULARS_{name.upper()}",
        show_envvar=True,
        help=f"{field.description or ''}{_default_note(field)}",
    )


def setting_options(*names: str) -> Callable[[Decorated], Decorated]:
    """`setting_option` for each name; `--help` lists them in this order."""

    def decorate(command: Decorated) -> Decorated:
        for name in reversed(names):
            command = setting_option(name)(command)
        return command

    return decorate


def settings_from(**options: Any) -> Settings:
    """The settings of the environment, with the options that were given over them.

    Raises:
        click.UsageError: a value is not allowed (exit code 2).
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as exc:
        first = exc.errors()[0]
        if not first["loc"]:  # several settings together; the message names them, and the input is all of them
            raise click.UsageError(first["msg"].removeprefix("Value error, ")) from None
        name = str(first["loc"][0])
        raise click.UsageError(
            f"--{name.replace('_', '-')} (REGULARS_{name.upper()}): {first['msg'].lower()}, not {first['input']!r}"
        ) from exc


def check_environment() -> None:
    """Refuses a `REGULARS_...` variable that nothing reads: whoever set it counts on it.

    Raises:
        click.UsageError: there is one (exit code 2); the message gives the nearest name.
    """
    if (wrong := misspelt(os.environ)) is not None:
        raise click.UsageError(wrong)


def configure_logging() -> None:
    """Structured logs to stderr: for people on a terminal, one JSON object a line otherwise.

    Records of the standard `logging` (faust, aiokafka) go the same way, from WARNING on, each line of code once in ten
    seconds, without those that mean nothing. Exceptions come with where they were raised, never with local variables: those
    hold what customers wrote.
    """
    import structlog

    from streams.ops.repetition import Everyday, OncePer

    human = sys.stderr.isatty()
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if human else "iso", utc=not human),
    ]
    render: list[structlog.typing.Processor] = (
        [structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)]
        if human
        else [
            structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False)),
            structlog.processors.JSONRenderer(),
        ]
    )
    structlog.configure(
        processors=[*shared, *render],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *render]
        )
    )
    handler.addFilter(Everyday())
    handler.addFilter(OncePer())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)


class Moment(click.ParamType):
    """A day (its 00:00 UTC) or an RFC 3339 timestamp, as epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Epoch seconds; exit code 2 where `value` is no time."""
        from schemas.times import from_rfc3339

        if isinstance(value, float):
            return value
        try:
            return from_rfc3339(value if "T" in value else f"{value}T00:00:00Z")
        except ValueError:
            self.fail(f"{value!r} is neither 2011-01-31 nor 2011-01-31T12:00:00Z", param, ctx)


def _click_type(field: FieldInfo) -> click.ParamType:
    annotation = field.annotation
    if get_origin(annotation) in (Union, types.UnionType):
        (annotation,) = (part for part in get_args(annotation) if part is not type(None))
    if get_origin(annotation) is Literal:
        return click.Choice(get_args(annotation))
    if annotation is Path:
        return click.Path(path_type=Path)
    if annotation is int:
        return click.INT
    return click.FLOAT if annotation is float else click.STRING


def _default_note(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True, validated_data={})
    shown = str(default).replace(str(Path.home()), "~") if isinstance(default, Path) else default
    return "" if default in (None, "") else f"  [default: {shown}]"

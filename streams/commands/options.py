"""Options made from the settings, and `Failure`, with which every command fails."""

import types
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import click
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from streams.settings import Settings, WrongSetting, read_settings

Decorated = TypeVar("Decorated", bound=Callable[..., Any])


class Failure(click.ClickException):
    """A command could not do its work: exit code 1, and one line that says why and names the way out."""

    exit_code = 1

    def __init__(self, why: str, way_out: str = "") -> None:
        super().__init__(" ".join((f"{why}; {way_out}" if way_out else why).split()))


def setting_option(name: str, flag: str | None = None) -> Callable[[Decorated], Decorated]:
    """A click option `--x-y`, or `flag`, for the setting `x_y`: type, help, default and variable come from `Settings`.

    If neither the option nor the variable is given, the command gets None; `settings_from` fills in the default.

    Raises:
        ValueError: the setting is a secret; every process on the machine can see a command line.
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
    """The settings of the environment, overridden by the options that were given.

    Raises:
        click.UsageError: a value is not allowed (exit code 2).
    """
    try:
        return read_settings(**options)
    except WrongSetting as exc:
        raise click.UsageError(str(exc)) from exc


class Moment(click.ParamType):
    """A day (its 00:00 UTC) or an RFC 3339 timestamp, as epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Epoch seconds; exit code 2 if `value` is no time."""
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

"""A shop's own models: what `REGULARS_MODELS` names, as River estimators by target.

    REGULARS_MODELS = entry [, entry ...]
    entry           = a shipped name (`models.learning.shipped`), or [NAME=]package.module:function

The function takes nothing and gives a mapping of target (a name of `schemas.learning.SCORES`) to a River estimator or
pipeline: a classifier for a probability, a regressor for an amount. Its input is a dict of feature name to number: those of
`models.features.NAMES`, and `prior`, the prior's forecast of the target on the link scale (log odds of a probability, log
of an amount).
"""

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

from river import base

from models.learning.inputs import is_probability
from models.learning.shipped import SHIPPED
from models.learning.snapshots import DEFAULT, PRIOR
from schemas.learning import SCORES


class PlugError(ValueError):
    """What was named can't be plugged in: the message says why and what would do."""


class Plugged(NamedTuple):
    """One contender: its name, and a fresh estimator by target."""

    name: str
    models: Mapping[str, Any]
    packages: tuple[str, ...] = ()  # top-level package of the shop's own code; none for a shipped one


def plugged(entries: str) -> list[Plugged]:
    """The contenders that `entries` names, in order; see the module.

    Raises:
        PlugError: one can't be imported or built, or isn't what the module says.
    """
    found = [_one(entry.strip()) for entry in entries.split(",") if entry.strip()]
    names = [each.name for each in found]
    for name in (DEFAULT, PRIOR):
        if name in names:
            raise PlugError(f"{name} is the name of a contestant that is always there; give yours another, NAME=...")
    for name in names:
        if names.count(name) > 1:
            raise PlugError(f"two contenders are named {name}; give one another name, NAME=package.module:function")
    return found


def _one(entry: str) -> Plugged:
    if entry in SHIPPED:
        return Plugged(entry, _checked(entry, SHIPPED[entry]()))
    name, _, where = entry.rpartition("=")
    module, _, function = where.partition(":")
    if not module or not function:
        raise PlugError(f"{entry}: neither one of {', '.join(SHIPPED)} nor package.module:function")
    name = name or where
    if not all(character.isalnum() or character in "._:-" for character in name) or len(name) > 64:
        raise PlugError(f"{name}: a contender's name has up to 64 letters, digits, and . _ : -")
    try:
        build = getattr(importlib.import_module(module), function)
    except ImportError as exc:
        raise PlugError(f"{where}: can't be imported: {exc}; is its folder on PYTHONPATH?") from exc
    except AttributeError as exc:
        raise PlugError(f"{where}: {exc}") from exc
    try:
        models = build()
    except Exception as exc:  # a shop's own code: whatever it raises, the way out is the same
        raise PlugError(f"{where}: building failed: {type(exc).__name__}: {exc}") from exc
    return Plugged(name, _checked(where, models), (module.partition(".")[0],))


def _checked(where: str, models: Any) -> Mapping[str, Any]:
    if not isinstance(models, Mapping) or not models:
        raise PlugError(f"{where}: gives {type(models).__name__}, not a mapping of target to River estimator")
    for target, model in models.items():
        if target not in SCORES:
            raise PlugError(f"{where}: no target {target!r}; there are {', '.join(SCORES)}")
        wanted = base.Classifier if is_probability(target) else base.Regressor
        if not isinstance(model, wanted):
            kind = "a classifier" if is_probability(target) else "a regressor"
            raise PlugError(f"{where}: {target} takes {kind} of River's, not {type(model).__name__}")
    return dict(models)

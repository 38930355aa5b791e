"""The Faust app of a scoring worker: its input topics, its table, its agent.

    faust -A streams.app worker      the same worker as `regulars worker`, with settings from the environment
    faust -A streams.app agents      likewise `tables` and `models`

An import of this module makes nothing. Faust asks it for `app`, which is then made from the environment.
"""

import os
from functools import cache
from typing import Any

import click
import structlog

from models.policy import PolicyError
from streams.logs import configure_logging
from streams.plane.runtime import App
from streams.settings import OWNER_ALONE, WrongSetting, check_environment, read_settings
from streams.worker.wiring import ScoringWorker


def scoring_app(worker: ScoringWorker) -> App:
    """The Faust app of `worker`, complete; nothing is connected before it starts."""
    app = worker.app

    # clickstream, purchases and reviews as one channel: docs/decisions/0021-one-agent-for-three-topics.md
    input_topics = app.input_topics()

    app.state_table("One state per customer and its changelog; the data plane writes both in batches.")

    @app.agent(input_topics, name="customers")
    async def customers(polls: Any) -> None:
        """Scores the customers of each poll."""
        async for poll in polls:
            await app.pipeline.submit(poll)

    return app


@cache
def _app_of_the_environment() -> App:
    if not structlog.is_configured():
        configure_logging()  # `regulars` has done so already, `faust -A streams.app` has not
    os.umask(OWNER_ALONE)
    try:
        check_environment()
        return scoring_app(ScoringWorker(read_settings()))
    except WrongSetting as exc:
        raise click.UsageError(str(exc)) from exc
    except PolicyError as exc:
        raise click.ClickException(f"{exc}; correct the file or REGULARS_POLICY") from exc


def __getattr__(name: str) -> App:
    if name == "app":
        return _app_of_the_environment()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

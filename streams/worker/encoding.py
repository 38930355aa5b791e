"""Which encoder a worker reads texts with: the model that the settings name, in a lane of its own."""

import os
from collections.abc import Callable
from functools import partial

from models.text.directory import ModelDirectory, open_directory
from models.text.head import head_of
from models.text.reading import TextEncoder
from streams.keys import text_cache_key
from streams.settings import Settings
from streams.worker.text_lane import BatchDone, TextLane


def open_lane(settings: Settings, on_batch: Callable[[BatchDone], None]) -> TextLane:
    """The lane that the settings ask for; nothing is read or imported before it is started.

    Args:
        settings: name the model, its sentiment head, the device and the cache.
        on_batch: called on the event loop after each batch.
    """

    def load(directory: ModelDirectory) -> TextEncoder:
        import torch

        from models.text.encoder import Encoder

        torch.set_num_threads(encoder_threads(len(os.sched_getaffinity(0))))
        return Encoder(directory, settings.device)

    return TextLane(
        find=lambda: open_directory(settings.encoder),
        load=load,
        cache_path=settings.cache_dir / "text-vectors.sqlite",
        cache_bytes=settings.text_cache_mb << 20,
        head=lambda directory: head_of(directory, settings.sentiment),
        on_batch=on_batch,
        cache_key=partial(text_cache_key, settings),
    )


def encoder_threads(cores: int) -> int:
    """Threads of the encoder on a machine with `cores`: all but the one that the stream needs, at least 1."""
    return max(1, cores - 1)

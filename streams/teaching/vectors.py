"""Vectors of many texts, for a command. They come from the worker's cache; missing ones are encoded and stored there.

So a command that was stopped continues where it was.
"""

import os
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from models.text.cache import VectorCache
from models.text.directory import ModelDirectory
from streams.keys import text_cache_key
from streams.settings import Settings
from streams.worker.encoding import encoder_threads

_AT_ONCE = 256
"""Texts between two writes to the cache: about 5 s of one CPU core."""


def vectors_of(
    texts: Sequence[str],
    directory: ModelDirectory,
    settings: Settings,
    progress: Callable[[int], None] = lambda done: None,
) -> NDArray[np.float32]:
    """(n, dim) float32, as a worker reads them (float16 in the cache). `progress` is called with the number that are done.

    Imports torch only if the cache lacks a text. Raises EncoderUnavailable.
    """
    path = settings.cache_dir / "text-vectors.sqlite"
    path.parent.mkdir(parents=True, exist_ok=True)
    limit_bytes = settings.text_cache_mb << 20
    cache = VectorCache(path, directory.version, directory.dim, limit_bytes, key=text_cache_key(settings))
    try:
        vectors = np.zeros((len(texts), directory.dim), dtype=np.float32)
        absent = []
        for index, vector in enumerate(cache.get(texts)):
            if vector is None:
                absent.append(index)
            else:
                vectors[index] = vector
        progress(len(texts) - len(absent))
        if absent:
            import torch

            from models.text.encoder import Encoder

            torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or encoder_threads(os.cpu_count() or 1)))
            encoder = Encoder(directory, settings.device)
            # Texts of similar length come together: the batches need little padding, and progress is even.
            absent.sort(key=lambda index: len(texts[index]))
            for start in range(0, len(absent), _AT_ONCE):
                some = absent[start : start + _AT_ONCE]
                rounded = encoder.encode([texts[index] for index in some]).astype(np.float16)
                cache.put([texts[index] for index in some], rounded)
                vectors[some] = rounded
                progress(len(texts) - len(absent) + start + len(some))
        return vectors
    finally:
        cache.close()

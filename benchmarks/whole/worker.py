"""The product's own worker; says on stdout how long it took until all input records were committed.

The texts are read first, so that their vectors are in the cache, as they are for a shop whose reviews were seen before.
"""

import gc
import resource
import sys
import time
from pathlib import Path

import msgspec

from streams.app import scoring_app
from streams.logs import configure_logging
from streams.plane.runtime import run_worker
from streams.settings import read_settings
from streams.worker.wiring import ScoringWorker


def main(records: int, texts_file: str) -> None:
    """Runs until SIGTERM."""
    configure_logging()
    worker = ScoringWorker(read_settings())
    app = scoring_app(worker)
    pipeline, job, lane = worker.pipeline, worker.job, worker.lane
    began: tuple[float, float] | None = None
    is_reported = False
    texts = msgspec.json.decode(Path(texts_file).read_bytes(), type=list[str])

    async def warm() -> None:
        await lane.encode(texts)
        lane.cached(texts)
        gc.collect()
        gc.freeze()
        print("warm", flush=True)

    async def begin() -> None:
        lane.start()
        await warm()

    app.on_begin(begin)
    decode = job.decode

    def first(*given: object) -> object:
        nonlocal began
        began = (time.perf_counter(), time.process_time())
        job.decode = decode  # type: ignore[method-assign]
        return decode(*given)  # type: ignore[arg-type]

    job.decode = first  # type: ignore[assignment,method-assign]

    async def report() -> None:
        nonlocal is_reported
        if began is None or is_reported or not records:
            return
        if sum(position.committed or 0 for position in pipeline.positions().values()) < records:
            return
        is_reported = True
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        stages = " ".join(f"{name} {seconds:.2f}" for name, seconds in pipeline.counters.seconds.items())
        print(
            f"{records} events, {records / wall:.0f}/s, CPU {1e6 * cpu / records:.1f} us/event, {wall:.1f} s, "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, chunks {pipeline.counters.chunks}, "
            f"outputs {pipeline.counters.outputs}, dead letters {pipeline.counters.dead_letters}; seconds: {stages}",
            flush=True,
        )

    pipeline.on_tick(0.1, report)
    run_worker(app)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

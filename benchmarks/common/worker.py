"""One worker with the common job; says on stdout how long it took until all events were committed."""

import resource
import sys
import time

from job import CommonJob  # beside this file

from streams.plane.runtime import build_app, run_worker
from streams.settings import Settings


def main(topic: str, output: str, events: int) -> None:
    """Runs until SIGTERM."""
    app = build_app(Settings(), CommonJob(topic, output))
    pipeline = app.pipeline
    began: tuple[float, float] | None = None
    is_reported = False
    decode = pipeline.job.decode

    def first(*args: object) -> object:
        nonlocal began
        began = (time.perf_counter(), time.process_time())
        pipeline.job.decode = decode
        return decode(*args)

    pipeline.job.decode = first

    async def report() -> None:
        nonlocal is_reported
        if began is None or is_reported or not events:
            return
        if sum(position.committed or 0 for position in pipeline.positions().values()) < events:
            return
        is_reported = True
        wall, cpu = time.perf_counter() - began[0], time.process_time() - began[1]
        stages = " ".join(f"{name} {seconds:.2f}" for name, seconds in pipeline.counters.seconds.items())
        print(
            f"{events} events, {events / wall:.0f}/s, CPU {1e6 * cpu / events:.1f} us/event, {wall:.1f} s, "
            f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB, chunks {pipeline.counters.chunks}, "
            f"outputs {pipeline.counters.outputs}; seconds: {stages}",
            flush=True,
        )

    async def ready() -> None:
        nonlocal is_reported_start
        if not is_reported_start:
            is_reported_start = True
            print("ready", flush=True)

    is_reported_start = False
    pipeline.on_tick(0.02, report)
    pipeline.on_tick(0.05, ready)
    run_worker(app)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))

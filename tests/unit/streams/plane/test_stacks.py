"""What a stuck process says of where it stands."""

import asyncio
import threading

from streams.plane.stacks import stacks

SECRET = "what a customer wrote"


async def _waits_for(future: asyncio.Future[None], text: str) -> str:
    await future
    return text


async def _outer(future: asyncio.Future[None], text: str) -> str:
    return await _waits_for(future, text)


def test_every_task_and_thread_is_told_by_its_lines_and_by_no_value() -> None:
    """The innermost call first; equal tasks once with their number; nothing of what the frames hold."""
    released, running = threading.Event(), threading.Event()

    def blocked(text: str) -> str:
        running.set()
        released.wait()
        return text

    async def scene() -> dict[str, list[str]]:
        never: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tasks = [asyncio.create_task(_outer(never, SECRET)) for _ in range(3)]
        await asyncio.sleep(0)
        running.wait()
        told = stacks([asyncio.get_running_loop()])
        never.set_result(None)
        assert await asyncio.gather(*tasks) == [SECRET] * 3
        return told

    thread = threading.Thread(target=blocked, args=(SECRET,), name="reader")
    thread.start()
    try:
        told = asyncio.run(scene())
    finally:
        released.set()
        thread.join()

    (waiting,) = (line for line in told["tasks"] if "_outer" in line)
    assert waiting.startswith("3 times: ")
    assert waiting.index("_waits_for plane/test_stacks.py:") < waiting.index("_outer plane/test_stacks.py:")
    (reader,) = (line for line in told["threads"] if line.startswith("reader: "))
    assert "blocked plane/test_stacks.py:" in reader
    assert SECRET not in str(told)


def test_a_loop_that_stands_still_can_be_asked_from_another_thread() -> None:
    """Which is when the watchdog's thread asks."""
    told: list[dict[str, list[str]]] = []

    async def stands_still() -> None:
        loop = asyncio.get_running_loop()
        asker = threading.Thread(target=lambda: told.append(stacks([loop])))
        asker.start()
        asker.join()

    asyncio.run(stands_still())

    assert any("stands_still" in line for line in told[0]["threads"])

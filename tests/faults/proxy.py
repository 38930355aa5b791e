"""A TCP proxy between clients and a broker: slow, cut, refusing, or silent like a network that lost its state.

The broker must advertise the proxy's address (`advertised`), else clients go past it.
"""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from typing import Any


class Proxy:
    """Listens on a port of its own and passes bytes on to `target_port` of 127.0.0.1, in a thread of its own."""

    def __init__(self, target_port: int) -> None:
        self.latency_s = 0.0  # each way
        self.connections = 0  # accepted so far
        self._target_port = target_port
        self._silent: set[asyncio.StreamWriter] = set()
        self._open: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            self.port = int(taken.getsockname()[1])
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.accept()

    @property
    def servers(self) -> str:
        """Its address, for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def advertised(self) -> dict[str, str]:
        """The broker's property that sends clients here."""
        return {"advertised.listeners": f"PLAINTEXT://{self.servers}"}

    def accept(self) -> None:
        """Listens (again)."""
        self._call(self._listen())

    def cut(self) -> None:
        """Resets every connection; new ones come through."""
        self._call(self._cut())

    def refuse(self) -> None:
        """Resets every connection and refuses new ones until `accept`."""
        self._call(self._close())

    def silence(self) -> None:
        """Half-open: bytes of the connections there are vanish, nobody hears of an end; new ones come through."""
        self._call(self._mark_silent())

    def close(self) -> None:
        """Ends it."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)
        self._loop.close()

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _listen(self) -> None:
        if self._server is None:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port, limit=1 << 20)

    async def _cut(self) -> None:
        for writer in list(self._open):
            if not writer.is_closing():
                # to the other end a reset, not an orderly end
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        self._silent.clear()

    async def _close(self) -> None:
        server, self._server = self._server, None
        if server is not None:
            # Asyncio loses the socket of a connection that it has accepted and not attached yet when the server closes:
            # no more are accepted, those that were get their turns, and then it closes.
            for listener in server.sockets:
                self._loop.remove_reader(listener.fileno())
            for _ in range(3):
                await asyncio.sleep(0)
            server.close()
        await self._cut()

    async def _end(self) -> None:
        await self._close()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn of the loop

    async def _mark_silent(self) -> None:
        self._silent |= self._open

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port, limit=1 << 20)
        except (OSError, asyncio.CancelledError):  # cancelled only by `close`
            writer.transport.abort()
            return
        pair = {writer, back}
        self._open |= pair
        try:
            # asyncio.streams complains of a handler that ends cancelled
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(self._pump(reader, back), self._pump(there, writer))
        finally:
            self._open -= pair
            self._silent -= pair
            for end in pair:
                end.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        loop = asyncio.get_running_loop()
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(1000)
        passing = loop.create_task(self._pass_on(under_way, writer, loop.time))
        try:
            while data := await reader.read(1 << 18):
                await under_way.put((loop.time() + self.latency_s, data))
            await under_way.put((loop.time() + self.latency_s, b""))
            await passing
        finally:
            passing.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await passing

    async def _pass_on(
        self, under_way: "asyncio.Queue[tuple[float, bytes]]", writer: asyncio.StreamWriter, clock: Callable[[], float]
    ) -> None:
        while True:
            due, data = await under_way.get()
            if (wait_s := due - clock()) > 0:
                await asyncio.sleep(wait_s)
            if writer in self._silent:
                if not data:
                    await asyncio.get_running_loop().create_future()  # nobody hears of the end
                continue
            if not data:
                writer.close()
                return
            writer.write(data)
            await writer.drain()

"""A link that can be cut: forwarders of datagrams and of TCP that lose or hold what passes, or delay it."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

HOST = "127.0.0.1"


class Forwarder:
    """Stands before `target` ("host:port").  While `blackholed`, nothing passes and nobody is told."""

    def __init__(self, target: str, *, delay_s: float = 0.0, loss: float = 0.0) -> None:
        host, _, port = target.rpartition(":")
        self.target = (host, int(port))
        self.blackholed = False
        self.delay_s = delay_s
        self.loss = loss
        self.random = random.Random(1)
        self.address = ""

    async def __aenter__(self):
        await self.open()
        return self

    async def __aexit__(self, *_):
        await self.close()


class UdpForwarder(Forwarder):
    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        self.back: dict[tuple, asyncio.DatagramTransport] = {}
        self.opening: dict[tuple, asyncio.Task] = {}
        self.front, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self._there), (HOST, 0))
        self.address = f"{HOST}:{self.front.get_extra_info('sockname')[1]}"

    def is_lost(self) -> bool:
        return self.blackholed or self.random.random() < self.loss

    def _there(self, data: bytes, client) -> None:
        if self.is_lost():
            return
        if client not in self.opening:
            self.opening[client] = asyncio.ensure_future(self._open_back(client))
        self._later(self._send_there, data, client)

    def _send_there(self, data: bytes, client) -> None:
        if client in self.back:
            self.back[client].sendto(data)
        else:
            self.opening[client].add_done_callback(lambda _: client in self.back and self.back[client].sendto(data))

    async def _open_back(self, client) -> None:
        def here(data: bytes, _) -> None:
            if not self.is_lost():
                self._later(self.front.sendto, data, client)

        endpoint = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Datagrams(here), remote_addr=self.target
        )
        self.back[client] = endpoint[0]

    def _later(self, call, *arguments) -> None:
        if self.delay_s:
            asyncio.get_running_loop().call_later(self.delay_s, call, *arguments)
        else:
            call(*arguments)

    async def close(self) -> None:
        for task in self.opening.values():
            task.cancel()
        await asyncio.gather(*self.opening.values(), return_exceptions=True)
        for transport in [self.front, *self.back.values()]:
            transport.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received) -> None:
        self.datagram_received = received

    def error_received(self, exc) -> None:
        pass


class TcpForwarder(Forwarder):
    """What is held while the link is cut is passed on afterwards, as TCP would."""

    async def open(self) -> None:
        self.tasks: set[asyncio.Task] = set()
        self.server = await asyncio.start_server(self._accepted, HOST, 0)
        self.address = f"{HOST}:{self.server.sockets[0].getsockname()[1]}"

    async def _accepted(self, reader, writer) -> None:
        self.tasks.add(asyncio.current_task())
        writers = [writer]
        try:
            await self._while_blackholed()
            there, back = await asyncio.open_connection(*self.target)
            writers.append(back)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pass(reader, back))
                group.create_task(self._pass(there, writer))
        except* (OSError, asyncio.CancelledError):
            pass
        finally:
            for one in writers:
                one.transport.abort()

    async def _pass(self, reader, writer) -> None:
        loop = asyncio.get_running_loop()
        waiting: asyncio.Queue = asyncio.Queue()

        async def read() -> None:
            data = b"x"
            while data:
                data = await reader.read(65536)
                waiting.put_nowait((loop.time() + self.delay_s, data))

        reading = loop.create_task(read())
        try:
            while True:
                at, data = await waiting.get()
                await asyncio.sleep(max(0.0, at - loop.time()))
                await self._while_blackholed()
                if not data:
                    raise ConnectionResetError
                writer.write(data)
                await writer.drain()
        finally:
            reading.cancel()
            with suppress(asyncio.CancelledError, OSError):
                await reading

    async def _while_blackholed(self) -> None:
        while self.blackholed:
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        self.server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)

"""One of two processes that send each other frames as fast as they can: the load of `harness.bench_transport`.

    python -m knhk_mesh.transport.bench_ends KIND END PORT PORT [--seconds S]

KIND is ours (quic, tcp) or what it is compared with (bare-quic: aioquic's own asyncio classes; bare-tcp: asyncio's
TLS streams), with the same frames on one stream each way and a connection for each direction.  END is 0 or 1, and
listens on the port of that number on loopback.  Prints one line of JSON: what arrived in `seconds`, how much processor
time this process took, and for ours what was counted.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import ssl
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from knhk_mesh.identity import AgentId, Signer
from knhk_mesh.transport import LENGTH_BYTES, TransportConfig

FRAME = bytes(1024)
FRAMED = len(FRAME).to_bytes(LENGTH_BYTES, "big") + FRAME
BATCH = 32
WAIT_S = 0.001
WARM_UP_S = 1.0
GIVE_UP_S = 10.0
UNSENT_BYTES_MAX = 1024 * 1024
SEEDS = (b"\1" * 32, b"\2" * 32)


class Count:
    """Frames that have arrived."""

    def __init__(self) -> None:
        self.frames = 0
        self.counted: Mapping[str, int] = {}
        self._rest = b""

    def add(self, _: AgentId, frame: bytes) -> None:
        """As a transport's sink."""
        assert len(frame) == len(FRAME)
        self.frames += 1

    def split(self, data: bytes) -> None:
        """As a framed stream's reader."""
        self._rest += data
        at = 0
        while len(self._rest) - at >= LENGTH_BYTES:
            length = int.from_bytes(self._rest[at : at + LENGTH_BYTES], "big")
            if len(self._rest) - at - LENGTH_BYTES < length:
                break
            self.add(b"", self._rest[at + LENGTH_BYTES : at + LENGTH_BYTES + length])
            at += LENGTH_BYTES + length
        self._rest = self._rest[at:]


@asynccontextmanager
async def ours(kind: str, end: int, ports: tuple[int, int], count: Count) -> AsyncIterator[Callable[[], bool]]:
    """A transport; yields what sends a batch of frames, and says whether it took them."""
    if kind == "quic":
        from knhk_mesh.transport.quic import QuicTransport as Chosen
    else:
        from knhk_mesh.transport.tcp import TcpTransport as Chosen  # type: ignore[assignment]
    peer = Signer(SEEDS[1 - end]).agent_id
    transport = Chosen(
        seed=SEEDS[end],
        network="bench",
        listen=f"127.0.0.1:{ports[end]}",
        peers=[(peer, f"127.0.0.1:{ports[1 - end]}")],
        config=TransportConfig(queue_bytes_max=UNSENT_BYTES_MAX),
    )
    transport.receive_messages(count.add)
    count.counted = transport.counters
    await transport.start()

    def send() -> bool:
        return all(transport.send_message(peer, FRAME) for _ in range(BATCH))

    try:
        yield send
    finally:
        await transport.stop(0.0)


@asynccontextmanager
async def bare_quic(_: str, end: int, ports: tuple[int, int], count: Count) -> AsyncIterator[Callable[[], bool]]:
    """aioquic's own server and client."""
    from aioquic.asyncio.client import connect
    from aioquic.asyncio.protocol import QuicConnectionProtocol
    from aioquic.asyncio.server import serve
    from aioquic.quic.configuration import QuicConfiguration
    from aioquic.quic.events import QuicEvent, StreamDataReceived

    from knhk_mesh.transport.certificate import make_certificate

    class Receiver(QuicConnectionProtocol):
        def quic_event_received(self, event: QuicEvent) -> None:
            if isinstance(event, StreamDataReceived):
                count.split(event.data)

    certificate, key = make_certificate(SEEDS[end])
    accepting = QuicConfiguration(is_client=False, certificate=certificate, private_key=key, alpn_protocols=["bench"])
    dialling = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE, alpn_protocols=["bench"])
    server = await serve("127.0.0.1", ports[end], configuration=accepting, create_protocol=Receiver)
    try:
        await asyncio.sleep(WARM_UP_S / 2)  # the other end listens by now
        async with connect("127.0.0.1", ports[1 - end], configuration=dialling) as client:
            writer = (await client.create_stream(is_unidirectional=True))[1]
            writer.write(FRAMED)
            sender = client._quic._streams[2].sender  # aioquic has no backpressure: only this tells what waits

            def send() -> bool:
                if len(sender._buffer) > UNSENT_BYTES_MAX:
                    return False
                for _ in range(BATCH):
                    writer.write(FRAMED)
                return True

            yield send
    finally:
        server.close()


@asynccontextmanager
async def bare_tcp(_: str, end: int, ports: tuple[int, int], count: Count) -> AsyncIterator[Callable[[], bool]]:
    """asyncio's streams over TLS."""
    from knhk_mesh.transport.tcp import client_context, server_context

    async def receive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                length = int.from_bytes(await reader.readexactly(LENGTH_BYTES), "big")
                count.add(b"", await reader.readexactly(length))
        except (asyncio.IncompleteReadError, asyncio.CancelledError, OSError):
            writer.close()

    server = await asyncio.start_server(receive, "127.0.0.1", ports[end], ssl=server_context(SEEDS[end]))
    try:
        await asyncio.sleep(WARM_UP_S / 2)  # the other end listens by now
        dialled = await asyncio.open_connection("127.0.0.1", ports[1 - end], ssl=client_context(), server_hostname="")
        writer = dialled[1]

        def send() -> bool:
            if writer.is_closing() or writer.transport.get_write_buffer_size() > UNSENT_BYTES_MAX:
                return False
            for _ in range(BATCH):
                writer.write(FRAMED)
            return True

        yield send
        writer.transport.abort()
    finally:
        server.close()


KINDS = {"quic": ours, "tcp": ours, "bare-quic": bare_quic, "bare-tcp": bare_tcp}


async def run(kind: str, end: int, ports: tuple[int, int], seconds: float) -> dict[str, Any]:
    """Send and receive for `seconds`, once the first frame has arrived and the load has run for WARM_UP_S."""
    count = Count()
    async with AsyncExitStack() as stack:
        send = await stack.enter_async_context(KINDS[kind](kind, end, ports, count))
        sending = asyncio.create_task(_send_for_ever(send))
        try:
            async with asyncio.timeout(GIVE_UP_S):
                while count.frames == 0:
                    await asyncio.sleep(WAIT_S)
            await asyncio.sleep(WARM_UP_S)
            begin, frames, processor = time.perf_counter(), count.frames, time.process_time()
            await asyncio.sleep(seconds)
            took = time.perf_counter() - begin
            told = {
                "frames": count.frames - frames,
                "seconds": took,
                "processor_seconds": time.process_time() - processor,
                "counted": dict(count.counted),
            }
            await asyncio.sleep(WARM_UP_S / 2)  # the other end may be measuring still
            return told
        finally:
            sending.cancel()


async def _send_for_ever(send: Callable[[], bool]) -> None:
    while True:
        await asyncio.sleep(0 if send() else WAIT_S)


def main() -> int:
    """Run one end."""
    parser = argparse.ArgumentParser(description="One end of a transport benchmark.")
    parser.add_argument("kind", choices=sorted(KINDS))
    parser.add_argument("end", type=int, choices=(0, 1))
    parser.add_argument("ports", type=int, nargs=2, metavar="PORT")
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    logging.getLogger("asyncio").setLevel(logging.ERROR)  # it warns at length that the other end has finished first
    told = asyncio.run(run(options.kind, options.end, (options.ports[0], options.ports[1]), options.seconds))
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())

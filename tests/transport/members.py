"""Transports in a test: nodes with what has arrived at them, and connections that are driven by hand."""

from __future__ import annotations

import asyncio
import socket
import time
from contextlib import AsyncExitStack, asynccontextmanager

from harness.local.ports import free_ports
from knhk_mesh.identity import Signer
from knhk_mesh.transport import MILLISECOND, TransportConfig
from knhk_mesh.transport.channel import DiallerChannel
from knhk_mesh.transport.quic import QuicTransport
from knhk_mesh.transport.tcp import TcpTransport
from tests.transport.forwarders import HOST, TcpForwarder, UdpForwarder

SECOND = 1000 * MILLISECOND
SLACK_S = 10.0
PATIENT = {"silence_timeout_ns": 20 * SECOND}
"""For tests that count connections: a starved core is no reason to dial anew."""
TURN_S = 0.05
"""What one turn of waiting counts at most, beside the processor time that it took: nobody waits while this process is
stopped, or has no processor, and whoever keeps the processor from all others is waited for."""
SEEDS = [bytes([number + 1]) * 32 for number in range(6)]
SIGNERS = [Signer(seed) for seed in SEEDS]
IDS = [signer.agent_id for signer in SIGNERS]
KINDS = {
    "quic": (QuicTransport, socket.SOCK_DGRAM, UdpForwarder),
    "tcp": (TcpTransport, socket.SOCK_STREAM, TcpForwarder),
}


class Member:
    """A transport and what has arrived at it, as (from which node, frame)."""

    def __init__(self, kind: str, number: int, listen: str, peers: dict[int, str], **options) -> None:
        self.got: list[tuple[int, bytes]] = []
        self.number = number
        self.transport = KINDS[kind][0](
            seed=SEEDS[number],
            network=options.pop("network", "test"),
            listen=listen,
            peers=[(IDS[other], address) for other, address in peers.items()],
            config=TransportConfig(**options),
        )
        self.counters = self.transport.counters
        self.transport.receive_messages(lambda peer, frame: self.got.append((IDS.index(peer), frame)))

    def send(self, to: int, frame: bytes) -> bool:
        return self.transport.send_message(IDS[to], frame)

    def link(self, to: int):
        return next(link for link in self.transport.links() if link.agent == IDS[to])

    def connected(self) -> bool:
        return all(link.connected for link in self.transport.links())


@asynccontextmanager
async def started(*members: Member):
    async with AsyncExitStack() as stack:
        for member in members:
            stack.push_async_callback(member.transport.stop, 0.0)
            await member.transport.start()
        yield


def free_addresses(count: int) -> list[str]:
    return [f"{HOST}:{port}" for port in free_ports(count)]


def full_mesh(kind: str, count: int, **options) -> list[Member]:
    at = free_addresses(count)
    return [
        Member(kind, number, at[number], {other: at[other] for other in range(count) if other != number}, **options)
        for number in range(count)
    ]


async def until(holds, seconds: float = SLACK_S) -> float:
    """Wait for it; returns how long it took, of the time in which this process could run."""
    waited, last, worked = 0.0, time.monotonic(), time.process_time()
    while not holds():
        assert waited < seconds, "waited in vain"
        await asyncio.sleep(0.005)
        now, work = time.monotonic(), time.process_time()
        waited += min(now - last, TURN_S + work - worked)
        last, worked = now, work
    return waited


class Raw:
    """The handler of a connection that a test drives by hand."""

    def __init__(self) -> None:
        self.got = b""
        self.ended: str | None = None
        self.is_open = False
        self.connection = None

    def opened(self) -> None:
        self.is_open = True

    def received(self, data: bytes) -> None:
        self.got += data

    def closed(self, reason: str) -> None:
        self.ended = reason


async def raw_dial(dialler: Member, to: Member, *, number: int) -> Raw:
    """A connection to `to` that has been greeted."""
    raw = Raw()
    raw.connection = dialler.transport._dial(IDS[number], to.transport.address, raw)
    await until(lambda: len(raw.got) >= 40 or raw.ended)
    return raw


def proof_for(number: int, hello: bytes, acceptor: int = 0, network: str = "test") -> bytes:
    channel = DiallerChannel(SIGNERS[number], network=network, peer=IDS[acceptor], config=TransportConfig())
    return channel.receive(0, hello[:40])

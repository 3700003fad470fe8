"""Frames over QUIC, by aioquic's sans-IO connection (`quic_end`) on sockets of our own (`datagrams`).

aioquic's asyncio classes take one datagram a turn of the loop.  Here a socket is drained of up to DRAIN_MAX datagrams
before what they lead to is sent, and what they bring is handed on in one piece.  What is sent goes on one
unidirectional stream each way: frames on the dialler's, greeting and acknowledgements on the acceptor's.

Not for uvloop: its clock has steps of a millisecond, and aioquic's timers then fire again and again too early.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter
from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    HandshakeCompleted,
    ProtocolNegotiated,
    QuicEvent,
)
from aioquic.quic.packet import QuicPacketType, QuicProtocolVersion, pull_quic_header

from knhk_mesh.identity import AgentId
from knhk_mesh.transport import TransportConfig
from knhk_mesh.transport.acceptor import Acceptor
from knhk_mesh.transport.base import BaseTransport
from knhk_mesh.transport.carrier import Connection, Handler, join_address, split_address
from knhk_mesh.transport.certificate import is_certificate_of, make_certificate
from knhk_mesh.transport.datagrams import Address, DatagramSocket, resolve
from knhk_mesh.transport.quic_end import QuicEnd

ALPN = "knhk"
IDLE_S = 10.0
INITIAL_RTT_S = 0.05
"""A lost first datagram is repeated after two of these."""
STREAM_BYTES_MAX = 256 * 1024
"""What a dialler may send before aioquic doubles it, which it does as the bytes arrive.  Small, since a stranger can
make us hold it for each of its connections by leaving out the first byte."""
DIALLER_STREAM, ACCEPTOR_STREAM = 2, 3
"""The first unidirectional stream of a QUIC client, and of a server (RFC 9000, 2.1)."""


class QuicTransport(BaseTransport):
    """The transport over QUIC; see `BaseTransport` for the arguments."""

    def __init__(self, *, seed: bytes, **options: Any) -> None:
        super().__init__(seed=seed, **options)
        certificate, key = make_certificate(seed)
        limits = _limits(self._config)
        # No authority vouches for an agent: the certificate is compared with the agent id after the handshake.
        self._dialling = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE, **limits)
        self._accepting = QuicConfiguration(is_client=False, certificate=certificate, private_key=key, **limits)
        self._listener: _Listener | None = None
        self._resolving: set[asyncio.Task[None]] = set()

    @property
    def address(self) -> str:
        """ "host:port", once started."""
        assert self._listener is not None
        return join_address(*self._listener.socket.address[:2])

    async def _listen(self, host: str, port: int) -> None:
        self._listener = _Listener(await resolve(host, port), self._accepting, self._acceptor, self.counters)

    def _dial(self, peer: AgentId, address: str, handler: Handler) -> Connection:
        dialled = _Dialled(peer, handler, self.counters)
        # Names take a while to resolve, and may have a new address each time.
        task = asyncio.get_running_loop().create_task(dialled.begin(address, self._dialling))
        self._resolving.add(task)
        task.add_done_callback(self._resolving.discard)
        return dialled

    async def _unlisten(self) -> None:
        if self._listener is not None:
            self._listener.socket.close()
        for task in self._resolving:
            task.cancel()
        await asyncio.gather(*self._resolving, return_exceptions=True)


def _limits(config: TransportConfig) -> dict[str, Any]:
    return {
        "alpn_protocols": [ALPN],
        "idle_timeout": IDLE_S,
        "initial_rtt": INITIAL_RTT_S,
        "max_data": 2 * STREAM_BYTES_MAX,
        "max_stream_data": STREAM_BYTES_MAX,
        "max_datagram_size": config.datagram_bytes_max,
        "supported_versions": [QuicProtocolVersion.VERSION_1],
    }


class _Listener:
    """The socket that accepts: datagrams go by the connection ids that we gave out."""

    def __init__(
        self, address: Address, configuration: QuicConfiguration, acceptor: Acceptor, counters: Counter[str]
    ) -> None:
        self._configuration = configuration
        self._acceptor = acceptor
        self._counters = counters
        self._ends: dict[bytes, QuicEnd] = {}
        self.socket = DatagramSocket(counters, self._readable)
        self.socket.bind(address)

    def _readable(self, datagrams: list[tuple[bytes, Address]]) -> None:
        touched: dict[QuicEnd, None] = {}
        now = asyncio.get_running_loop().time()
        for data, address in datagrams:
            end = self._end_for(data)
            if end is not None:
                end.take_in(data, address, now)
                touched[end] = None
        for end in touched:
            end.pump()

    def _end_for(self, data: bytes) -> QuicEnd | None:
        """The connection that a datagram belongs to, made if it begins one; None for what is not for us."""
        try:
            header = pull_quic_header(Buffer(data=data), host_cid_length=self._configuration.connection_id_length)
        except ValueError:
            self._counters["garbage"] += 1
            return None
        end = self._ends.get(header.destination_cid)
        if end is not None:
            return end
        if (
            header.packet_type != QuicPacketType.INITIAL
            or len(data) < SMALLEST_MAX_DATAGRAM_SIZE
            or header.version not in self._configuration.supported_versions
        ):
            self._counters["unknown-connection"] += 1
            return None
        return self._begin(header.destination_cid) if self._acceptor.has_room() else None

    def _begin(self, chosen_id: bytes) -> QuicEnd:
        """A connection whose dialler has chosen this id for us, until it learns the one that we choose."""
        quic = QuicConnection(configuration=self._configuration, original_destination_connection_id=chosen_id)
        own: set[bytes] = {chosen_id, quic.host_cid}

        def on_event(event: QuicEvent) -> None:
            if isinstance(event, ConnectionIdIssued):
                own.add(event.connection_id)
                self._ends[event.connection_id] = end
            elif isinstance(event, ConnectionIdRetired):
                own.discard(event.connection_id)
                self._ends.pop(event.connection_id, None)
            elif isinstance(event, ProtocolNegotiated):
                # The keys are there before the dialler's last word: the greeting goes with the handshake, and saves
                # a round trip.
                end.handler.opened()

        def on_close() -> None:
            for one in own:
                self._ends.pop(one, None)

        end = QuicEnd(
            quic,
            streams=(DIALLER_STREAM, ACCEPTOR_STREAM),
            send=self.socket.send_to,
            on_event=on_event,
            on_close=on_close,
            handler=_Nobody(),
            counters=self._counters,
        )
        end.handler = self._acceptor.accept(end)
        for one in own:
            self._ends[one] = end
        return end


class _Nobody:
    """The handler of an end that is just being made."""

    def opened(self) -> None: ...

    def received(self, data: bytes) -> None: ...

    def closed(self, reason: str) -> None: ...


class _Dialled:
    """A connection that we dial, on a socket of its own: to a relay each is a new client, as it would be to a NAT."""

    def __init__(self, peer: AgentId, handler: Handler, counters: Counter[str]) -> None:
        self._peer = peer
        self._handler = handler
        self._counters = counters
        self._socket: DatagramSocket | None = None
        self._to: Address = ("", 0)
        self._end: QuicEnd | None = None
        self._is_closed = False

    async def begin(self, address: str, configuration: QuicConfiguration) -> None:
        """Find the address and send the first datagram."""
        try:
            to = await resolve(*split_address(address))
            if self._is_closed:
                return
            self._socket = DatagramSocket(self._counters, self._readable)
            self._socket.connect(to)
        except OSError:
            if not self._is_closed:
                self.close()
                self._handler.closed("unreachable")
            return
        end = QuicEnd(
            QuicConnection(configuration=configuration),
            streams=(ACCEPTOR_STREAM, DIALLER_STREAM),
            send=self._socket.send_to_peer,
            on_event=self._on_event,
            on_close=self._socket.close,
            handler=self._handler,
            counters=self._counters,
        )
        self._end = end
        self._to = to
        end.quic.connect(to, asyncio.get_running_loop().time())
        end.pump()

    def _readable(self, datagrams: list[tuple[bytes, Address]]) -> None:
        end = self._end
        if end is not None:
            now = asyncio.get_running_loop().time()
            for data, _ in datagrams:  # the socket is connected: they are from there
                end.take_in(data, self._to, now)
            end.pump()

    def _on_event(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            assert self._end is not None
            # aioquic has verified that the other end holds this certificate's key, whatever `verify_mode` says, but
            # it has no public way to ask which certificate that is.
            if is_certificate_of(self._peer, self._end.quic.tls._peer_certificate):
                self._handler.opened()
            else:
                self._end.fail("wrong-certificate")

    def write(self, data: bytes) -> None:
        """Send."""
        if self._end is not None:
            self._end.write(data)

    def close(self) -> None:
        """End it."""
        self._is_closed = True
        if self._end is not None:
            self._end.close()
        elif self._socket is not None:
            self._socket.close()

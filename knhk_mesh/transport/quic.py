"""Frames over QUIC, by aioquic's sans-IO connection on sockets of our own.

aioquic's asyncio classes take one datagram a turn of the loop.  Here a socket is drained of up to DRAIN_MAX datagrams
before what they lead to is sent, which doubles the throughput.  What is sent goes on one unidirectional stream each
way: frames on the dialler's, greeting and acknowledgements on the acceptor's.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from aioquic.buffer import Buffer  # type: ignore[attr-defined]
from aioquic.quic.configuration import SMALLEST_MAX_DATAGRAM_SIZE, QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import (
    ConnectionIdIssued,
    ConnectionIdRetired,
    ConnectionTerminated,
    HandshakeCompleted,
    QuicEvent,
    StreamDataReceived,
)
from aioquic.quic.packet import QuicPacketType, pull_quic_header

from knhk_mesh.transport import TransportError
from knhk_mesh.transport.acceptor import Accepted
from knhk_mesh.transport.base import BaseTransport, split_address
from knhk_mesh.transport.certificate import is_certificate_of, make_certificate
from knhk_mesh.transport.dialler import Attempt

ALPN = "knhk"
DRAIN_MAX = 32
DATAGRAM_BYTES_MAX = 65536
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024
STREAM_BYTES_MAX = 8 * 1024 * 1024
IDLE_S = 10.0
INITIAL_RTT_S = 0.05
"""A lost first datagram is repeated after three of these."""

Address = tuple[str, int]


class QuicTransport(BaseTransport):
    """The transport over QUIC; see `knhk_mesh.transport.Transport`."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        certificate, key = make_certificate(self._seed)
        self._server_configuration = QuicConfiguration(
            is_client=False, certificate=certificate, private_key=key, **_limits()
        )
        # No authority vouches for an agent: the certificate is compared with the agent id after the handshake.
        self._client_configuration = QuicConfiguration(is_client=True, verify_mode=ssl.CERT_NONE, **_limits())
        self._socket: socket.socket | None = None
        self._links: dict[bytes, _Link] = {}  # by the connection ids that we gave out

    @property
    def address(self) -> str:
        """ "host:port", once started."""
        assert self._socket is not None
        host, port = self._socket.getsockname()[:2]
        return f"{host}:{port}"

    async def _listen(self) -> None:
        try:
            self._socket = open_socket()
            self._socket.bind(split_address(self._listen_on))
        except OSError as error:
            if self._socket is not None:
                self._socket.close()
                self._socket = None
            raise TransportError(f"listen: {self._listen_on} cannot be had: {error.strerror}") from None
        asyncio.get_running_loop().add_reader(self._socket, self._readable)

    def _readable(self) -> None:
        """Drain the socket, then let every connection that got something answer at once."""
        assert self._socket is not None
        touched: dict[_Link, None] = {}
        now = asyncio.get_running_loop().time()
        for data, address in drain(self._socket):
            link = self._link_for(data, address)
            if link is not None:
                link.take_in(data, address, now)
                touched[link] = None
        for link in touched:
            link.pump()

    def _link_for(self, data: bytes, address: Address) -> _Link | None:
        """The connection that a datagram belongs to, made if it begins one; None for what is not for us."""
        try:
            header = pull_quic_header(
                Buffer(data=data), host_cid_length=self._server_configuration.connection_id_length
            )
        except ValueError:
            self.counters["garbage"] += 1
            return None
        link = self._links.get(header.destination_cid)
        if link is not None:
            return link
        begins = header.packet_type == QuicPacketType.INITIAL and len(data) >= SMALLEST_MAX_DATAGRAM_SIZE
        if not begins or header.version not in self._server_configuration.supported_versions:
            self.counters["unknown-connection"] += 1
            return None
        if len(self._links) >= self._links_max():
            self.counters["too-many-strangers"] += 1
            return None
        assert self._socket is not None
        sending = self._socket
        link = _Link(
            QuicConnection(
                configuration=self._server_configuration,
                original_destination_connection_id=header.destination_cid,
            ),
            send=lambda data, to: _send_to(sending, data, to, self.counters),
            counters=self.counters,
        )
        link.on_event = _AcceptedEvents(self, link).on_event
        self._links[header.destination_cid] = link
        self._links[link.connection.host_cid] = link
        return link

    def _links_max(self) -> int:
        """Each connection has up to eight ids and the one that it began with."""
        return 9 * (self._config.strangers_max + 2 * len(self._diallers))

    def _dial(self, attempt: Attempt) -> None:
        try:
            _Dialled(attempt, self._client_configuration, self.counters)
        except OSError:
            attempt.lost("attempt-failed")

    async def _unlisten(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None
        self._links.clear()


class _Link:
    """One aioquic connection, its timer and the stream that we send on."""

    def __init__(
        self, connection: QuicConnection, *, send: Callable[[bytes, Address], None], counters: Counter[str]
    ) -> None:
        self.connection = connection
        self.on_event: Callable[[QuicEvent], None] = lambda event: None
        self._send = send
        self._counters = counters
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at: float | None = None
        self._stream: int | None = None
        self._pumping = False
        self._closed = False

    def take_in(self, data: bytes, address: Address, now: float) -> None:
        """A datagram for this connection; `pump` must follow."""
        if not self._closed:
            self.connection.receive_datagram(data, address, now)

    def write(self, data: bytes) -> None:
        """Send on our stream, which is opened with the first bytes."""
        if self._closed:
            return
        if self._stream is None:
            self._stream = self.connection.get_next_available_stream_id(is_unidirectional=True)
        self.connection.send_stream_data(self._stream, data)
        self.pump()

    def close(self) -> None:
        """Say so to the other end, once, and be done with it."""
        if self._closed:
            return
        self._closed = True
        self.connection.close()
        self._transmit()
        if self._timer is not None:
            self._timer.cancel()

    def pump(self) -> None:
        """Tell what has happened, send what is due, set the timer.  Writing from an event waits for this one's end."""
        if self._pumping or self._closed:
            return
        self._pumping = True
        try:
            event = self.connection.next_event()
            while event is not None:
                self.on_event(event)
                event = None if self._closed else self.connection.next_event()
        finally:
            self._pumping = False
        if not self._closed:
            self._transmit()
            self._set_timer()

    def _transmit(self) -> None:
        for data, address in self.connection.datagrams_to_send(self._loop.time()):
            self._send(data, address)

    def _set_timer(self) -> None:
        at = self.connection.get_timer()
        if at == self._timer_at and self._timer is not None:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = at
        self._timer = None if at is None else self._loop.call_at(at, self._fire)

    def _fire(self) -> None:
        self._timer = None
        if not self._closed:
            self.connection.handle_timer(max(self._loop.time(), self._timer_at or 0.0))
            self.pump()


class _AcceptedEvents:
    """What happens on a connection that another node dialled."""

    def __init__(self, transport: QuicTransport, link: _Link) -> None:
        self._transport = transport
        self._link = link
        self._accepted: Accepted | None = None

    def on_event(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            if self._accepted is not None:
                self._accepted.received(time.monotonic_ns(), event.data)
        elif isinstance(event, HandshakeCompleted):
            self._accepted = self._transport._acceptor.accept(self, time.monotonic_ns())
        elif isinstance(event, ConnectionIdIssued):
            self._transport._links[event.connection_id] = self._link
        elif isinstance(event, ConnectionIdRetired):
            self._transport._links.pop(event.connection_id, None)
        elif isinstance(event, ConnectionTerminated):
            self._end()

    def write(self, data: bytes) -> None:
        self._link.write(data)

    def close(self) -> None:
        self._link.close()
        self._end()

    def _end(self) -> None:
        accepted, self._accepted = self._accepted, None
        if accepted is not None:
            accepted.lost()
        links = self._transport._links
        for one in [one for one, link in links.items() if link is self._link]:
            del links[one]


class _Dialled:
    """An attempt, on a socket of its own: to a relay each is a new client, as it would be to a NAT."""

    def __init__(self, attempt: Attempt, configuration: QuicConfiguration, counters: Counter[str]) -> None:
        self._attempt = attempt
        self._loop = asyncio.get_running_loop()
        self._socket = open_socket()
        address = split_address(attempt.address)
        try:
            self._socket.connect(address)
        except OSError:
            self._socket.close()
            raise
        self._link = _Link(
            QuicConnection(configuration=configuration),
            send=lambda data, to: _send_to(self._socket, data, None, counters),
            counters=counters,
        )
        self._link.on_event = self._on_event
        attempt.connection = self
        self._loop.add_reader(self._socket, self._readable)
        self._link.connection.connect(address, self._loop.time())
        self._link.pump()

    def _readable(self) -> None:
        now = self._loop.time()
        for data, address in drain(self._socket):
            self._link.take_in(data, address, now)
        self._link.pump()

    def _on_event(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._attempt.received(time.monotonic_ns(), event.data)
        elif isinstance(event, HandshakeCompleted):
            # aioquic has verified that the other end holds this certificate's key; it tells nobody which it is.
            if not is_certificate_of(self._attempt.peer, self._link.connection.tls._peer_certificate):
                self._attempt.lost("wrong-certificate")
        elif isinstance(event, ConnectionTerminated):
            self._attempt.lost("closed")

    def write(self, data: bytes) -> None:
        self._link.write(data)

    def close(self) -> None:
        self._link.close()
        self._loop.remove_reader(self._socket)
        self._socket.close()


def drain(source: socket.socket) -> list[tuple[bytes, Address]]:
    """Up to DRAIN_MAX datagrams that have arrived."""
    found: list[tuple[bytes, Address]] = []
    for _ in range(DRAIN_MAX):
        try:
            found.append(source.recvfrom(DATAGRAM_BYTES_MAX))
        except BlockingIOError:
            break
        except OSError:  # nobody listens there: what a datagram sent before has come to
            continue
    return found


def open_socket() -> socket.socket:
    """A UDP socket with room for a burst."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setblocking(False)
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
    return made


def _send_to(sending: socket.socket, data: bytes, address: Address | None, counters: Counter[str]) -> None:
    """A datagram that the kernel does not take is lost like any other; QUIC sends its content again."""
    try:
        if address is None:
            sending.send(data)
        else:
            sending.sendto(data, address)
    except OSError:
        counters["send-failed"] += 1


def _limits() -> dict[str, Any]:
    return {
        "alpn_protocols": [ALPN],
        "idle_timeout": IDLE_S,
        "initial_rtt": INITIAL_RTT_S,
        "max_data": 2 * STREAM_BYTES_MAX,
        "max_stream_data": STREAM_BYTES_MAX,
    }

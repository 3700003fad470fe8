"""Sockets and sessions: one listening socket, and for each client address a connected socket of its own.

A server sees each client as one address; were an idle session closed and opened again, a QUIC server would see a
migration.  So sessions last as long as the proxy is enabled, and only when there are more clients than `sessions_max`
goes the one that has sent least recently, and is counted.

Whatever the kernel reports about a destination (an ICMP error, a full buffer) is counted and is no reason to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections import OrderedDict
from typing import Any

from faults.relay_udp.addresses import Address, Sockaddr
from faults.relay_udp.direction import Direction
from faults.relay_udp.timers import Timers
from faults.relay_udp.toxics import Toxic
from faults.relay_udp.wire import ApiError

SESSIONS_MAX = 256
BATCH = 64
"""Datagrams drained from a socket per wake-up, before others have their turn."""
BUFFER_BYTES = 8 * 1024 * 1024
"""Asked of the kernel for each socket; it may give less (net.core.rmem_max)."""

_buffer = memoryview(bytearray(65536))  # of the one thread: a datagram is handled before the next is read
_monotonic_ns = time.monotonic_ns


class Session:
    """One client address: its socket to the upstream address, and the ways there and back."""

    __slots__ = ("_address", "_proxy", "socket")

    def __init__(self, proxy: Proxy, address: Sockaddr, upstream: socket.socket) -> None:
        self._proxy = proxy
        self._address = address
        self.socket = upstream

    def to_upstream(self, data: bytes | memoryview) -> None:
        """Send one datagram on."""
        up = self._proxy.up
        try:
            self.socket.send(data)
        except ConnectionRefusedError:  # an error of an earlier datagram, told to this one, which was not sent
            try:
                self.socket.send(data)
            except OSError:
                up.send_failed += 1
                return
        except OSError:
            up.send_failed += 1
            return
        up.forwarded += 1
        up.forwarded_bytes += len(data)

    def to_client(self, data: bytes | memoryview) -> None:
        """Send one datagram back."""
        proxy, down = self._proxy, self._proxy.down
        try:
            assert proxy.listener is not None
            proxy.listener.sendto(data, self._address)
        except OSError:
            down.send_failed += 1
            return
        down.forwarded += 1
        down.forwarded_bytes += len(data)

    def drain(self) -> None:
        """What the upstream address has answered: up to BATCH datagrams."""
        down = self._proxy.down
        timers, decide, receive, buffer = self._proxy.timers, down.policy.decide, self.socket.recv_into, _buffer
        for _ in range(BATCH):
            try:
                size = receive(buffer)
            except BlockingIOError:
                return
            except OSError:  # ICMP: nobody listens there now
                continue
            down.received += 1
            down.received_bytes += size
            now = _monotonic_ns()
            fate = decide(now, size)
            if len(fate) == 1 and fate[0][0] <= now < timers.due and fate[0][1] < 0:
                self.to_client(buffer[:size])
            elif fate:
                down.carry_out(fate, buffer[:size], now, self.to_client)


class Proxy:
    """One proxy.  `listen` and `upstream` are what the API shows; addresses are resolved by who calls."""

    def __init__(
        self, name: str, listen: str, upstream: str, *, seed: int, timers: Timers, sessions_max: int = SESSIONS_MAX
    ) -> None:
        self.name = name
        self.listen = listen
        self.upstream = upstream
        self.timers = timers
        self.up = Direction(name, "upstream", seed=seed, timers=timers)
        self.down = Direction(name, "downstream", seed=seed, timers=timers)
        self.listener: socket.socket | None = None
        self.sessions_evicted = self.unreachable = 0
        self._sessions: OrderedDict[Sockaddr, Session] = OrderedDict()
        self._sessions_max = sessions_max
        self._upstream: Address | None = None
        self._loop = asyncio.get_running_loop()

    @property
    def enabled(self) -> bool:
        """Whether it listens."""
        return self.listener is not None

    @property
    def sessions(self) -> int:
        """How many clients have a session."""
        return len(self._sessions)

    def to_json(self) -> dict[str, Any]:
        """The proxy as the API shows it, toxics of `upstream` first."""
        return {
            "name": self.name,
            "listen": self.listen,
            "upstream": self.upstream,
            "enabled": self.enabled,
            "toxics": [toxic.to_json() for toxic in self.toxics().values()],
        }

    def toxics(self) -> dict[str, Toxic]:
        """All toxics by name, those of `upstream` first."""
        return {**self.up.toxics, **self.down.toxics}

    def direction(self, name: str) -> Direction:
        """The way called `upstream` or `downstream`."""
        return self.up if name == "upstream" else self.down

    def start(self, listen: Address, upstream: Address | None) -> None:
        """Listen; `upstream` is None if it has no address: datagrams are then counted as unreachable.

        Raises ApiError 500 if the port is not to be had.
        """
        assert self.listener is None
        listener = _socket(listen.family)
        try:
            if listen.family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(listen.sockaddr[0] != "::"))
            listener.bind(listen.sockaddr)
        except OSError as error:
            listener.close()
            raise ApiError(f"listen udp {listen}: bind: {(error.strerror or str(error)).lower()}", 500) from None
        self.listen = str(Address(listen.family, listener.getsockname()))
        self.listener = listener
        self._upstream = upstream
        self._loop.add_reader(listener.fileno(), self._drain)

    def stop(self) -> None:
        """Close all sockets; what is under way is lost.  Nothing happens if it is stopped."""
        if self.listener is None:
            return
        self.up.discard()
        self.down.discard()
        while self._sessions:
            self._close(self._sessions.popitem()[1])
        self._loop.remove_reader(self.listener.fileno())
        self.listener.close()
        self.listener = None

    def _drain(self) -> None:
        """What clients have sent: up to BATCH datagrams."""
        assert self.listener is not None
        up, timers, sessions, buffer = self.up, self.timers, self._sessions, _buffer
        decide, receive, recent = up.policy.decide, self.listener.recvfrom_into, self._sessions.move_to_end
        for _ in range(BATCH):
            try:
                size, address = receive(buffer)
            except BlockingIOError:
                return
            except OSError:
                continue
            up.received += 1
            up.received_bytes += size
            session = sessions.get(address)
            if session is not None:
                recent(address)
            else:
                session = self._open(address)
                if session is None:
                    self.unreachable += 1
                    continue
            now = _monotonic_ns()
            fate = decide(now, size)
            if len(fate) == 1 and fate[0][0] <= now < timers.due and fate[0][1] < 0:
                session.to_upstream(buffer[:size])
            elif fate:
                up.carry_out(fate, buffer[:size], now, session.to_upstream)

    def _open(self, address: Sockaddr) -> Session | None:
        """A session for a new client; None if there is no way to the upstream address."""
        if self._upstream is None:
            return None
        if len(self._sessions) >= self._sessions_max:
            self._evict()
        try:
            upstream = _socket(self._upstream.family)
        except OSError:  # out of file descriptors
            return None
        try:
            upstream.connect(self._upstream.sockaddr)
        except OSError:  # no route there now
            upstream.close()
            return None
        session = self._sessions[address] = Session(self, address, upstream)
        self._loop.add_reader(upstream.fileno(), session.drain)
        return session

    def _evict(self) -> None:
        self._close(self._sessions.popitem(last=False)[1])
        self.sessions_evicted += 1

    def _close(self, session: Session) -> None:
        self._loop.remove_reader(session.socket.fileno())
        session.socket.close()


def _socket(family: socket.AddressFamily) -> socket.socket:
    """A datagram socket that does not block, its buffers as large as the kernel allows."""
    made = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
    for forced, asked in ((33, socket.SO_RCVBUF), (32, socket.SO_SNDBUF)):  # SO_RCVBUFFORCE, SO_SNDBUFFORCE
        try:
            made.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:  # only root may go beyond the system's limit
            with contextlib.suppress(OSError):
                made.setsockopt(socket.SOL_SOCKET, asked, BUFFER_BYTES)
    return made

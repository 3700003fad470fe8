"""UDP sockets on the event loop, drained of many datagrams a wake-up.

Nothing that the network does to a socket is an error here.  A datagram that the kernel does not take is lost like any
other, and what an earlier one has come to (nobody listens there: ICMP) says nothing about the next.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

Address = tuple[str, int] | tuple[str, int, int, int]
"""As the socket module has it, for IPv4 or IPv6."""

DRAIN_MAX = 32
RECEIVE_BYTES = 2048
"""More than any datagram of ours; a longer one arrives cut off, and is garbage."""
SOCKET_BUFFER_BYTES = 4 * 1024 * 1024


class DatagramSocket:
    """A socket that gives what arrives to `readable`: up to DRAIN_MAX datagrams with their senders."""

    def __init__(self, counters: Counter[str], readable: Callable[[list[tuple[bytes, Address]]], None]) -> None:
        self._counters = counters
        self._give = readable
        self._loop = asyncio.get_running_loop()
        self._socket: socket.socket | None = None

    @property
    def address(self) -> Address:
        """Its own."""
        assert self._socket is not None
        name: Address = self._socket.getsockname()
        return name

    def bind(self, address: Address) -> None:
        """Listen there.  Raises OSError, and is closed then."""
        self._open(address, lambda made: made.bind(address))

    def connect(self, address: Address) -> None:
        """Talk to this address alone.  Raises OSError, and is closed then."""
        self._open(address, lambda made: made.connect(address))

    def _open(self, address: Address, then: Callable[[socket.socket], None]) -> None:
        made = socket.socket(socket.AF_INET if len(address) == 2 else socket.AF_INET6, socket.SOCK_DGRAM)
        try:
            made.setblocking(False)
            for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
                with suppress(OSError):
                    made.setsockopt(socket.SOL_SOCKET, option, SOCKET_BUFFER_BYTES)
            then(made)
        except OSError:
            made.close()
            raise
        self._socket = made
        self._loop.add_reader(made, self._readable)

    def _readable(self) -> None:
        found: list[tuple[bytes, Address]] = []
        source = self._socket
        assert source is not None
        for _ in range(DRAIN_MAX):
            try:
                found.append(source.recvfrom(RECEIVE_BYTES))
            except BlockingIOError:
                break
            except OSError:
                continue
        if found:
            self._give(found)

    def send_to(self, data: bytes, address: Address) -> None:
        """Send a datagram, from a socket that is bound."""
        if self._socket is not None:
            try:
                self._socket.sendto(data, address)
            except OSError:
                self._counters["unsent"] += 1

    def send_to_peer(self, data: bytes, _: Address) -> None:
        """Send a datagram, from a socket that is connected."""
        if self._socket is not None:
            try:
                self._socket.send(data)
            except OSError:
                self._counters["unsent"] += 1

    def close(self) -> None:
        """May be repeated."""
        if self._socket is not None:
            self._loop.remove_reader(self._socket)
            self._socket.close()
            self._socket = None


async def resolve(host: str, port: int) -> Address:
    """The address of a host; one that is a number already takes no thread.  Raises OSError."""
    with suppress(ValueError):
        number = ipaddress.ip_address(host)
        return (str(number), port) if number.version == 4 else (str(number), port, 0, 0)
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_DGRAM)
    address: Address = found[0][4]  # type: ignore[assignment]
    return address

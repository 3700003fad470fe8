"""`host:port` as Go writes and resolves it, so that the addresses that the API shows are those of Toxiproxy.

An empty host listens on every interface, and dials this machine.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import NamedTuple

LOOK_UP_S = 5.0

Sockaddr = tuple[str, int] | tuple[str, int, int, int]


class AddressError(ValueError):
    """Why an address cannot be used, in one line."""


class Address(NamedTuple):
    """A resolved address."""

    family: socket.AddressFamily
    sockaddr: Sockaddr

    def __str__(self) -> str:
        host, port = self.sockaddr[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def split(text: str) -> tuple[str, int]:
    """Host, without brackets, and port.  Raises AddressError."""
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise AddressError(f"address {text}: missing port in address")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        raise AddressError(f"address {text}: too many colons in address")
    if not port:
        return host, 0
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise AddressError(f"address {port[:16]}: invalid port")
    return host, int(port)


async def resolve(text: str, *, nowhere: str) -> Address:
    """The address; `nowhere` is the IP address that an empty host means.  Raises AddressError."""
    host, port = split(text or ":0")
    host = host or nowhere
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return await _look_up(host, port)
    if ip.version == 4:
        return Address(socket.AF_INET, (str(ip), port))
    return Address(socket.AF_INET6, (str(ip), port, 0, 0))


async def _look_up(host: str, port: int) -> Address:
    loop = asyncio.get_running_loop()
    try:
        found = await asyncio.wait_for(loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM), LOOK_UP_S)
    except (OSError, UnicodeError):  # TimeoutError is one
        raise AddressError(f"lookup {host}: no such host") from None
    # As Go does: IPv4 first.
    found.sort(key=lambda one: one[0] != socket.AF_INET)
    family, _, _, _, sockaddr = found[0]
    assert isinstance(sockaddr[0], str) and isinstance(sockaddr[1], int)
    return Address(family, (sockaddr[0], sockaddr[1]) if len(sockaddr) == 2 else (sockaddr[0], sockaddr[1], 0, 0))

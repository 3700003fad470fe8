"""What lies between the protocol and its carriers: connections of either kind, and who is told what happens on them."""

from __future__ import annotations

from typing import Protocol


class Connection(Protocol):
    """One end of a connection, as its user sees it."""

    def write(self, data: bytes) -> None:
        """Send; what cannot go at once waits inside.  Does nothing once closed."""

    def close(self) -> None:
        """End it, at once and for good; nobody is told.  May be repeated."""


class Handler(Protocol):
    """The user of one connection.  A connection tells it nothing after `closed`, or after it has closed it itself."""

    def opened(self) -> None:
        """The handshake is done; for a dialler: with the peer that it dialled."""

    def received(self, data: bytes) -> None:
        """Bytes from the other end; the answers to them may be written at once."""

    def closed(self, reason: str) -> None:
        """It has ended, or has never come to be; the reason is one that the package's docstring lists."""


def split_address(address: str) -> tuple[str, int]:
    """("host", port) of "host:port" or "[v6]:port".  Raises ValueError."""
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise ValueError(f"{address} is not host:port")
    host = host.removeprefix("[").removesuffix("]")
    try:
        host.encode("idna")  # as whoever looks the name up does, and no OSError comes of it
    except UnicodeError:
        raise ValueError(f"{address} is not host:port: no host has such a name") from None
    return host, int(port)


def join_address(host: str, port: int) -> str:
    """The inverse of `split_address`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

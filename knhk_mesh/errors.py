"""Every error that somebody outside the mesh can cause, as one tree.

    MeshError
    ├── ConfigError       a configuration that cannot work
    ├── BadFrame          bytes from a peer that are no frame, or not one for us
    ├── BadCommit         a commit that no node may ever take in
    ├── BadCertificate    a vote, or a certificate, that proves nothing
    ├── StorageError      a journal that cannot be opened, read or written (storage)
    ├── TransportError    an address that cannot be had (transport)
    ├── PeerRejected      a peer that cannot be registered (peer_registry)
    └── UnknownPeer       an agent id that was never registered (peer_registry)

Our own mistakes are assertions, never one of these.
"""

from __future__ import annotations


class MeshError(Exception):
    """Base of everything below."""


def one_line(text: str) -> str:
    """`text` without its line breaks: file names, keys and SQLite's findings may hold some, our messages do not."""
    return " ".join(text.splitlines())


class ConfigError(MeshError):
    """A configuration that cannot work; the message names the field."""


class StorageError(MeshError):
    """A journal that cannot be opened, read or written; the message names the file."""


class BadFrame(MeshError):
    """Bytes that are not a frame, or are beyond a limit.

    `reason` is one of a few fixed words, so that it can be counted.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class BadCommit(MeshError):
    """A commit that is invalid as a function of itself and its past, for every node alike."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class BadCertificate(MeshError):
    """A vote or a certificate that proves nothing, for every node alike; `reason` is one of a few fixed words."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason

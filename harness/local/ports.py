"""Ports on loopback that nobody has just now, for TCP and UDP alike.

They are taken from below the ephemeral range, so that no connection of ours, or of anyone, gets one by chance between
being found here and being bound by the process that it is for; and none is given out again soon.
"""

from __future__ import annotations

import secrets
import socket
from collections import deque
from contextlib import closing

LOW, HIGH = 10_240, 32_000
TRIES_MAX = 1000
_GIVEN: deque[int] = deque(maxlen=1000)
"""Whoever was given one may not have bound it yet."""


def free_ports(count: int) -> list[int]:
    """`count` different ports.  Raises OSError if there are not so many."""
    found: list[int] = []
    for _ in range(TRIES_MAX):
        if len(found) == count:
            return found
        port = LOW + secrets.randbelow(HIGH - LOW)
        if port not in _GIVEN and port not in found and _is_free(port):
            found.append(port)
            _GIVEN.append(port)
    raise OSError(f"no {count} free ports from {LOW} to {HIGH} on loopback")


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with closing(socket.socket(socket.AF_INET, kind)) as one:
            try:
                one.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True

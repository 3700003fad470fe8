"""Where things are in the networks of a run.

Two networks a run: `mesh`, in which nodes talk through the relay, and `control`, by which the harness reaches nodes
and relay, and which no fault touches.  Addresses are fixed, so that a node that is made anew is where it was.
"""

from __future__ import annotations

import secrets
from typing import NamedTuple

MESH_PORT = 7000
CONTROL_PORT = 7001
RELAY_API_PORT = 8474
FIRST_PROXY_PORT = 20_000
NODES_A_NETWORK = 200


class Subnet(NamedTuple):
    """A /24 of the private addresses (RFC 1918) from which Docker, too, takes its networks."""

    second: int
    third: int

    def __str__(self) -> str:
        return f"172.{self.second}.{self.third}.0/24"

    def host(self, number: int) -> str:
        """The address of host `number`, 0 to 255."""
        return f"172.{self.second}.{self.third}.{number}"

    @property
    def gateway(self) -> str:
        """This machine's own address there."""
        return self.host(1)

    @property
    def relay(self) -> str:
        """The relay's."""
        return self.host(2)

    def node(self, number: int) -> str:
        """A node's."""
        return self.host(10 + number)


def random_subnet() -> Subnet:
    """One of 512; the engine refuses it if it is taken."""
    return Subnet(30 + secrets.randbelow(2), secrets.randbelow(256))


def proxy_port(source: int, target: int) -> int:
    """Where the relay listens for what `source` sends to `target`."""
    return FIRST_PROXY_PORT + source * NODES_A_NETWORK + target

"""What `local` processes and containers each do in their own way: nodes and their relay, started, hurt and ended."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from faults.toxiproxy import ToxiproxyServer
from harness.errors import HostError

LIAR = "faults.byzantine"
"""The program on a Byzantine seat, whatever the subject is."""
NO_NETWORK = "these nodes have no network of their own"


class Hosts(Protocol):
    """The machines of one run.  Nodes are numbered from 0; every method may raise HostError."""

    name: str
    network_name: str

    async def start(self, failpoints: dict[int, list[str]]) -> None:
        """Start the relay, with a proxy on every directed link, and all nodes; return when every node answers.

        `failpoints` are for a subject that offers them: where each node is to stand still, such as "persist:17".
        """

    def agents(self) -> list[str]:
        """The agent id (hex) of each node; known before `start`."""
        ...

    def control(self, node: int) -> tuple[str, str]:
        """("host:port" of the node's control API, its bearer token)."""
        ...

    def relay(self) -> ToxiproxyServer:
        """The relay that carries the links, proxies called by `proxy_name`."""
        ...

    def ended(self, node: int) -> str | None:
        """Why the node's process ended without having been killed by `kill`; None while it has not."""
        ...

    def broken(self) -> str | None:
        """What of the harness's own (its relay, its view of the nodes) has failed, so that nothing can be said of them.

        To be asked after `stop` once more, which looks at everything a last time.
        """
        return None

    async def kill(self, node: int, *, wipe: bool) -> None:
        """End the process at once and see it gone; with `wipe` its disk, too."""

    async def restart(self, node: int) -> None:
        """Start it again on the disk that it has; return when it answers."""

    def life(self, node: int) -> str:
        """What tells the node's present life from every other one it had or will have."""
        ...

    def is_empty(self, node: int) -> bool:
        """Whether the disk of a node that is dead holds nothing."""
        ...

    async def pause(self, node: int) -> None:
        """Make the process stand still and see that it does."""

    async def resume(self, node: int) -> None:
        """Let it go on and see that it does."""

    def failpoint(self, node: int) -> str | None:
        """The failpoint at which the node has come to stand still, told once; None while it is at none."""
        ...

    def paused(self, node: int) -> bool:
        """Whether it stands still at this moment."""
        ...

    async def disconnect(self, node: int) -> None:
        """Take the node's network away and see that it is gone; its control API stays."""
        raise HostError(NO_NETWORK)

    async def reconnect(self, node: int) -> None:
        """Give it back, as it was."""
        raise HostError(NO_NETWORK)

    async def is_connected(self, node: int) -> bool:
        """Whether it has its network."""
        raise HostError(NO_NETWORK)

    async def drop(self, node: int, peers: list[int], fault: str) -> None:
        """Have the node's packet filter drop what comes from `peers`, and see that the rules are there."""
        raise HostError(NO_NETWORK)

    async def allow(self, node: int, peers: list[int], fault: str) -> int:
        """Take the rules off, see that they are gone, and return how many packets they have dropped."""
        raise HostError(NO_NETWORK)

    async def stop(self, artifacts: Path | None) -> dict[int, str]:
        """End everything and leave nothing behind, with logs and databases in `artifacts`.  May be repeated.

        Returns, for each node that ran and did not end as the contract has it, how it ended.
        """
        ...


def proxy_name(source: int, target: int) -> str:
    """The proxy on the link from `source` to `target`: what `source` dials to reach it."""
    return f"{source}-{target}"


def keep_file(source: Path, target: Path) -> None:
    """Copy what a node has left, if it is a file; sockets, links and what vanishes meanwhile are nobody's evidence."""
    try:
        if source.is_file() and not source.is_symlink():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source, target)
    except OSError as error:
        with suppress(OSError):
            target.parent.mkdir(parents=True, exist_ok=True)
            (target.parent / f"{target.name}.not-kept").write_text(f"{error.strerror}\n")


def node_directory(artifacts: Path, node: int) -> Path:
    """Where what a node leaves behind is kept, made if it is not there."""
    directory = artifacts / f"node{node}"
    directory.mkdir(parents=True, exist_ok=True)
    return directory

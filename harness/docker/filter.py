"""Cuts by the packet filters of the nodes themselves, a second way beside the relay and independent of it.

A rule on INPUT drops what comes from a peer; one on OUTPUT would make the sender's own calls fail.  The rules are set
by a container beside it that shares its network namespace and has NET_ADMIN: the node itself gets no capability.
"""

from __future__ import annotations

from typing import Any

from harness.docker.addresses import Subnet
from harness.docker.engine import RELAY_IMAGE, engine_errors
from harness.docker.leftovers import OWNER
from harness.errors import HostError
from harness.local.processes import owner_mark

COMMENT = "knhk"
IPTABLES = "iptables -w 5"


class PacketFilter:
    """The rules of one run.  Every method blocks.  Raises HostError."""

    def __init__(self, client: Any, mesh: Subnet, labels: dict[str, str]) -> None:
        self._client = client
        self._mesh = mesh
        self._labels = labels
        self._companions: dict[str, tuple[str, Any]] = {}  # node's container -> (since when it runs, its companion)

    def drop(self, container: Any, peers: list[int], fault: str) -> None:
        """Drop what comes from `peers`, and see that each rule is there."""
        rules = [f"{IPTABLES} -I INPUT -s {self._mesh.node(peer)} {_mark(fault)} -j DROP" for peer in peers]
        self._run(container, " && ".join(rules))
        there = [line for line in self._listed(container, fault) if line.split()[2] == "DROP"]
        if len(there) != len(peers):
            raise HostError(f"{container.name}: not all packet filter rules of {fault} are there")

    def dropped(self, container: Any, fault: str) -> int:
        """How many packets the fault's rules have dropped so far; a rule that does anything else drops none."""
        rules = [line.split() for line in self._listed(container, fault)]
        return sum(int(columns[0]) for columns in rules if columns[2] == "DROP")

    def allow(self, container: Any, peers: list[int], fault: str) -> None:
        """Take the fault's rules off again, and see that none is left."""
        there = self._listed(container, fault)
        rules = [
            f"{IPTABLES} -D INPUT -s {self._mesh.node(peer)} {_mark(fault)} -j DROP"
            for peer in peers
            if any(self._mesh.node(peer) in line.split() for line in there)
        ]
        if rules:
            self._run(container, " && ".join(rules))
        if self._listed(container, fault):
            raise HostError(f"{container.name}: packet filter rules of {fault} are still there")

    def _listed(self, container: Any, fault: str) -> list[str]:
        """The fault's rules with their counts, a line each."""
        told = self._run(container, f"{IPTABLES} -nvxL INPUT")
        return [line for line in told.splitlines() if f"/* {COMMENT}-{fault} */" in line]

    def _run(self, container: Any, script: str) -> str:
        with engine_errors(f"packet filter of {container.name}"):
            code, told = self._companion(container).exec_run(["sh", "-c", script])
        said = str(told.decode(errors="replace")).strip()
        if code != 0:
            raise HostError(f"packet filter of {container.name}: exit {code}: {said[-300:]}")
        return said

    def _companion(self, container: Any) -> Any:
        """The container beside a node that may touch its packet filter; it is there from the first cut on."""
        container.reload()  # what is known of it may be from a former life, or from before its first
        started = str(container.attrs["State"]["StartedAt"])
        known = self._companions.get(container.id)
        if known is not None and known[0] == started:
            return known[1]
        if known is not None:
            del self._companions[container.id]
            known[1].remove(force=True)  # the namespace that it joined went with the node's former life
        made = self._client.containers.run(
            RELAY_IMAGE,
            ["sleep", "infinity"],
            network_mode=f"container:{container.id}",
            user="0",
            cap_drop=["ALL"],
            cap_add=["NET_ADMIN"],
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs={"/run": "size=1m"},
            mem_limit="64m",
            pids_limit=32,
            labels=self._labels,
            init=True,
            detach=True,
        )
        self._companions[container.id] = (started, made)
        return made


def _mark(fault: str) -> str:
    """What tells the rules of one fault from all others'."""
    return f'-m comment --comment "{COMMENT}-{fault}"'


def try_filter(client: Any) -> str | None:
    """Why no rule can be set in a container's namespace here, a line; None if one can: it is tried."""
    rule = f"INPUT -s 192.0.2.1 {_mark('try')} -j DROP"
    try:
        with engine_errors("packet filter"):
            client.containers.run(
                RELAY_IMAGE,
                ["sh", "-c", f"{IPTABLES} -I {rule} && {IPTABLES} -D {rule}"],
                user="0",
                network_mode="none",
                cap_drop=["ALL"],
                cap_add=["NET_ADMIN"],
                read_only=True,
                tmpfs={"/run": "size=1m"},
                mem_limit="64m",
                labels={OWNER: owner_mark()},
                remove=True,
            )
    except HostError as error:
        return str(error)
    return None

"""What each fault does to simulated hosts and links, and how it is undone.

Faults may overlap.  Each holds what it does under its own id: a host stays paused, or dead, while any fault holds it
so, and its wall clock is off by the sum of what the skews in force add.  So lifting one fault never undoes another.
"""

from __future__ import annotations

import msgspec

from faults.byzantine import STRATEGIES, Liar
from faults.vocabulary import Byzantine, Cut, Disconnect, Kill, Link, Pause, PlannedFault, Skew
from harness.backend import Evidence
from harness.simulator.host import Host
from harness.simulator.loop import Loop
from harness.simulator.network import SimulatedNetwork

STROBE_FLIPS_MAX = 100_000

CAPABILITIES = (
    "cut", "filter", "disconnect", "latency", "jitter", "loss", "duplicate", "reorder", "rate", "pause",
    "kill-keep", "kill-lose-unsynced", "kill-torn", "kill-wipe",
    "skew-offset", "skew-step", "skew-strobe", "trigger",
    *(f"byzantine-{strategy}" for strategy in STRATEGIES),
)  # fmt: skip
"""What can be done to a simulated cluster.  Not `corrupt`: a simulated link is an authenticated channel."""


class SimulatedFaults:
    """The faults in force on one cluster."""

    def __init__(self, hosts: list[Host], network: SimulatedNetwork, loop: Loop) -> None:
        self._hosts = hosts
        self._network = network
        self._loop = loop
        self._holders: dict[int, set[str]] = {}  # node -> the faults that hold it dead or paused
        self._counted: dict[str, dict[int, int]] = {}  # fault -> node -> what was counted when it began
        self._flips: dict[str, int] = {}

    def inject(self, planned: PlannedFault) -> None:
        """Put a fault in force."""
        self._loop.note(b"inject " + planned.id.encode())
        match planned.fault:
            case Cut() | Link():
                self._network.apply(planned)
            case Disconnect(nodes=nodes):
                self._network.apply(self._without(planned, nodes))
            case Pause(nodes=nodes):
                self._counted[planned.id] = {node: self._hosts[node].deferred for node in nodes}
                for node in nodes:
                    self._holders.setdefault(node, set()).add(planned.id)
                    self._hosts[node].paused = True
            case Kill(nodes=nodes, disk=fate):
                alive = [node for node in nodes if self._hosts[node].node is not None]
                lost = {node: self._hosts[node].kill(fate) for node in nodes}
                self._counted[planned.id] = {node: lost[node] for node in alive}
                for node in nodes:
                    self._holders.setdefault(node, set()).add(planned.id)
            case Skew() as skew:
                self._flips[planned.id] = 0
                self._turn(planned.id, skew)
            case Byzantine(nodes=nodes, strategy=strategy):
                for liar in filter(None, map(self._liar, nodes)):
                    liar.lie(planned.id, strategy)
            case _:
                raise AssertionError(f"compiled a fault that this backend lacks: {planned.fault!r}")

    def lift(self, planned: PlannedFault) -> Evidence:
        """Undo a fault and tell how it was seen to bite."""
        self._loop.note(b"lift " + planned.id.encode())
        match planned.fault:
            case Cut() | Link():
                counts = self._network.lift(planned)
                return {"bites": sum(counts.values()), **counts}
            case Disconnect(nodes=nodes):
                counts = self._network.lift(self._without(planned, nodes))
                return {"bites": sum(counts.values()), **counts}
            case Pause(nodes=nodes):
                before = self._counted.pop(planned.id)
                deferred = sum(self._hosts[node].deferred - count for node, count in before.items())
                self._release(planned.id, nodes)
                return {"bites": deferred, "deferred": deferred}
            case Kill(nodes=nodes, disk=fate):
                killed = self._counted.pop(planned.id)
                self._release(planned.id, nodes)
                names = ",".join(map(str, nodes))
                lost = sum(killed.values())
                bit = {"bites": len(killed), "bit": len(killed), "of": len(nodes)}
                return {**bit, "disk": fate, "nodes": names, "records_lost": lost}
            case Skew() as skew:
                return self._unskew(planned.id, skew)
            case Byzantine(nodes=nodes):
                liars = {node: self._liar(node) for node in nodes}
                lies = {node: liar.stop(planned.id) if liar is not None else 0 for node, liar in liars.items()}
                return {"bites": sum(lies.values()), **{f"node{node}": count for node, count in lies.items()}}
            case _:
                raise AssertionError(f"compiled a fault that this backend lacks: {planned.fault!r}")

    def _liar(self, node: int) -> Liar | None:
        """The node on a Byzantine seat; None if it has crashed.  No fault kills it, since that would show nothing."""
        liar = self._hosts[node].node
        assert liar is None or isinstance(liar, Liar)
        return liar

    def _without(self, planned: PlannedFault, nodes: tuple[int, ...]) -> PlannedFault:
        """A node without a network is one all of whose links are cut."""
        count = len(self._hosts)
        links = [(a, b) for a in range(count) for b in range(count) if a != b and (a in nodes or b in nodes)]
        return msgspec.structs.replace(planned, fault=Cut(links=tuple(links)))

    def _release(self, fault: str, nodes: tuple[int, ...]) -> None:
        for node in nodes:
            holders = self._holders[node]
            holders.discard(fault)
            if holders:
                continue
            host = self._hosts[node]
            if host.node is not None:
                host.resume()
            elif host.killed:  # a node that has crashed by itself stays down: nobody asked for a restart
                host.boot()

    def _turn(self, fault: str, skew: Skew) -> None:
        """Set the clocks for this flip, and plan the next one of a strobe."""
        flips = self._flips.get(fault)
        if flips is None:
            return  # it was lifted meanwhile
        offset = int(skew.offset_ms * 1e6) if flips % 2 == 0 else 0
        for node in skew.nodes:
            self._hosts[node].set_wall_offset(fault, offset)
        if skew.mode == "strobe" and flips < STROBE_FLIPS_MAX:
            self._flips[fault] = flips + 1
            self._loop.at(self._loop.now + int(skew.period_ms * 1e6), self._turn, fault, skew)

    def _unskew(self, fault: str, skew: Skew) -> Evidence:
        flips = self._flips.pop(fault)
        seen = sum(self._hosts[node].wall_offset_ns != 0 for node in skew.nodes)
        if skew.mode != "step":
            for node in skew.nodes:
                self._hosts[node].set_wall_offset(fault, 0)
        return {"bites": flips if skew.mode == "strobe" else seen, "flips": flips}

"""Faults on real nodes: put in force and confirmed, counted while they last, undone and confirmed to be gone.

Faults may overlap, and each holds what it does under its own id, as in the simulator: a node stays paused or dead while
any fault holds it so, and its wall clock is off by the sum of the skews in force.

How a fault is seen to bite (`bites`): on links over UDP by the relay's own counts; on links over TCP, of which the real
Toxiproxy counts nothing, by what the dialling nodes observe (echoes that stop, round trips that grow); of nodes by the
state of their process or their clock.  `bit` is on how many nodes it was seen, `of` how many were meant: a kill counts
where the node was silent, and came back as another life, and if it was wiped, to an empty disk; a strobe by the flips
that the node's own clock showed.

What goes wrong in part is undone in full.  What cannot be undone ends the run (`broke`): the mesh must not be judged
under a fault that the history says is over.  On a node that has ended by itself there is nothing to undo, and no reason
to end the run: that is a finding against the mesh.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from faults.toxiproxy import ToxiproxyError
from faults.vocabulary import Byzantine, Cut, Disconnect, Kill, Link, Links, Pause, PlannedFault, Skew
from harness.backend import Evidence, FaultDone
from harness.errors import HostError
from harness.real.control import NoAnswer
from harness.real.hosts import Hosts
from harness.real.links import LinkFaults
from harness.real.proof import CountedProof, LinkProof, ObservedProof

NODE_CAPABILITIES = ("pause", "kill-keep", "kill-wipe")
CLOCK_CAPABILITIES = ("skew-offset", "skew-step", "skew-strobe")
CLOCK_ERROR_NS = 50_000_000
"""How far a node's clock may seem to be from what was asked, because the answer takes a while."""
ASK_SECONDS = 2.0
ENDED_SECONDS = 1.0
"""Within this of a node's end its host knows of it."""
PAUSED_ASK_SECONDS = 0.2
"""A node that answers within this while it is paused is not."""

SetClock = Callable[[int, int], Any]


class RealFaults:
    """The faults in force on `hosts`.  `ask` fetches a route of a node's control API, `set_clock` sets its clock."""

    def __init__(
        self,
        hosts: Hosts,
        *,
        transport: str,
        ask: Callable[[int, str, float], Any],
        set_clock: SetClock,
        lie: Callable[[int, str, str | None], Any],
        before_kill: Callable[[int], Any],
        broke: Callable[[str], None],
    ) -> None:
        self._hosts = hosts
        self._transport = transport
        self._ask = ask
        self._set_clock = set_clock
        self._lie = lie
        self._before_kill = before_kill
        self._broke = broke
        self._deaths: dict[int, _Death] = {}
        self._seen_dead: dict[int, bool] = {}  # node -> whether its last death was seen in full
        self._chains: dict[str, asyncio.Task[None]] = {}
        self._failed: dict[str, str] = {}
        self._held: dict[int, set[str]] = {}  # node -> the faults that hold it dead or paused
        self._dead: set[int] = set()
        self._counted: dict[str, Any] = {}
        self._offsets: dict[int, dict[str, int]] = {}
        self._strobes: dict[str, asyncio.Task[int]] = {}
        self._locks: dict[int, asyncio.Lock] = {}

    def inject(self, planned: PlannedFault, done: FaultDone) -> None:
        """Put a fault in force; `done` when that is confirmed."""
        self._chain(planned, self._injecting(planned, done))

    def lift(self, planned: PlannedFault, done: FaultDone) -> None:
        """Undo a fault, after whatever is still being done to put it in force."""
        self._chain(planned, self._lifting(planned, done))

    def dead(self, node: int) -> bool:
        """Whether a fault holds the node dead."""
        return node in self._dead

    def held(self, node: int) -> bool:
        """Whether any fault holds the node dead or paused."""
        return bool(self._held.get(node))

    async def settled(self) -> None:
        """Wait until what was begun so far is in force, or lifted."""
        if self._chains:
            await asyncio.wait(list(self._chains.values()))

    async def close(self) -> None:
        """Begin nothing more."""
        tasks = [*self._chains.values(), *self._strobes.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _chain(self, planned: PlannedFault, work: Any) -> None:
        former = self._chains.get(planned.id)

        async def after() -> None:
            if former is not None:
                await asyncio.wait([former])
            await work

        self._chains[planned.id] = asyncio.ensure_future(after())

    async def _injecting(self, planned: PlannedFault, done: FaultDone) -> None:
        try:
            evidence = await self._inject(planned)
        except (HostError, NoAnswer, ToxiproxyError, OSError) as error:
            self._failed[planned.id] = str(error)
            await self._undo(planned)
            done({}, str(error))
            return
        done(evidence, None)

    async def _undo(self, planned: PlannedFault) -> None:
        """Take back whatever part of a fault is in force."""
        try:
            await self._take_back(planned)
        except (HostError, NoAnswer, ToxiproxyError, OSError) as error:
            self._broke(f"{planned.id} was put in force in part, and could not be undone: {error}")

    async def _take_back(self, planned: PlannedFault) -> None:
        match planned.fault:
            case Cut(links=links, by="filter"):
                await self._undo_each(tuple(_peers(links)), partial(self._allow, planned.id, _peers(links), []))
            case Cut() | Link():
                await asyncio.to_thread(LinkFaults(self._hosts.relay()).lift, planned)
            case Disconnect(nodes=nodes):
                await self._undo_each(nodes, self._connect)
            case Pause(nodes=nodes) | Kill(nodes=nodes):
                await self._undo_each(nodes, partial(self._let_go, planned.id))
            case Skew(nodes=nodes):
                for node in nodes:
                    self._offsets.get(node, {}).pop(planned.id, None)
            case _:
                pass  # a liar that took no order does not lie

    async def _connect(self, node: int) -> None:
        if not await self._hosts.is_connected(node):
            await self._hosts.reconnect(node)

    async def _lifting(self, planned: PlannedFault, done: FaultDone) -> None:
        if planned.id in self._failed:
            done({}, f"was never in force: {self._failed[planned.id]}")
            return
        try:
            evidence = await self._lift(planned)
        except (HostError, NoAnswer, ToxiproxyError, OSError) as error:
            done({}, f"could not be lifted: {error}")
            self._broke(f"{planned.id} could not be lifted: {error}")
            return
        done(evidence, None)

    async def _inject(self, planned: PlannedFault) -> Evidence:
        match planned.fault:
            case Cut(links=links, by="filter"):
                await self._each(tuple(_peers(links)), partial(self._drop, planned.id, _peers(links)))
                return {"links": len(links)}
            case Cut() | Link() as fault:
                return await self._inject_links(planned, fault)
            case Disconnect(nodes=nodes):
                await self._each(nodes, self._hosts.disconnect)
                return {"disconnected": len(nodes)}
            case Pause(nodes=nodes):
                await self._each(nodes, partial(self._hold, planned.id))
                return {"paused": len(nodes)}
            case Kill(nodes=nodes, disk=fate):
                await self._each(nodes, partial(self._kill, planned.id, fate))
                return {"killed": len(nodes)}
            case Skew() as skew:
                return await self._inject_skew(planned.id, skew)
            case Byzantine(nodes=nodes, strategy=strategy):
                await asyncio.gather(*(self._lie(node, planned.id, strategy) for node in nodes))
                return {"liars": len(nodes)}
            case _:
                raise AssertionError(f"compiled a fault that this backend lacks: {planned.fault!r}")

    async def _lift(self, planned: PlannedFault) -> Evidence:
        match planned.fault:
            case Cut(links=links, by="filter"):
                dropped: list[int] = []
                await self._undo_each(tuple(_peers(links)), partial(self._allow, planned.id, _peers(links), dropped))
                return {"bites": sum(dropped), "dropped": sum(dropped)}
            case Disconnect(nodes=nodes):
                without = [not await self._hosts.is_connected(node) for node in nodes]
                await self._undo_each(nodes, self._hosts.reconnect)
                return {"bites": sum(without), "bit": sum(without), "of": len(nodes), "nodes": _names(nodes)}
            case Cut() | Link():
                proof: LinkProof = self._counted.pop(planned.id)
                evidence = await proof.evidence()
                await asyncio.to_thread(LinkFaults(self._hosts.relay()).lift, planned)
                return evidence
            case Pause(nodes=nodes):
                still = sum(await asyncio.gather(*map(self._stands_still, nodes)))
                await self._undo_each(nodes, partial(self._let_go, planned.id))
                return {"bites": still, "bit": still, "of": len(nodes), "nodes": _names(nodes)}
            case Kill(nodes=nodes, disk=fate):
                await self._undo_each(nodes, partial(self._let_go, planned.id))
                bit = sum(self._seen_dead.pop(node, False) or self._is_silent(node) for node in nodes)
                return {"bites": bit, "bit": bit, "of": len(nodes), "disk": fate, "nodes": _names(nodes)}
            case Skew() as skew:
                return await self._lift_skew(planned.id, skew)
            case Byzantine(nodes=nodes):
                lies = dict.fromkeys(nodes, 0)
                await self._undo_each(nodes, partial(self._lie_no_more, planned.id, lies))
                return {"bites": sum(lies.values()), **{f"node{node}": count for node, count in lies.items()}}
            case _:
                raise AssertionError(f"compiled a fault that this backend lacks: {planned.fault!r}")

    async def _inject_links(self, planned: PlannedFault, fault: Cut | Link) -> Evidence:
        relay = self._hosts.relay()
        if self._transport == "quic":
            proof: LinkProof = CountedProof(relay, planned)
        else:
            proof = ObservedProof(planned, self._hosts.agents(), self._ask_status)
        await proof.begin()
        confirmed = await asyncio.to_thread(LinkFaults(relay).apply, planned)
        self._counted[planned.id] = proof
        return {"toxics": confirmed, "links": len(fault.links)}

    async def _drop(self, fault: str, peers: dict[int, list[int]], node: int) -> None:
        await self._hosts.drop(node, peers[node], fault)

    async def _allow(self, fault: str, peers: dict[int, list[int]], dropped: list[int], node: int) -> None:
        dropped.append(await self._hosts.allow(node, peers[node], fault))

    async def _lie_no_more(self, fault: str, lies: dict[int, int], node: int) -> None:
        lies[node] = await self._lie(node, fault, None)

    async def _ask_status(self, node: int) -> Any:
        return await self._ask(node, "/status", ASK_SECONDS)

    async def _each(self, nodes: tuple[int, ...], what: Callable[[int], Any]) -> None:
        """Do it to all nodes at once; a node is never in the hands of two faults at the same moment."""

        async def one(node: int) -> None:
            async with self._locks.setdefault(node, asyncio.Lock()):
                await what(node)

        results = await asyncio.gather(*(one(node) for node in nodes), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _undo_each(self, nodes: tuple[int, ...], what: Callable[[int], Any]) -> None:
        """As `_each`, but a node that has ended by itself need not, and cannot, do what it is asked."""

        async def one(node: int) -> None:
            try:
                await what(node)
            except (HostError, NoAnswer):
                if not await self._has_ended(node):
                    raise

        await self._each(nodes, one)

    async def _has_ended(self, node: int) -> bool:
        """Whether the node ended by itself, which its host may learn a moment after a request to it has failed."""
        until = time.monotonic() + ENDED_SECONDS
        while (ended := await asyncio.to_thread(self._hosts.ended, node)) is None and time.monotonic() < until:
            await asyncio.sleep(PAUSED_ASK_SECONDS)
        return ended is not None

    async def _hold(self, fault: str, node: int) -> None:
        held = self._held.setdefault(node, set())
        if not held and node not in self._dead:
            await self._hosts.pause(node)
        held.add(fault)

    async def _stands_still(self, node: int) -> bool:
        """Whether the node is paused, or dead, and does not answer either: its host may be mistaken."""
        if self.dead(node):
            return True
        if not self._hosts.paused(node):
            return False
        return await self._answers_not(node)

    async def _kill(self, fault: str, fate: str, node: int) -> None:
        if node not in self._dead:
            life = await asyncio.to_thread(self._hosts.life, node)
            self._dead.add(node)
            await self._before_kill(node)
            await self._hosts.kill(node, wipe=fate == "wipe")
            self._deaths[node] = _Death(life, await self._answers_not(node), fate == "wipe")
        self._held.setdefault(node, set()).add(fault)

    async def _let_go(self, fault: str, node: int) -> None:
        held = self._held.get(node, set())
        if fault not in held:
            return
        held.discard(fault)
        if held:
            return
        if node not in self._dead:
            await self._hosts.resume(node)
        elif self._hosts.ended(node) is None:  # one that has ended by itself stays down: nobody asked for a restart
            try:
                await self._rebirth(node)
            finally:
                self._dead.discard(node)
            if self._offset(node):
                await self._set_clock(node, self._offset(node))

    async def _rebirth(self, node: int) -> None:
        """Start it again, and see that it had died, and lost its disk if it was to."""
        death = self._deaths.pop(node, None)
        empty = await asyncio.to_thread(self._hosts.is_empty, node)
        self._seen_dead[node] = death is not None and death.silent and (empty or not death.wiped)
        await self._hosts.restart(node)  # it may end while it starts: its death was seen all the same
        life = await asyncio.to_thread(self._hosts.life, node)
        self._seen_dead[node] = self._seen_dead[node] and death is not None and life != death.life

    def _is_silent(self, node: int) -> bool:
        """Whether it is dead still, for another fault, and was seen to be."""
        return node in self._deaths and self._deaths[node].silent

    async def _answers_not(self, node: int) -> bool:
        try:
            await self._ask(node, "/status", PAUSED_ASK_SECONDS)
        except NoAnswer:
            return True
        return False

    def _offset(self, node: int) -> int:
        return sum(self._offsets.get(node, {}).values())

    async def _inject_skew(self, fault: str, skew: Skew) -> Evidence:
        offset = int(skew.offset_ms * 1e6)
        await self._each(skew.nodes, partial(self._turn, fault, offset))
        if skew.mode == "strobe":
            self._counted[fault] = int(all(await asyncio.gather(*map(self._is_off, skew.nodes))))
            self._strobes[fault] = asyncio.ensure_future(self._strobe(fault, skew, offset))
        return {"clocks": len(skew.nodes)}

    async def _strobe(self, fault: str, skew: Skew, offset: int) -> int:
        """Flip the clocks each period until cancelled; the flips that all clocks showed are left in `_counted`."""
        on = True
        while True:
            await asyncio.sleep(skew.period_ms / 1000)
            on = not on
            try:
                await self._each(skew.nodes, partial(self._turn, fault, offset if on else 0))
            except NoAnswer:
                continue  # dead or paused just now; its clock is set again when it answers
            if on:
                self._counted[fault] += all(await asyncio.gather(*map(self._is_off, skew.nodes)))

    async def _turn(self, fault: str, offset: int, node: int) -> None:
        """Set what `fault` adds to the node's wall clock."""
        self._offsets.setdefault(node, {})[fault] = offset
        if not self._held.get(node):
            await self._set_clock(node, self._offset(node))

    async def _lift_skew(self, fault: str, skew: Skew) -> Evidence:
        strobe = self._strobes.pop(fault, None)
        if strobe is not None:
            strobe.cancel()
            await asyncio.wait([strobe])
        seen = await asyncio.gather(*(self._is_off(node) for node in skew.nodes))
        flips = self._counted.pop(fault, 0)
        if skew.mode != "step":
            await self._undo_each(skew.nodes, partial(self._turn, fault, 0))
        bit = sum(seen) if skew.mode != "strobe" else len(skew.nodes) if flips else 0
        bites = flips if skew.mode == "strobe" else bit
        return {"bites": bites, "bit": bit, "of": len(skew.nodes), "flips": flips, "nodes": _names(skew.nodes)}

    async def _is_off(self, node: int) -> bool:
        """Whether the node's own wall clock shows that it is off by what was asked of it.

        It was read at some time between question and answer, and who waits for a processor takes long for that.
        """
        wanted, asked = self._offset(node), time.time_ns()
        try:
            told = int((await self._ask(node, "/status", ASK_SECONDS))["wall"])
        except (NoAnswer, KeyError, TypeError, ValueError):
            return False
        answered = time.time_ns()
        fits = asked - CLOCK_ERROR_NS < told - wanted < answered + CLOCK_ERROR_NS
        return fits and not asked <= told <= answered


class _Death(NamedTuple):
    """The life that was ended, whether the node was silent then, and whether its disk was to go, too."""

    life: str
    silent: bool
    wiped: bool


def _peers(links: Links) -> dict[int, list[int]]:
    """Of each node, those from which nothing may come."""
    found: dict[int, list[int]] = {}
    for source, target in links:
        found.setdefault(target, []).append(source)
    return found


def _names(nodes: tuple[int, ...]) -> str:
    return ",".join(map(str, nodes))

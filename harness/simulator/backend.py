"""The simulator as a backend: hosts, links and faults on one virtual clock."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Any

from faults.vocabulary import Link, Links, PlannedFault, Trigger
from harness.backend import Allowance, Answer, Ask, FaultDone, NodeObserver
from harness.bounds import EPOCH
from harness.plan import Plan, PlannedCluster, byzantine_seats
from harness.simulator.faults import SimulatedFaults
from harness.simulator.host import Host
from harness.simulator.loop import Loop
from harness.simulator.network import SimulatedNetwork
from knhk_mesh.commits import Commit, Verify, WireCommit, network_id, open_commit
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.errors import BadCommit
from knhk_mesh.identity import Signer, verify
from knhk_mesh.quorum import Certificate, Roster, sign_roster
from knhk_mesh.requests import (
    CertificateOf,
    ClientOperation,
    Digest,
    Digests,
    Indefinite,
    Kept,
    Read,
    Refusal,
    Request,
    Result,
    Status,
    StatusReport,
    Value,
    Write,
    Written,
)
from knhk_mesh.telemetry import TickSource, no_ticks

CLIENT_LATENCY_NS = 200_000
"""One way between a client and its node, on a path that no fault touches."""
NETWORK = "simulated"
AUTHORITY = -1
"""Who signs the roster: the number that no node has."""
OPENED_MAX = 500_000
"""Commits that are remembered as opened; then all are forgotten, and opened again as they come."""

_NOTE = struct.Struct(">QHHI")


class SimulatorBackend:
    """One simulated cluster for one run of `plan`."""

    name = "sim"
    network_name = NETWORK
    allowance = Allowance()

    def __init__(self, plan: Plan, *, ticks: TickSource = no_ticks, loop: Loop | None = None) -> None:
        self.loop = loop or Loop()
        self.network = SimulatedNetwork(plan.cluster, seed=plan.seed)
        self.hosts: list[Host] = []
        self.faults = SimulatedFaults(self.hosts, self.network, self.loop)
        self.frames_delivered = 0
        self._plan = plan
        self._ticks = ticks
        self._signers = [node_signer(plan.seed, number) for number in range(plan.cluster.nodes)]
        self._number_of = {signer.agent_id: number for number, signer in enumerate(self._signers)}
        self._ids = [signer.agent_id for signer in self._signers]
        self._triggers: dict[tuple[int, str], list[tuple[int, Callable[[], None]]]] = {}
        self._reached: dict[tuple[int, str], int] = {}

    def agents(self) -> list[str]:
        """The agent id (hex) of each node, by number."""
        return [agent.hex() for agent in self._ids]

    def start(self, observer: NodeObserver) -> None:
        """Boot every node."""
        opener = memoised_opener()
        verify = memoised_verify()
        roster = make_roster(self._plan, self._ids)
        liars = byzantine_seats(self._plan)
        for number, signer in enumerate(self._signers):
            host = Host(
                number,
                node_config(self._plan.cluster, self._ids, number, roster),
                signer,
                liar=number in liars,
                verify=verify,
                loop=self.loop,
                seed=self._plan.seed,
                transmit=self._transmit,
                observer=observer,
                opener=opener,
                sync_ns_max=self._plan.cluster.disk_sync_ns_max,
                ticks=self._ticks,
            )
            self.hosts.append(host)
        for (number, _), _calls in self._triggers.items():
            self.hosts[number].watch = partial(self._reach, number)
        for host in self.hosts:
            host.boot()

    def now(self) -> int:
        """Virtual nanoseconds since the start of the load."""
        return self.loop.now

    def call_at(self, at: int, call: Callable[[], None]) -> None:
        """Call `call` at `at`."""
        self.loop.at(at, call)

    def when(self, trigger: Trigger, call: Callable[[], None]) -> None:
        """Call `call` the moment that `trigger.count` such steps of the node are reached.  Before `start` only."""
        assert not self.hosts
        self._triggers.setdefault((trigger.node, trigger.after), []).append((trigger.count, call))

    def run(self) -> None:
        """Run virtual time until `stop`."""
        self.loop.run()

    def stop(self) -> None:
        """End the run."""
        self.loop.stopped = True

    def trace_hash(self) -> str:
        """The hash over every frame, journal write and fault of the run."""
        return self.loop.trace_hash()

    def invoke(self, node: int, ask: Ask, done: Callable[[Answer], None]) -> None:
        """Send a request over the client's own path."""
        self.loop.at(self.loop.now + CLIENT_LATENCY_NS, self._arrive, node, ask, done)

    def _arrive(self, node: int, ask: Ask, done: Callable[[Answer], None]) -> None:
        def answer(result: Result | None) -> None:
            reply = Answer("info", error="connection reset") if result is None else to_answer(result)
            self.loop.at(self.loop.now + CLIENT_LATENCY_NS, done, reply)

        if not self.hosts[node].request(to_request(ask), answer):
            self.loop.at(self.loop.now + CLIENT_LATENCY_NS, done, Answer("fail", error="connection refused"))

    def _transmit(self, source: int, peer: bytes, frame: bytes) -> None:
        target = self._number_of[peer]
        loop = self.loop
        for delivery in self.network.link(source, target).decide(loop.now, len(frame)):
            loop.at(delivery.at, self._deliver, source, target, frame)
        if self._triggers:
            self._reach(source, "send")

    def _deliver(self, source: int, target: int, frame: bytes) -> None:
        self.frames_delivered += 1
        loop = self.loop
        loop.note(_NOTE.pack(loop.now, source, target, len(frame)) + frame)
        self.hosts[target].deliver(self._ids[source], frame)

    def _reach(self, number: int, step: str) -> None:
        key = (number, step)
        if key not in self._triggers:
            return
        reached = self._reached[key] = self._reached.get(key, 0) + 1
        for count, call in self._triggers[key]:
            if count == reached:
                call()

    def hear(self, done: Callable[[], None]) -> None:
        """Nodes tell at once here."""
        done()

    def inject(self, planned: PlannedFault, done: FaultDone) -> None:
        """Put a fault in force, at once."""
        self.faults.inject(planned)
        done({}, None)

    def lift(self, planned: PlannedFault, done: FaultDone) -> None:
        """Undo a fault, at once, and tell how it was seen to bite.  A link lets go of what the fault held back."""
        evidence = self.faults.lift(planned)
        if isinstance(planned.fault, Link):
            self._settle(planned.fault.links)
        done(evidence, None)

    def _settle(self, links: Links) -> None:
        by = {link: (link, self.network.link(*link).settle(self.loop.now)) for link in links}
        self.loop.hasten(self._deliver, lambda source, target, frame: by.get((source, target)))

    def drift(self) -> None:
        """In virtual time nothing is late."""


def node_signer(seed: int, number: int) -> Signer:
    """The key of node `number` under `seed`: for simulated clusters only."""
    return Signer(blake2b(b"%d/%d" % (seed, number), digest_size=32, person=b"knhk.simkey").digest())


def make_roster(plan: Plan, agents: list[bytes]) -> Roster | None:
    """The roster of a simulated cluster, if its campaign wants one."""
    if not plan.cluster.roster:
        return None
    authority = node_signer(plan.seed, AUTHORITY)
    faulty = plan.cluster.faulty
    return sign_roster(authority, network=network_id(NETWORK), epoch=EPOCH, faulty=faulty, members=agents)


def node_config(cluster: PlannedCluster, agents: list[bytes], number: int, roster: Roster | None = None) -> NodeConfig:
    """What node `number` is told."""
    return NodeConfig(
        network=NETWORK,
        roster=roster,
        gate_local_writes=cluster.gate_local_writes,
        probe_interval_ns=cluster.probe_interval_ns,
        probe_misses=cluster.probe_misses,
        observe=cluster.observe,
        region=cluster.regions[number],
        peers=tuple(
            PeerConfig(agent_id=agent, addr=f"node{other}", region=cluster.regions[other])
            for other, agent in enumerate(agents)
            if other != number
        ),
        faulty=cluster.faulty,
        fanout=cluster.fanout,
        strategy=cluster.strategy,
        gossip_interval_ns=cluster.gossip_interval_ns,
        frame_bytes_max=cluster.frame_bytes_max,
    )


def memoised_verify() -> Verify:
    """`verify`, remembered: in one process every node would check the same votes."""
    known: dict[tuple[bytes, bytes, bytes], bool] = {}

    def remembered(agent: bytes, message: bytes, signature: bytes) -> bool:
        key = (agent, message, signature)
        found = known.get(key)
        if found is None:
            if len(known) >= OPENED_MAX:
                known.clear()
            found = known[key] = verify(agent, message, signature)
        return found

    return remembered


def memoised_opener() -> Callable[[bytes, WireCommit], Commit]:
    """`open_commit`, remembered: it is a pure function, and in one process every node would repeat it."""
    opened: dict[tuple[bytes, bytes, bytes, bytes], Commit | BadCommit] = {}

    def opener(network: bytes, wire: WireCommit) -> Commit:
        key = (wire.header, wire.signature, wire.deps, wire.body)
        found = opened.get(key)
        if found is None:
            if len(opened) >= OPENED_MAX:
                opened.clear()
            try:
                found = open_commit(network, wire)
            except BadCommit as error:
                found = error
            opened[key] = found
        if isinstance(found, BadCommit):
            raise BadCommit(found.reason)
        return found

    return opener


def to_request(ask: Ask) -> Request:
    """A request in the mesh's own words."""
    if ask.action == "digest":
        return Digest()
    if ask.action == "status":
        return Status()
    if ask.action == "certificate":
        return CertificateOf(bytes.fromhex(ask.value))
    if ask.action == "read":
        return Read(ask.object, ask.type, "quorum" if ask.level == "quorum" else "local")
    operation = ClientOperation(ask.object, ask.type, ask.action, ask.value)
    return Write((operation,), "stable" if ask.level == "stable" else "local")


def to_answer(result: Result) -> Answer:
    """A result in the history's words."""
    match result:
        case Written():
            return Answer(
                "ok",
                value=result.resolved[0] or None,
                commit=result.commit.hex(),
                certificate=_certificate(result.certificate),
            )
        case Value():
            return Answer("ok", value=result.value, visible=[head.hex() for head in result.visible])
        case Digests():
            return Answer("ok", value={"root": result.root.hex(), "digest": result.digest.hex()})
        case StatusReport():
            return Answer("ok", value={"accepted": result.accepted, "pending": result.pending, "active": result.active})
        case Indefinite():
            return Answer("info", error=result.reason)
        case Refusal():
            return Answer("fail", error=result.reason)
        case Kept():
            return Answer("ok", certificate=_certificate(result.certificate))


def _certificate(certificate: Certificate | None) -> dict[str, Any] | None:
    """A certificate as the node contract has it: everything in hex."""
    if certificate is None:
        return None
    votes = [[voter.hex(), signature.hex()] for voter, signature in certificate.votes]
    return {"statement": certificate.statement.hex(), "votes": votes}

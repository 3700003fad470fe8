"""Nodes and their relay as containers of one engine, in two networks of their own."""

from __future__ import annotations

import asyncio
import secrets
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import IO, Any

import aiohttp
from docker.errors import DockerException
from nacl.signing import SigningKey

from faults.toxiproxy import ToxiproxyError, ToxiproxyServer
from faults.vocabulary import At, Cut, Disconnect, Kill, PlannedFault, capabilities_needed
from harness.docker.addresses import CONTROL_PORT, MESH_PORT, RELAY_API_PORT, Subnet, proxy_port
from harness.docker.engine import LIAR_IMAGE, NODE_IMAGE, RELAY_IMAGE, connect, engine_errors, problem_here, reason
from harness.docker.filter import PacketFilter, try_filter
from harness.docker.leftovers import remove_leftovers
from harness.docker.vigil import Life, Vigil, life_of
from harness.docker.workshop import Workshop, archive_of, last_words, own_directory
from harness.errors import BadInput, HostError
from harness.plan import Plan, byzantine_seats, fault_nodes
from harness.real.configuration import CONFIG, DATA, make_node_files, write_configuration
from harness.real.hosts import Hosts, node_directory, proxy_name
from harness.real.readiness import READY_EVERY_S, READY_SECONDS, answers
from harness.subject import Subject

STOP_SECONDS = 10
"""What the node contract allows from SIGTERM to the end."""
NODE_MEMORY = "256m"
RELAY_MEMORY = "512m"
LOG_BYTES_MAX = 20_000_000
DATA_BYTES_MAX = 1_000_000_000
"""Of what one node leaves; more than this is not kept."""
CAPABILITIES = ("disconnect", "filter")
SETTLE_NS = 1_500_000_000
"""Faults on containers take so long to begin and to end, at the most."""
NODE_HOME = "/node"
NODE_VOLUME = "/data"
NODE_DATA = f"{NODE_VOLUME}/{DATA}"


class DockerHosts(Hosts):
    """The containers of one run of `plan`; see `harness.real.hosts.Hosts` for what each method does."""

    name = "docker"

    def __init__(self, plan: Plan, subject: Subject) -> None:
        self._cluster = plan.cluster
        self._seed = plan.seed
        self._subject = subject
        self._image = subject.image or NODE_IMAGE
        self._nodes = [make_node_files() for _ in range(plan.cluster.nodes)]
        self._liars = byzantine_seats(plan)
        self._authority = SigningKey.generate()
        self.network_name = f"run-{secrets.token_hex(8)}"
        self._workshop: Workshop | None = None
        self._containers: dict[int, Any] = {}
        self._killed: set[int] = set()
        self._wiped: set[int] = set()
        self._relay: ToxiproxyServer | None = None
        self._up = False
        self._lives: dict[int, Life] = {}
        self._vigil: Vigil | None = None
        self._unasked: str | None = None
        self._filter: PacketFilter | None = None

    def agents(self) -> list[str]:
        """Hex, by number."""
        return [files.agent for files in self._nodes]

    def control(self, node: int) -> tuple[str, str]:
        """Address and token."""
        return f"{self._made.subnets['control'].node(node)}:{CONTROL_PORT}", self._nodes[node].token

    def relay(self) -> ToxiproxyServer:
        """The relay of this run."""
        assert self._relay is not None
        return self._relay

    @property
    def _made(self) -> Workshop:
        assert self._workshop is not None
        return self._workshop

    @property
    def _watch(self) -> Vigil:
        assert self._vigil is not None
        return self._vigil

    @property
    def _mesh(self) -> Subnet:
        return self._made.subnets["mesh"]

    async def start(self, failpoints: dict[int, list[str]]) -> None:
        """Start everything, as much as can be at once."""
        assert not failpoints, "a container has no failpoints, and no plan that needs them gets here"
        await asyncio.to_thread(remove_leftovers)
        self._workshop = Workshop(await asyncio.to_thread(connect))
        try:
            await self._bring_up()
        except BaseException:  # a cancellation, too: its threads go on
            self._workshop.close()
            raise
        self._up = True

    async def _bring_up(self) -> None:
        assert self._workshop is not None
        await asyncio.to_thread(self._workshop.make_networks)
        self._filter = PacketFilter(self._workshop.client, self._mesh, self._workshop.labels)
        self._vigil = Vigil(self._workshop.client, self._workshop.run)
        await asyncio.to_thread(self._vigil.begin)
        if self._cluster.wiring == "relayed":
            self._relay = await self._start_relay()
            await asyncio.to_thread(self._make_proxies)
        await self._all(lambda node: asyncio.to_thread(self._create, node))
        await self._all(lambda node: asyncio.to_thread(self._start, node))
        await self._all(self._ready)

    async def _start_relay(self) -> ToxiproxyServer:
        host = self._made.subnets["control"].relay
        if self._cluster.transport == "quic":
            command = ["python3", "-m", "faults.relay_udp", "--listen", f"{host}:{RELAY_API_PORT}"]
            command += ["--seed", str(self._seed)]
        else:
            command = ["toxiproxy-server", "-host", host, "-port", str(RELAY_API_PORT)]
        container = await asyncio.to_thread(self._start_relay_container, command)
        relay = ToxiproxyServer(host, RELAY_API_PORT)
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                await asyncio.to_thread(relay.version)
                return relay
            except ToxiproxyError:
                await asyncio.to_thread(container.reload)
                if container.status != "running" or time.monotonic() > until:
                    said = await asyncio.to_thread(last_words, container)
                    raise HostError(f"the relay does not start: {said}") from None
                await asyncio.sleep(READY_EVERY_S)

    def _start_relay_container(self, command: list[str]) -> Any:
        with engine_errors("the relay"):
            container = self._made.make_container(
                "relay", RELAY_IMAGE, command, lambda subnet: subnet.relay, RELAY_MEMORY
            )
            self._watch.over(container)
            container.start()
            return container

    def _make_proxies(self) -> None:
        nodes, mesh = range(self._cluster.nodes), self._mesh
        proxies = [
            {
                "name": proxy_name(source, target),
                "listen": f"{mesh.relay}:{proxy_port(source, target)}",
                "upstream": f"{mesh.node(target)}:{MESH_PORT}",
            }
            for source in nodes
            for target in nodes
            if source != target
        ]
        try:
            self.relay().populate(proxies)
        except ToxiproxyError as error:
            raise HostError(f"the relay takes no proxies: {error}") from None

    def _create(self, node: int) -> None:
        """A container with its volumes and its configuration, not yet started."""
        command = self._subject.command_for(Path(NODE_HOME) / CONFIG) if self._subject.image else None
        made = self._made
        mounts = {made.name(f"data{node}"): NODE_VOLUME, made.name(f"home{node}"): NODE_HOME}
        with engine_errors(f"node {node}"):
            for volume in mounts:
                made.make_volume(volume)
            image = LIAR_IMAGE if node in self._liars else self._image
            if node in self._liars:
                command = None  # the image's own
            container = made.make_container(
                f"node{node}", image, command, lambda subnet: subnet.node(node), NODE_MEMORY, mounts
            )
            self._containers[node] = container
            container.put_archive(NODE_VOLUME, own_directory(DATA))
            container.put_archive(NODE_HOME, self._configuration(node))

    def _configuration(self, node: int) -> bytes:
        """The node's files as a tar archive."""
        mesh = self._mesh
        peers = [peer for peer in range(self._cluster.nodes) if peer != node]
        relayed = self._cluster.wiring == "relayed"
        addresses = {
            peer: f"{mesh.relay}:{proxy_port(node, peer)}" if relayed else f"{mesh.node(peer)}:{MESH_PORT}"
            for peer in peers
        }
        with tempfile.TemporaryDirectory() as directory:
            write_configuration(
                Path(directory),
                self._cluster,
                node,
                self._nodes,
                network=self.network_name,
                authority=self._authority,
                listen=f"{mesh.node(node)}:{MESH_PORT}",
                control=f"0.0.0.0:{CONTROL_PORT}",
                peer_addresses=addresses,
                data=NODE_DATA,
            )
            return archive_of(Path(directory))

    def _start(self, node: int) -> None:
        self._killed.discard(node)
        self._watch.started(node)
        container = self._containers[node]
        with engine_errors(f"node {node}"):
            container.start()
            container.reload()
        self._lives[node] = life_of(container)

    async def _all(self, what: Callable[[int], Any]) -> None:
        results = await asyncio.gather(*map(what, range(self._cluster.nodes)), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def _ready(self, node: int) -> None:
        until = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            while not await answers(session, *self.control(node)):
                died = self._watch.ended(node)
                if died is not None or time.monotonic() > until:
                    said = await asyncio.to_thread(last_words, self._containers[node])
                    raise HostError(f"node {node} {died or 'does not answer'} while starting: {said}")
                await asyncio.sleep(READY_EVERY_S)

    def broken(self) -> str | None:
        """The relay, a packet filter's container, the engine's events; or the engine itself, at the end."""
        return (self._vigil.broken() if self._vigil is not None else None) or self._unasked

    def ended(self, node: int) -> str | None:
        """Why it ended by itself."""
        how = None if node in self._killed or self._vigil is None else self._vigil.ended(node)
        return None if how is None else f"{how}: {last_words(self._containers[node])}"

    async def kill(self, node: int, *, wipe: bool) -> None:
        """SIGKILL; with `wipe` container and volume go, and are made anew by `restart`."""
        self._killed.add(node)
        await asyncio.to_thread(self._kill, node, wipe)

    def _kill(self, node: int, wipe: bool) -> None:
        container = self._containers[node]
        with engine_errors(f"node {node}"):
            container.reload()
            if container.status == "paused":
                container.unpause()  # the freezer would hold a killed process, too
            container.kill()
            container.wait(timeout=STOP_SECONDS)
            if wipe:
                container.remove(force=True, v=True)  # with the volumes that its image asks for
                self._made.client.volumes.get(self._made.name(f"data{node}")).remove(force=True)
                self._wiped.add(node)

    async def restart(self, node: int) -> None:
        """The same container again, or a new one on an empty volume."""
        if node in self._wiped:
            await asyncio.to_thread(self._create, node)
            self._wiped.discard(node)
        await asyncio.to_thread(self._start, node)
        await self._ready(node)

    def life(self, node: int) -> str:
        """The container, and when the engine started it."""
        container = self._containers[node]
        with engine_errors(f"node {node}"):
            container.reload()
        return f"{container.id}:{container.attrs['State']['StartedAt']}"

    def is_empty(self, node: int) -> bool:
        """Whether its volume is gone: the next one begins empty."""
        try:
            with engine_errors(f"node {node}"):
                self._made.client.volumes.get(self._made.name(f"data{node}"))
        except HostError:
            return node in self._wiped
        return False

    async def pause(self, node: int) -> None:
        """The freezer."""
        await asyncio.to_thread(self._freeze, node, True)

    async def resume(self, node: int) -> None:
        """Out of the freezer."""
        await asyncio.to_thread(self._freeze, node, False)

    def _freeze(self, node: int, frozen: bool) -> None:
        container = self._containers[node]
        with engine_errors(f"node {node}"):
            container.pause() if frozen else container.unpause()
        if self.paused(node) != frozen:
            raise HostError(f"node {node} does not {'stand still' if frozen else 'go on'}")

    def paused(self, node: int) -> bool:
        """As the engine has it."""
        with engine_errors(f"node {node}"):
            self._containers[node].reload()
        return bool(self._containers[node].status == "paused")

    def failpoint(self, node: int) -> str | None:
        """A container has none."""
        return None

    async def disconnect(self, node: int) -> None:
        """Take the node out of the mesh's network."""
        await asyncio.to_thread(self._set_connected, node, False)

    async def reconnect(self, node: int) -> None:
        """Put it back, where it was."""
        await asyncio.to_thread(self._set_connected, node, True)

    def _set_connected(self, node: int, connected: bool) -> None:
        container, name = self._containers[node], self._made.name("mesh")
        with engine_errors(f"node {node}"):
            network = self._made.client.networks.get(name)
            if connected:
                network.connect(container, ipv4_address=self._mesh.node(node))
            else:
                network.disconnect(container, force=True)
        if self._is_connected(node) != connected:
            raise HostError(f"node {node} is {'not in' if connected else 'still in'} the mesh's network")

    async def is_connected(self, node: int) -> bool:
        """Whether the node is in the mesh's network."""
        return await asyncio.to_thread(self._is_connected, node)

    def _is_connected(self, node: int) -> bool:
        with engine_errors(f"node {node}"):
            self._containers[node].reload()
        return self._made.name("mesh") in self._containers[node].attrs["NetworkSettings"]["Networks"]

    async def drop(self, node: int, peers: list[int], fault: str) -> None:
        """Rules in the node's network namespace."""
        assert self._filter is not None
        await asyncio.to_thread(self._filter.drop, self._containers[node], peers, fault)

    async def allow(self, node: int, peers: list[int], fault: str) -> int:
        """The rules' counts, and then none."""
        assert self._filter is not None
        dropped = await asyncio.to_thread(self._filter.dropped, self._containers[node], fault)
        await asyncio.to_thread(self._filter.allow, self._containers[node], peers, fault)
        return dropped

    def memory_mb(self, node: int) -> float:
        """What the node's processes keep, without the page cache, in 10^6 bytes."""
        with engine_errors(f"node {node}"):
            stats = self._containers[node].stats(stream=False)["memory_stats"]
        cache = stats.get("stats", {}).get("total_inactive_file", stats.get("stats", {}).get("inactive_file", 0))
        return float(stats["usage"] - cache) / 1e6

    async def stop(self, artifacts: Path | None) -> dict[int, str]:
        """End everything, keep what the nodes leave, remove everything that carries this run's label."""
        bad: dict[int, str] = {}
        if self._workshop is None:
            return bad
        self._workshop.close()
        try:
            if self._up:  # otherwise nothing has been asked of the nodes yet, and nobody is to wait for their end
                await asyncio.to_thread(self._watch.end)
                await self._gather(lambda node: self._end(node, bad))
            if artifacts is not None:
                await self._gather(lambda node: self._keep(node, artifacts))
        finally:
            workshop, self._workshop = self._workshop, None
            if self._vigil is not None:
                self._vigil.close()
            for line in await asyncio.to_thread(workshop.remove_all):
                print(f"left behind: {line}", file=sys.stderr)
        return bad

    async def _gather(self, what: Callable[[int], None]) -> None:
        """On all nodes at once; what goes wrong with one must not keep the rest from being ended, but is told."""
        work = (asyncio.to_thread(what, node) for node in self._containers)
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, Exception):
                self._unasked = self._unasked or f"{type(result).__name__}: {result}"

    def _end(self, node: int, bad: dict[int, str]) -> None:
        if node in self._killed or self._watch.ended(node) is not None:
            return  # dead by a fault, or told of already
        try:
            with engine_errors(f"node {node}"):
                how = self._ask_to_end(node)
        except HostError as error:
            self._unasked = str(error)
            return
        if how is not None:
            bad[node] = how

    def _ask_to_end(self, node: int) -> str | None:
        """What was wrong with its end, or with its life: events can be missed, what the engine keeps of it cannot."""
        container, life = self._containers[node], self._lives[node]
        container.reload()
        if container.status not in ("paused", "running"):
            return f"had ended before (exit {container.attrs['State']['ExitCode']}): {last_words(container)}"
        if life_of(container) != life:
            return f"ended and was started anew, not by the harness: {life_of(container)} instead of {life}"
        if container.status == "paused":
            container.unpause()
        container.stop(timeout=STOP_SECONDS)
        code = container.wait(timeout=STOP_SECONDS)["StatusCode"]
        return f"exit {code} after SIGTERM: {last_words(container)}" if code != 0 else None

    def _keep(self, node: int, artifacts: Path) -> None:
        """Log and data, but no keys and tokens."""
        kept, container = node_directory(artifacts, node), self._containers[node]
        with suppress(DockerException):
            (kept / "node.log").write_bytes(container.logs(tail=100_000)[-LOG_BYTES_MAX:])
        try:
            with tempfile.TemporaryFile() as archive:
                self._fetch_data(node, archive)
                with tarfile.open(fileobj=archive) as tar:
                    tar.extractall(kept, filter="data")
        except (DockerException, tarfile.TarError, OSError) as error:
            print(f"node {node}: its data is not kept: {reason(error)}", file=sys.stderr)

    def _fetch_data(self, node: int, archive: IO[bytes]) -> None:
        chunks, _ = self._containers[node].get_archive(NODE_DATA)
        for chunk in chunks:
            if archive.tell() + len(chunk) > DATA_BYTES_MAX:
                raise OSError(f"it is more than {DATA_BYTES_MAX} bytes")
            archive.write(chunk)
        archive.seek(0)


def missing_here(plan: Plan, subject: Subject) -> list[str]:
    """What this machine lacks for the plan, with how to get it.  Raises BadInput for a subject's image that is not."""
    liars = (LIAR_IMAGE,) if byzantine_seats(plan) else ()
    ours = () if subject.image else (NODE_IMAGE,)
    problem = problem_here((*ours, RELAY_IMAGE, *liars))
    if problem is not None:
        return [f"containers ({problem})"]
    problem = problem_here((subject.image,)) if subject.image else None
    if problem is not None:  # asked for by name, and not a thing that a machine may lack
        raise BadInput(subject.name, "image", problem)
    if any("filter" in capabilities_needed(one) for one in plan.faults):
        problem = filter_problem_here()
    return [f"packet filter ({problem})"] if problem is not None else []


def overlaps(plan: Plan) -> list[str]:
    """Faults on one node that containers cannot have at one time: its network's state goes with a life of the node."""
    alone: list[tuple[str, PlannedFault, set[int]]] = []
    for one in plan.faults:
        if isinstance(one.fault, Disconnect | Kill) or (isinstance(one.fault, Cut) and one.fault.by == "filter"):
            alone.append((type(one.fault).__name__.lower(), one, set(fault_nodes(one))))
    found = []
    for (name, one, nodes), (other_name, other, others) in combinations(alone, 2):
        both_cut = isinstance(one.fault, Cut) and isinstance(other.fault, Cut)
        if nodes & others and not both_cut and (name, other_name) != ("kill", "kill") and _overlap(one, other):
            found.append(f"{name} and {other_name} of node {min(nodes & others)} at one time")
    return found


def _overlap(one: PlannedFault, other: PlannedFault) -> bool:
    """Whether both may be in force at one time; of triggered faults nobody knows."""
    if not isinstance(one.start, At) or not isinstance(other.start, At):
        return True
    first, second = sorted((one, other), key=lambda fault: fault.start.at_ns)  # type: ignore[union-attr]
    assert isinstance(first.start, At) and isinstance(second.start, At)
    end = None if first.duration_ns is None else first.start.at_ns + first.duration_ns + SETTLE_NS
    return end is None or second.start.at_ns < end


@cache
def filter_problem_here() -> str | None:
    """`try_filter`, once a process."""
    client = connect()
    try:
        return try_filter(client)
    finally:
        client.close()

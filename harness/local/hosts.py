"""Nodes and their relay as processes of this machine, on loopback."""

from __future__ import annotations

import asyncio
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import aiohttp
from nacl.signing import SigningKey

from faults.toxiproxy import ToxiproxyError, ToxiproxyServer, find_server
from harness.errors import HostError
from harness.local.leftovers import make_run_directory, remove_leftovers
from harness.local.ports import free_ports
from harness.local.processes import Process, started_at, stop_or_continue
from harness.plan import Plan, byzantine_seats
from harness.real.configuration import CONFIG, DATA, make_node_files, write_configuration
from harness.real.hosts import LIAR, Hosts, keep_file, node_directory, proxy_name
from harness.real.readiness import READY_EVERY_S, READY_SECONDS, answers
from harness.subject import Subject

STOP_SECONDS = 10.0
STATE_SECONDS = 5.0
STARTS_MAX = 3
EXIT_ADDRESS_IN_USE = 69
LOCALHOST = "127.0.0.1"
FAILPOINTS = "KNHK_FAILPOINTS"
FAILPOINT_FILE = "failpoint"
LOG = "node.log"
REPOSITORY = Path(__file__).resolve().parent.parent.parent


class LocalHosts(Hosts):
    """The processes of one run of `plan`; see `harness.real.hosts.Hosts` for what each method does."""

    name = "local"

    def __init__(self, plan: Plan, subject: Subject) -> None:
        self._cluster = plan.cluster
        self._seed = plan.seed
        self._subject = subject
        self._nodes = [make_node_files() for _ in range(plan.cluster.nodes)]
        self._liars = byzantine_seats(plan)
        self._authority = SigningKey.generate()
        self.network_name = f"run-{secrets.token_hex(8)}"
        self._processes: dict[int, Process] = {}
        self._killed: set[int] = set()
        self._relay_process: Process | None = None
        self._relay: ToxiproxyServer | None = None
        self._directory: Path | None = None
        self._controls: list[int] = []
        self._failpoints: dict[int, list[str]] = {}

    def agents(self) -> list[str]:
        """Hex, by number."""
        return [files.agent for files in self._nodes]

    def control(self, node: int) -> tuple[str, str]:
        """Address and token."""
        return f"{LOCALHOST}:{self._controls[node]}", self._nodes[node].token

    def relay(self) -> ToxiproxyServer:
        """The relay of this run."""
        assert self._relay is not None
        return self._relay

    async def start(self, failpoints: dict[int, list[str]]) -> None:
        """Start everything; a port that somebody else took in the meantime costs another try."""
        self._failpoints = failpoints
        await asyncio.to_thread(remove_leftovers)
        for tries in range(1, STARTS_MAX + 1):
            try:
                await self._start()
                return
            except _AddressTaken as error:
                await self.stop(None)
                if tries == STARTS_MAX:
                    raise HostError(str(error)) from None

    async def _start(self) -> None:
        count = self._cluster.nodes
        directory = self._directory = make_run_directory()
        try:
            ports = free_ports(2 * count + 1)
        except OSError as error:
            raise HostError(str(error)) from None
        listens, self._controls, relay_port = ports[:count], ports[count : 2 * count], ports[-1]
        self._relay = await self._start_relay(directory, relay_port)
        addresses = await asyncio.to_thread(self._make_proxies, listens)
        for number in range(count):
            home = directory / f"node{number}"
            home.mkdir()
            write_configuration(
                home,
                self._cluster,
                number,
                self._nodes,
                network=self.network_name,
                authority=self._authority,
                listen=f"{LOCALHOST}:{listens[number]}",
                control=f"{LOCALHOST}:{self._controls[number]}",
                peer_addresses=addresses[number],
            )
            self._spawn(number)
        await self._all(self._ready)

    async def _start_relay(self, directory: Path, port: int) -> ToxiproxyServer:
        if self._cluster.transport == "quic":
            command = [sys.executable, "-m", "faults.relay_udp", "--listen", f"{LOCALHOST}:{port}"]
            command += ["--seed", str(self._seed)]
        else:
            server = find_server()
            if server is None:
                raise HostError("there is no Toxiproxy server: faults/install-toxiproxy makes one")
            command = [str(server), "-host", LOCALHOST, "-port", str(port)]
        self._relay_process = Process(command, log=directory / "relay.log", directory=REPOSITORY)
        relay = ToxiproxyServer(LOCALHOST, port)
        until = time.monotonic() + READY_SECONDS
        while True:
            try:
                await asyncio.to_thread(relay.version)
                return relay
            except ToxiproxyError:
                if self._relay_process.exit_code() == EXIT_ADDRESS_IN_USE:
                    raise _AddressTaken(f"the relay: {self._relay_process.last_words()}") from None
                if self._relay_process.exit_code() is not None or time.monotonic() > until:
                    raise HostError(f"the relay does not start: {self._relay_process.last_words()}") from None
                await asyncio.sleep(READY_EVERY_S)

    def _make_proxies(self, listens: list[int]) -> list[dict[int, str]]:
        """For each node, the address that it uses for each other one."""
        nodes = range(self._cluster.nodes)
        links = [(source, target) for source in nodes for target in nodes if source != target]
        made = self.relay().populate(
            [
                {
                    "name": proxy_name(source, target),
                    "listen": f"{LOCALHOST}:0",
                    "upstream": f"{LOCALHOST}:{listens[target]}",
                }
                for source, target in links
            ]
        )
        addresses: list[dict[int, str]] = [{} for _ in nodes]
        for (source, target), proxy in zip(links, made, strict=True):
            addresses[source][target] = proxy["listen"]
        return addresses

    def _spawn(self, node: int) -> None:
        assert self._directory is not None
        home = self._directory / f"node{node}"
        environment = {}
        if node in self._failpoints:
            environment[FAILPOINTS] = ",".join(self._failpoints.pop(node))
        self._killed.discard(node)
        command = self._subject.command_for(home / CONFIG)
        if node in self._liars:
            command = [sys.executable, "-m", LIAR, "run", "--config", str(home / CONFIG)]
        try:
            self._processes[node] = Process(
                command, log=home / LOG, directory=self._subject.directory, environment=environment
            )
        except OSError as error:
            raise HostError(f"{self._subject.name}: {command[0]} cannot be started: {error.strerror}") from None

    async def _all(self, what: Callable[[int], Coroutine[Any, Any, None]]) -> None:
        tasks = [asyncio.ensure_future(what(node)) for node in range(self._cluster.nodes)]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _ready(self, node: int) -> None:
        process = self._processes[node]
        until = time.monotonic() + READY_SECONDS
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2.0)) as session:
            while not await answers(session, *self.control(node)):
                code = process.exit_code()
                if code is not None:
                    error = _AddressTaken if code == EXIT_ADDRESS_IN_USE else HostError
                    raise error(f"node {node} ended while starting (exit {code}): {process.last_words()}")
                if time.monotonic() > until:
                    raise HostError(f"node {node} did not answer in {READY_SECONDS:g} s: {process.last_words()}")
                await asyncio.sleep(READY_EVERY_S)

    def ended(self, node: int) -> str | None:
        """Why it ended by itself."""
        process = self._processes.get(node)
        if process is None or node in self._killed:
            return None
        code = process.exit_code()
        return None if code is None else f"exit {code}: {process.last_words()}"

    def broken(self) -> str | None:
        """The relay, which only the harness ends."""
        code = self._relay_process.exit_code() if self._relay_process is not None else None
        if self._relay_process is None or code is None:
            return None
        return f"the relay has ended by itself (exit {code}): {self._relay_process.last_words()}"

    async def kill(self, node: int, *, wipe: bool) -> None:
        """SIGKILL, and the data directory removed."""
        self._killed.add(node)
        await asyncio.to_thread(self._processes[node].kill)
        assert self._directory is not None
        data = self._directory / f"node{node}" / DATA
        if wipe and data.exists():
            await asyncio.to_thread(shutil.rmtree, data)

    async def restart(self, node: int) -> None:
        """The same command again."""
        self._spawn(node)
        await self._ready(node)

    def life(self, node: int) -> str:
        """The process's id and when it was started."""
        pid = self._processes[node].pid
        return f"{pid}:{started_at(pid)}"

    def is_empty(self, node: int) -> bool:
        """Whether its data directory is gone, or has nothing in it."""
        assert self._directory is not None
        data = self._directory / f"node{node}" / DATA
        return not data.exists() or not any(data.iterdir())

    async def pause(self, node: int) -> None:
        """SIGSTOP."""
        await self._make_stand(node, signal.SIGSTOP, stopped=True)

    async def resume(self, node: int) -> None:
        """SIGCONT."""
        await self._make_stand(node, signal.SIGCONT, stopped=False)

    async def _make_stand(self, node: int, number: signal.Signals, *, stopped: bool) -> None:
        process = self._processes[node]
        if not await asyncio.to_thread(stop_or_continue, process, number, wait_s=STATE_SECONDS):
            raise HostError(f"node {node} does not {'stand still' if stopped else 'go on'} after {number.name}")

    def paused(self, node: int) -> bool:
        """As the kernel has it."""
        return self._processes[node].stopped()

    def failpoint(self, node: int) -> str | None:
        """What the launcher wrote before it stopped itself."""
        assert self._directory is not None
        if not self.paused(node):
            return None
        file = self._directory / f"node{node}" / FAILPOINT_FILE
        try:
            reached = file.read_text().strip()
            file.unlink()
        except OSError:
            return None
        return reached

    async def stop(self, artifacts: Path | None) -> dict[int, str]:
        """End the nodes as an operator would, then the relay; keep what they leave; remove the directory."""
        running = {node: one for node, one in self._processes.items() if one.exit_code() is None}
        self._processes.clear()
        codes = await asyncio.gather(*(asyncio.to_thread(one.terminate, STOP_SECONDS) for one in running.values()))
        bad = {
            node: f"exit {code} after SIGTERM: {running[node].last_words()}"
            for node, code in zip(running, codes, strict=True)
            if code != 0
        }
        if self._relay_process is not None:
            await asyncio.to_thread(self._relay_process.terminate, STOP_SECONDS)
            self._relay_process = None
        directory, self._directory = self._directory, None
        if directory is not None:
            try:
                if artifacts is not None:
                    await asyncio.to_thread(self._keep, directory, artifacts)
            finally:
                await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        return bad

    def _keep(self, directory: Path, artifacts: Path) -> None:
        """Logs and databases, but no keys and tokens."""
        keep_file(directory / "relay.log", artifacts / "relay.log")
        for number in range(self._cluster.nodes):
            kept, home = node_directory(artifacts, number), directory / f"node{number}"
            keep_file(home / LOG, kept / LOG)
            for path in sorted((home / DATA).rglob("*")):
                keep_file(path, kept / DATA / path.relative_to(home / DATA))


def missing_here(plan: Plan) -> list[str]:
    """What this machine lacks for the plan, with how to get it."""
    if plan.cluster.transport == "tcp" and find_server() is None:
        return ["tcp links (no Toxiproxy server; faults/install-toxiproxy makes one)"]
    return []


class _AddressTaken(HostError):
    """A port that was free a moment ago is not any more."""

"""What things cost, each figure beside its peer, measured in one run on this machine.

Nothing here is a test: on a shared machine a time is a reading, not a verdict.  Every reading is the median of a few
repetitions, with the least and the greatest beside it.
"""

from __future__ import annotations

import heapq
import importlib
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from checkers.history import Event
from harness.campaign import Campaign, Cluster, Load, WorkloadSpec
from harness.compiler import compile_campaign
from harness.execution import execute
from harness.header import header_for
from harness.recorder import Recorder
from harness.runner import Runner
from harness.simulator.backend import SimulatorBackend
from harness.simulator.faults import CAPABILITIES
from harness.simulator.loop import Loop

REPEATS = 3
IN_FLIGHT = 256
"""Events that wait at a time in a mesh of 50 nodes: a timer each, and the frames on their way."""


class Traffic(msgspec.Struct):
    """What one simulated run delivered: frames, wall seconds without the boot, and each frame's (time, bytes)."""

    frames: int
    seconds: float
    deliveries: list[tuple[int, int]]


def machine() -> str:
    """One line: processor, cores, memory, Python."""
    model, cores, memory = platform.machine(), 0, ""
    for line in _lines("/proc/cpuinfo"):
        if line.startswith("model name"):
            model, cores = line.partition(":")[2].strip(), cores + 1
    for line in _lines("/proc/meminfo"):
        if line.startswith("MemTotal"):
            memory = f", {int(line.split()[1]) / 1024**2:.0f} GiB"
    return f"{model}, {cores} cores{memory}, Python {platform.python_version()}"


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text(encoding="utf-8").splitlines()
    except OSError:
        return []


def mesh_campaign(*, nodes: int, authors: int, rate: float, seconds: float) -> Campaign:
    """A healthy mesh in which the first `authors` nodes each write, `rate` times a second in all."""
    return Campaign(
        name="bench",
        shows="what a frame costs",
        cluster=Cluster(nodes=nodes),
        load=Load(duration_s=seconds, digest_interval_ms=60_000),
        workloads=(WorkloadSpec(type="gset", rate=rate, reads=0.0, nodes=tuple(range(authors))),),
    )


def run_mesh(campaign: Campaign, *, trace: bool = False) -> Traffic:
    """Run it, recording as always but without judging; the boot of the nodes is not timed."""
    plan = compile_campaign(campaign, 1, source="bench")
    deliveries: list[tuple[int, int]] = []
    backend = SimulatorBackend(plan, loop=_TracingLoop(deliveries) if trace else None)
    recorder = Recorder(header_for(plan, backend, CAPABILITIES, {}))
    started = [0.0]
    backend.call_at(0, lambda: started.__setitem__(0, time.perf_counter()))
    Runner(plan, backend, recorder).run()
    return Traffic(backend.frames_delivered, time.perf_counter() - started[0], deliveries)


class _TracingLoop(Loop):
    """Remembers the time and size of everything that is noted."""

    __slots__ = ("_deliveries",)

    def __init__(self, deliveries: list[tuple[int, int]]) -> None:
        super().__init__()
        self._deliveries = deliveries

    def note(self, entry: bytes) -> None:
        self._deliveries.append((self.now, len(entry)))
        super().note(entry)


def bare_heap(deliveries: Sequence[tuple[int, int]]) -> float:
    """Seconds for the same deliveries through a heap alone, with empty nodes and IN_FLIGHT events waiting."""
    started = time.perf_counter()
    heap: list[tuple[int, int, int]] = []
    for number, (at, size) in enumerate(deliveries):
        heapq.heappush(heap, (at, number, size))
        if number >= IN_FLIGHT:
            heapq.heappop(heap)
    while heap:
        heapq.heappop(heap)
    return time.perf_counter() - started


def simpy_callbacks(deliveries: Sequence[tuple[int, int]]) -> float:
    """Seconds for the same deliveries as SimPy time-outs with an empty callback each."""
    import simpy

    environment = simpy.Environment()
    started = time.perf_counter()
    for at, size in deliveries:
        timeout = environment.timeout(at, value=size)
        timeout.callbacks.append(lambda event: None)
    environment.run()
    return time.perf_counter() - started


def _spread(values: Sequence[float], unit: str) -> str:
    return f"{statistics.median(values):,.0f} {unit} ({min(values):,.0f} to {max(values):,.0f})"


def bench_simulator() -> list[str]:
    """Frames a second, at two loads and two sizes, beside a bare heap and SimPy."""
    lines = []
    costs: dict[tuple[int, float], float] = {}
    deliveries: list[tuple[int, int]] = []
    for nodes, rate, seconds in ((50, 10.0, 10.0), (50, 50.0, 5.0), (500, 10.0, 2.0), (500, 50.0, 1.0)):
        campaign = mesh_campaign(nodes=nodes, authors=50, rate=rate, seconds=seconds)
        runs = [run_mesh(campaign) for _ in range(REPEATS)]
        speeds = [run.frames / run.seconds for run in runs]
        costs[nodes, rate] = 1e6 / statistics.median(speeds)
        lines.append(
            f"{nodes} nodes, 50 active authors, {rate:g} commits/s: {_spread(speeds, 'delivered frames/s')}, "
            f"{costs[nodes, rate]:.1f} us a frame, {runs[0].frames} frames"
        )
        if (nodes, rate) == (50, 10.0):
            deliveries = run_mesh(campaign, trace=True).deliveries
    for rate in (10.0, 50.0):
        lines.append(
            f"a frame at 500 nodes costs {costs[500, rate] / costs[50, rate]:.2f}x one at 50 ({rate:g} commits/s)"
        )
    count = len(deliveries)
    for name, peer in (("a bare heap", bare_heap), ("SimPy time-outs", simpy_callbacks)):
        speeds = [count / peer(deliveries) for _ in range(REPEATS)]
        lines.append(f"the same {count} events through {name}, empty nodes: {_spread(speeds, 'events/s')}")
    return lines


def bench_campaign() -> list[str]:
    """A four-node campaign of 60 virtual seconds at 50 operations a second, checks included."""
    campaign = Campaign(
        name="bench",
        shows="what a campaign costs",
        cluster=Cluster(nodes=4),
        load=Load(duration_s=60.0),
        workloads=(
            WorkloadSpec(type="gset", rate=25.0),
            WorkloadSpec(type="orset", rate=15.0, removes=0.25),
            WorkloadSpec(type="pncounter", rate=10.0, removes=0.3),
        ),
    )
    plan = compile_campaign(campaign, 1, source="bench")
    outcomes = [execute(plan) for _ in range(REPEATS)]
    seconds = [outcome.wall_s for outcome in outcomes]
    median = statistics.median(seconds)
    return [
        f"4 nodes, 60 virtual seconds, 50 operations/s, checks included: {median:.2f} s "
        f"({min(seconds):.2f} to {max(seconds):.2f}), {outcomes[0].virtual_s / median:.0f}x real time, "
        f"verdict {outcomes[0].verdict.validity}, {_kinds(outcomes[0].history.events)}"
    ]


def _kinds(events: Sequence[Event]) -> str:
    return f"{len(events)} events"


def bench_set_full() -> list[str]:
    """The set_full checker on a large history, in a process of its own."""
    from harness.bench_set_full import bench as measure_set_full

    measured = measure_set_full()
    return [
        f"set_full, {measured['adds']:,.0f} adds, {measured['reads']:,.0f} reads of up to "
        f"{measured['largest_read']:,.0f} elements: {measured['seconds']:.2f} s, peak {measured['peak_mb']:.0f} MB"
    ]


def _later(module: str) -> Callable[[], list[str]]:
    """`bench()` of a module that is imported when it is asked for."""

    def run() -> list[str]:
        lines: list[str] = importlib.import_module(module).bench()
        return lines

    return run


BENCHES: dict[str, Callable[[], list[str]]] = {
    "simulator": bench_simulator,
    "campaign": bench_campaign,
    "set_full": bench_set_full,
    "transport": _later("harness.bench_transport"),
    "relay": _later("harness.bench_relay"),
    "local": _later("harness.bench_local"),
    "docker": _later("harness.bench_docker"),
    "quorum": _later("harness.bench_quorum"),
}
"""The benches by name."""


def run_benches(names: Sequence[str]) -> None:
    """Run and print, each as soon as it is measured."""
    print(f"machine: {machine()}", flush=True)
    for name in names:
        print(f"\n{name}", flush=True)
        for line in BENCHES[name]():
            print(f"  {line}", flush=True)

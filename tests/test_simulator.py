"""The simulator does to a node what its faults say, and nothing else."""

import itertools
import random

import msgspec
import pytest

from checkers.history import FaultEvent, NodeEvent
from faults.vocabulary import At, Byzantine, Cut, Kill, Link, Pause, PlannedFault, Skew, Trigger
from harness.campaign import Campaign, Cluster, Load, WorkloadSpec
from harness.compiler import compile_campaign
from harness.execution import execute
from harness.simulator.backend import SimulatorBackend
from harness.simulator.disk import Disk
from harness.simulator.loop import Loop
from knhk_mesh.effects import Record
from knhk_mesh.node import Node

SECOND = 1_000_000_000


def plan_with(*faults, nodes=4, seed=1, duration_s=3.0):
    campaign = Campaign(
        name="test",
        shows="a test",
        cluster=Cluster(nodes=nodes),
        load=Load(duration_s=duration_s),
        workloads=(WorkloadSpec(type="gset", rate=40.0),),
    )
    planned = tuple(
        PlannedFault(id=f"f{i}", fault=fault, start=start, duration_ns=duration)
        for i, (fault, start, duration) in enumerate(faults)
    )
    return msgspec.structs.replace(compile_campaign(campaign, seed, source="test"), faults=planned)


def evidence(outcome, fault="f0"):
    lifted = [e for e in outcome.history.events if type(e) is FaultEvent and e.fault == fault and e.stage == "lifted"]
    assert len(lifted) == 1
    return lifted[0].evidence


ALL = tuple((a, b) for a in range(4) for b in range(4) if a != b)


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Cut(links=ALL), "dropped"),
        (Link(links=ALL, loss=0.5), "dropped"),
        (Link(links=ALL, latency_ms=20.0), "delayed"),
        (Link(links=ALL, duplicate=0.5), "duplicated"),
        (Link(links=ALL, latency_ms=2.0, reorder=0.5), "reordered"),
        (Pause(nodes=(1,)), "deferred"),
        (Skew(nodes=(1,), offset_ms=1000.0), "bites"),
        (Skew(nodes=(1,), mode="strobe", offset_ms=1000.0, period_ms=10.0), "flips"),
        (Kill(nodes=(1,)), "bites"),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, str) else value,
)
def test_every_fault_proves_that_it_bit_and_is_gone_afterwards(fault, kind):
    outcome = execute(plan_with((fault, At(SECOND), SECOND)))
    assert outcome.verdict.validity == "valid", outcome.verdict
    assert evidence(outcome)[kind] > 0
    assert evidence(outcome)["bites"] > 0


def test_a_fault_that_meets_nothing_does_not_bite_and_the_verdict_is_unknown():
    plan = plan_with((Cut(links=((0, 1),)), At(SECOND), 1))
    outcome = execute(plan)
    assert evidence(outcome)["bites"] == 0
    assert outcome.verdict.validity == "unknown"


def test_a_trigger_that_is_never_reached_is_unknown():
    outcome = execute(plan_with((Kill(nodes=(1,)), Trigger(after="persist", node=1, count=10**6), SECOND)))
    assert outcome.verdict.validity == "unknown"
    assert any("never put in force" in note for result in outcome.verdict.results for note in result.notes)


def test_a_trigger_strikes_at_its_very_step():
    plan = plan_with((Kill(nodes=(2,), disk="lose-unsynced"), Trigger(after="persist", node=2, count=5), SECOND))
    backend = SimulatorBackend(plan)
    seen = []
    backend.when(plan.faults[0].start, lambda: seen.append(len(backend.hosts[2].disk._blocks)))
    from harness.header import header_for
    from harness.recorder import Recorder
    from harness.runner import Runner

    Runner(plan, backend, Recorder(header_for(plan, backend, (), {}))).run()
    assert seen == [5]


@pytest.mark.parametrize(("fate", "kept"), [("keep", 3), ("lose-unsynced", 2), ("wipe", 0)])
def test_a_disk_keeps_what_its_fate_leaves(fate, kept):
    disk = Disk(random.Random(1))
    records = [Record("commit", bytes([i]) * 50) for i in range(3)]
    _, mark = disk.write(0, tuple(records[:2]))
    disk.synced(mark)
    disk.write(10, tuple(records[2:]))
    assert disk.crash(fate) == 3 - kept
    assert disk.read() == records[:kept]


@pytest.mark.parametrize("seed", range(20))
def test_a_torn_write_is_found_by_reading_and_cut_off(seed):
    disk = Disk(random.Random(seed))
    records = [Record("commit", bytes([i]) * 50) for i in range(6)]
    _, mark = disk.write(0, tuple(records[:2]))
    disk.synced(mark)
    disk.write(10, tuple(records[2:]))
    assert disk.crash("torn") >= 1
    left = disk.read()
    assert disk.torn_found == 1
    assert 2 <= len(left) < 6 and left == records[: len(left)]
    disk.write(20, (records[5],))
    assert disk.read() == [*left, records[5]]


def test_events_at_one_time_run_in_the_order_of_scheduling():
    loop, seen = Loop(), []
    for name in "abc":
        loop.at(5, seen.append, name)
    loop.at(1, lambda: loop.at(0, seen.append, "now"))
    loop.run()
    assert seen == ["now", "a", "b", "c"] and loop.now == 5


def test_what_is_hastened_comes_in_the_order_of_its_arrival_and_nothing_else_moves():
    loop, seen = Loop(), []

    def arrive(line, name):
        seen.append((loop.now, name))

    def other(line, name):
        seen.append((loop.now, name))

    held = [(90, 1, "moved back"), (3, 1, "early"), (50, 1, "held"), (50, 2, "of another line"), (80, 3, "elsewhere")]
    for when, line, name in held:
        loop.at(when, arrive, line, name)
    loop.at(70, other, 1, "not an arrival")
    loop.at(10, loop.hasten, arrive, lambda line, name: {1: (1, 5), 2: (2, 60)}.get(line))
    loop.at(10, arrive, 1, "due anyhow")
    loop.run()
    assert seen == [
        (3, "early"),
        (10, "due anyhow"),
        (10, "held"),
        (10, "moved back"),
        (50, "of another line"),
        (70, "not an arrival"),
        (80, "elsewhere"),
    ]


@pytest.mark.parametrize(
    "shape",
    [{"latency_ms": 8000.0}, {"latency_ms": 1500.0, "jitter_ms": 500.0}, {"rate_kb_s": 1.0}, {"rate_kb_s": 0.01}],
    ids=str,
)
def test_a_link_lets_go_of_what_a_fault_held_back_when_it_is_lifted(shape):
    """As the relays do.  Else all that follows waits behind it, and a correct mesh is late, or never arrives."""
    outcome = execute(plan_with((Link(links=ALL, **shape), At(SECOND), 2 * SECOND)))
    assert evidence(outcome)["bites"] > 0
    found = [a for result in outcome.verdict.results for a in result.anomalies]
    assert outcome.verdict.validity == "valid", found
    healed = next(event.t for event in outcome.history.events if getattr(event, "phase", "") == "heal")
    assert outcome.history.events[-1].t - healed < SECOND


def watched(monkeypatch):
    """What passes on the links of the run that comes: (source, target) -> (number, sent at, came at) as it comes."""
    links, numbers = {}, itertools.count()
    transmit, deliver = SimulatorBackend._transmit, SimulatorBackend._deliver

    def sends(self, source, peer, frame):
        transmit(self, source, peer, bytes(frame) + b"%020d%020d" % (next(numbers), self.loop.now))

    def arrives(self, source, target, frame):
        passed = (int(frame[-40:-20]), int(frame[-20:]), self.loop.now)
        links.setdefault((source, target), []).append(passed)
        deliver(self, source, target, frame[:-40])

    monkeypatch.setattr(SimulatorBackend, "_transmit", sends)
    monkeypatch.setattr(SimulatorBackend, "_deliver", arrives)
    return links


@pytest.mark.parametrize("latency_ms", [0.0, 3000.0])
@pytest.mark.parametrize("lasting_s", [1, 2])
def test_what_was_reordered_arrives_so_though_the_link_lets_go(latency_ms, lasting_s, monkeypatch):
    """As often as the fault tells: a verdict rests on it."""
    links = watched(monkeypatch)
    slow = Link(links=ALL, latency_ms=latency_ms, reorder=0.5)
    outcome = execute(plan_with((slow, At(SECOND), lasting_s * SECOND)))
    numbers = [[number for number, _, _ in passed] for passed in links.values()]
    overtaken = sum(max(line[:place], default=0) > one for line in numbers for place, one in enumerate(line))
    assert evidence(outcome)["reordered"] == overtaken > 0


@pytest.mark.parametrize("loss", [0.0, 1e-9])
def test_a_link_that_lets_go_is_the_one_that_was_lifted_and_keeps_its_ordinary_latency(loss, monkeypatch):
    """Two faults of three seconds' load: the first is lifted after 1.5 s, the second by the heal."""
    links = watched(monkeypatch)
    first, second = Link(links=((0, 1), (1, 0)), latency_ms=5000.0), Link(links=((2, 3), (3, 2)), latency_ms=5000.0)
    plan = plan_with((first, At(SECOND // 2), SECOND), (second, At(SECOND // 2), None))
    network = msgspec.structs.replace(plan.cluster.network, latency_ms=200.0, jitter_ms=0.0, loss=loss)
    execute(msgspec.structs.replace(plan, cluster=msgspec.structs.replace(plan.cluster, network=network)))
    ordinary = SECOND // 5
    for link, lifted in (((0, 1), 3 * SECOND // 2), ((2, 3), 3 * SECOND), ((0, 2), None)):
        held = [one for one in links[link] if lifted and SECOND // 2 <= one[1] < lifted]
        assert all(lifted <= came <= lifted + ordinary for _, _, came in held) and bool(held) == bool(lifted)
        assert {came - at for _, at, came in set(links[link]).difference(held)} == {ordinary}


def test_a_node_that_raises_is_a_finding_and_not_our_crash(monkeypatch):
    timer = Node.timer
    calls = {"n": 0}

    def breaks(self, now, name):
        calls["n"] += 1
        if calls["n"] == 30:
            raise RuntimeError("planted")
        return timer(self, now, name)

    monkeypatch.setattr(Node, "timer", breaks)
    outcome = execute(plan_with())
    crashed = [e for e in outcome.history.events if type(e) is NodeEvent and e.name == "crashed"]
    assert len(crashed) == 1 and "planted" in crashed[0].data["error"]
    assert outcome.verdict.validity == "invalid"
    assert "node-crashed" in {a.name for result in outcome.verdict.results for a in result.anomalies}


def test_clients_meet_a_dead_node_definitely_and_a_paused_one_indefinitely():
    dead = execute(plan_with((Kill(nodes=(0,)), At(SECOND // 2), 2 * SECOND)))
    errors = {event.error for event in dead.history.events if getattr(event, "outcome", "") == "fail"}
    assert "connection refused" in errors
    paused = execute(plan_with((Pause(nodes=(0,)), At(SECOND // 2), 2 * SECOND)))
    outcomes = {event.error for event in paused.history.events if getattr(event, "outcome", "") == "info"}
    assert outcomes == {"time-out"}
    processes = {e.process for e in paused.history.events if getattr(e, "process", "").startswith("w0c0")}
    assert len(processes) > 1, "after an indefinite outcome a client goes on as a new process"


def test_faults_that_overlap_are_lifted_one_by_one():
    outcome = execute(
        plan_with(
            (Pause(nodes=(1,)), At(SECOND // 2), SECOND),
            (Pause(nodes=(1,)), At(SECOND), SECOND),
            (Kill(nodes=(1,)), At(SECOND + SECOND // 4), SECOND // 2),
            (Kill(nodes=(2,)), At(SECOND), SECOND),
            (Kill(nodes=(2,)), Trigger(after="persist", node=2, count=3), 2 * SECOND),
            (Skew(nodes=(3,), offset_ms=1000.0), At(SECOND), SECOND),
            (Skew(nodes=(3,), offset_ms=-1000.0), At(SECOND), SECOND // 2),
        )
    )
    starts = [(e.node, e.t) for e in outcome.history.events if type(e) is NodeEvent and e.name == "started"]
    assert [t for node, t in starts if node == 1][1:] == [2 * SECOND], "dead or paused until the last one lets go"
    assert len([t for node, t in starts if node == 2]) == 2
    found = [a for result in outcome.verdict.results for a in result.anomalies]
    assert not found, found


def test_a_crashed_node_is_not_restarted_by_the_end_of_a_pause(monkeypatch):
    timer = Node.timer

    def breaks(self, now, name):
        if now.monotonic > SECOND // 2 and self.config.peers[0].addr == "node1":  # node 0
            raise RuntimeError("planted")
        return timer(self, now, name)

    monkeypatch.setattr(Node, "timer", breaks)
    outcome = execute(plan_with((Pause(nodes=(0,)), At(SECOND), SECOND)))
    starts = [e.node for e in outcome.history.events if type(e) is NodeEvent and e.name == "started"]
    assert starts.count(0) == 1


def test_a_liar_that_has_crashed_is_a_finding_and_not_our_crash(monkeypatch):
    timer = Node.timer

    def breaks(self, now, name):
        if now.monotonic > SECOND and self.config.peers[-1].addr == "node2":  # node 3
            raise RuntimeError("planted")
        return timer(self, now, name)

    monkeypatch.setattr(Node, "timer", breaks)
    lies = Byzantine(nodes=(3,), strategy="silent")
    outcome = execute(plan_with((lies, At(SECOND // 2), SECOND), (lies, At(2 * SECOND), SECOND // 2)))
    assert [e.node for e in outcome.history.events if type(e) is NodeEvent and e.name == "crashed"] == [3]
    assert outcome.verdict.validity == "invalid"
    assert evidence(outcome, "f1")["bites"] == 0, "who has crashed does not lie any more"

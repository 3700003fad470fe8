"""One suite for all backends: the same plan, and what every one of them must make of it.

Real nodes cost seconds, so the plans are short and one run serves several tests.
"""

import shutil
from functools import cache
from pathlib import Path

import msgspec
import pytest

from checkers.history import FaultEvent, Invoke, NodeEvent, Phase
from faults.vocabulary import At, Cut, Kill, Pause, Skew
from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.execution import Outcome, execute, lacking
from harness.local.hosts import missing_here
from harness.store import RunDirectory
from harness.subject import REFERENCE, Subject

CAMPAIGN = b"""
name = "conformance"
shows = "that a backend does what a plan says"

[cluster]
nodes = 4
transports = ["quic", "tcp"]

[load]
duration_s = 8.0
digest_interval_ms = 250

[[workloads]]
type = "gset"
object = "g"
rate = 30

[[workloads]]
type = "orset"
object = "o"
rate = 20
removes = 0.3

[[workloads]]
type = "pncounter"
object = "n"
rate = 20
removes = 0.3

[[faults]]
fault = "cut"
groups = [[0, 1], [2, 3]]
start_s = 0.5
duration_s = 1.7

[[faults]]
fault = "cut"
links = [[0, 1]]
start_s = 3.0
duration_s = 1.5

[[faults]]
fault = "link"
latency_ms = 60.0
jitter_ms = 10.0
links = [[1, 2], [2, 1]]
start_s = 3.0
duration_s = 2.0

[[faults]]
fault = "pause"
nodes = [2]
start_s = 3.5
duration_s = 1.0

[[faults]]
fault = "kill"
nodes = [0]
start_s = 5.0
duration_s = 0.7

[[faults]]
fault = "kill"
disk = "wipe"
nodes = [3]
start_s = 5.2
duration_s = 0.7

[[faults]]
fault = "skew"
nodes = [1]
mode = "strobe"
offset_ms = 90000.0
period_ms = 150.0
start_s = 4.0
duration_s = 2.0

[[faults]]
fault = "skew"
nodes = [2]
offset_ms = -3600000.0
start_s = 1.0

[[faults]]
fault = "link"
loss = 0.3
start_s = 6.0
required = false

[[checks]]
name = "availability"
options = { ok_min = 0.5 }
"""
WHERE = [("sim", "quic"), ("local", "quic"), ("local", "tcp")]


def plan_for(transport: str, seed: int = 5):
    return compile_campaign(parse_campaign(CAMPAIGN, source="conformance"), seed, source="x", transport=transport)


@cache
def outcome_of(backend: str, transport: str, store: str) -> Outcome:
    directory = RunDirectory(Path(store), "conformance", 5)
    return execute(plan_for(transport), backend=backend, directory=directory)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory):
    made = tmp_path_factory.mktemp("conformance")
    yield str(made)
    shutil.rmtree(made)


@pytest.fixture(params=WHERE, ids=["sim", "local-quic", "local-tcp"])
def outcome(request: pytest.FixtureRequest, store: str) -> Outcome:
    backend, transport = request.param
    if backend == "local" and missing_here(plan_for(transport)):
        pytest.skip(missing_here(plan_for(transport))[0])
    return outcome_of(backend, transport, store)


def test_the_same_checkers_find_it_valid(outcome: Outcome) -> None:
    assert outcome.verdict.validity == "valid", outcome.verdict
    assert {one.checker for one in outcome.verdict.results} >= {
        "convergence", "visibility", "set_full", "counter", "durability", "exposure", "crashes", "availability",
    }  # fmt: skip


def test_every_fault_is_told_confirmed_seen_to_bite_and_lifted(outcome: Outcome) -> None:
    plan, told = outcome.plan, {}
    for event in outcome.history.events:
        if isinstance(event, FaultEvent):
            told.setdefault(event.fault, []).append(event)
    for planned in plan.faults:
        stages = [event.stage for event in told[planned.id]]
        if not planned.required and "skipped" in stages:
            assert outcome.plan.cluster.transport == "tcp" and stages == ["skipped"]
            continue
        assert stages[0] == "injected" and stages[-1] == "lifted", (planned, stages)
        if outcome.history.header.backend != "sim":
            assert stages == ["injected", "observed", "lifted"]
        bites = int(told[planned.id][-1].evidence["bites"])
        assert bites > 0, (planned, told[planned.id])


def test_faults_are_lifted_after_their_time_and_before_the_heal(outcome: Outcome) -> None:
    events = outcome.history.events
    heal = next(event.t for event in events if isinstance(event, Phase) and event.phase == "heal")
    for planned in outcome.plan.faults:
        mine = [event for event in events if isinstance(event, FaultEvent) and event.fault == planned.id]
        if mine[0].stage == "skipped":
            continue
        assert isinstance(planned.start, At)
        assert planned.start.at_ns <= mine[0].t < planned.start.at_ns + 500_000_000
        assert mine[-1].t <= heal
        if planned.duration_ns is not None:
            assert mine[-1].t - mine[0].t >= planned.duration_ns


def test_operations_are_those_of_the_plan_at_their_intended_starts(outcome: Outcome) -> None:
    planned = {one.id: one for one in outcome.plan.operations}
    invoked = [event for event in outcome.history.events if isinstance(event, Invoke) and event.op in planned]
    assert len(invoked) > 0.7 * len(planned)
    for event in invoked:
        operation = planned[event.op]
        assert (event.node, event.object, event.action, event.intended) == (
            operation.node, operation.object, operation.action, operation.at_ns,
        )  # fmt: skip
        assert event.t >= operation.at_ns


def test_phases_come_in_their_order_and_the_run_ends(outcome: Outcome) -> None:
    phases = [event.phase for event in outcome.history.events if isinstance(event, Phase)]
    assert phases == ["load", "heal", "quiesce", "final", "done"]


def test_nodes_tell_of_their_commits_and_nobody_crashes(outcome: Outcome) -> None:
    names = [(event.node, event.name) for event in outcome.history.events if isinstance(event, NodeEvent)]
    assert {node for node, name in names if name == "committed"} == {0, 1, 2, 3}
    assert {node for node, name in names if name == "started"} == {0, 1, 2, 3}
    assert "crashed" not in {name for _, name in names}


def test_drift_is_measured_where_time_is_real(outcome: Outcome) -> None:
    if outcome.history.header.backend == "sim":
        assert outcome.drift is None and outcome.trace_hash
    else:
        assert outcome.trace_hash is None
        assert outcome.drift is not None and 0 < outcome.drift.p50_ns <= outcome.drift.p99_ns <= outcome.drift.max_ns


def test_the_header_says_what_the_deadline_rests_on(outcome: Outcome) -> None:
    header = outcome.history.header
    assert header.plan["deadline"]["total_ns"] == outcome.plan.deadline.total_ns
    if header.backend == "sim":
        assert header.deadline == outcome.plan.deadline
    else:
        assert header.deadline.total_ns > outcome.plan.deadline.total_ns


@pytest.mark.parametrize(
    ("fault", "transport", "needs"),
    [
        ('fault = "link"\nloss = 0.1', "tcp", ["loss"]),
        ('fault = "kill"\nnodes = [0]\ndisk = "torn"', "quic", ["kill-torn"]),
        ('fault = "kill"\nnodes = [0]\ndisk = "lose-unsynced"', "tcp", ["kill-lose-unsynced"]),
        ('fault = "pause"\nnodes = [0]\nafter = { after = "persist", node = 0, count = 3 }', "quic", ["trigger"]),
    ],
)
def test_what_real_nodes_cannot_do_is_said_before_anything_runs(fault: str, transport: str, needs: list[str]) -> None:
    text = (
        f'name = "x"\nshows = "y"\n[cluster]\ntransports = ["{transport}"]\n[[workloads]]\ntype = "gset"\n[[faults]]\n'
    )
    plan = compile_campaign(parse_campaign((text + fault).encode(), source="x"), 0, source="x")
    assert lacking(plan, "local")[0] == needs
    assert lacking(plan, "sim")[0] == []


def test_a_subject_that_does_not_tell_of_its_peers_is_given_no_fault_on_tcp_links() -> None:
    mute = msgspec.structs.replace(REFERENCE, offers=())
    text = 'name = "x"\nshows = "y"\n[cluster]\ntransports = ["{}"]\n[[workloads]]\ntype = "gset"\n[[faults]]\n{}'
    cut = 'fault = "cut"\nshape = "halves"'

    def lacks(transport: str, subject: Subject) -> list[str]:
        campaign = parse_campaign(text.format(transport, cut).encode(), source="x")
        return lacking(compile_campaign(campaign, 0, source="x"), "local", subject)[0]

    assert lacks("tcp", mute) == ["cut"]
    assert lacks("tcp", REFERENCE) == lacks("quic", mute) == lacks("quic", REFERENCE) == []


def test_the_suite_uses_every_kind_of_fault_that_real_nodes_can_have() -> None:
    kinds = {type(one.fault) for one in plan_for("quic").faults}
    assert kinds >= {Cut, Kill, Pause, Skew}

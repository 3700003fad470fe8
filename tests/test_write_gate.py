"""When a member takes writes, and when it is healthy again after a partition."""

import random

import pytest

from knhk_mesh.messages import Frontier, Votes
from knhk_mesh.requests import Indefinite, Refusal, Written
from tests.members import drop, garbled, isolate, mesh, opened, result, stable
from tests.mesh_shell import MS, Shell


def test_a_write_for_healthy_nodes_is_refused_by_any_other_and_nothing_is_written():
    shell = Shell(4, roster=True)
    answer = shell.add(0, "x", level="stable")
    assert isinstance(answer, Refusal) and "recovering" in answer.reason
    shell.settle_down()
    for _ in range(9):
        shell.pulse(lose=isolate(0))
    answer = shell.add(0, "x", level="stable")
    assert isinstance(answer, Refusal) and "partitioned" in answer.reason and "1 of 3" in answer.reason
    assert shell.read(0) == []
    assert isinstance(shell.add(0, "y"), Written), "a local write is another matter"


@pytest.mark.parametrize("level", ["local", "stable"])
def test_with_gated_local_writes_both_levels_are_for_healthy_nodes(level):
    shell = Shell(4, roster=True, gate_local_writes=True)
    assert isinstance(shell.add(0, "x", level=level), Refusal)
    shell.settle_down()
    shell.add(0, "x", level=level, request=7)
    shell.deliver()
    assert isinstance(result(shell, 0, 7), Written)
    for _ in range(9):
        shell.pulse(lose=isolate(0))
    assert isinstance(shell.add(0, "y", level=level), Refusal) and shell.read(0) == ["x"]


@pytest.mark.parametrize("level", ["local", "stable"])
def test_a_node_that_stood_still_takes_no_gated_write_though_no_timer_has_run(level):
    shell = mesh(gate_local_writes=True)
    shell.now += 10_000 * MS
    assert shell.state(0) == "healthy"
    assert isinstance(shell.add(0, "x", level=level), Refusal) and shell.read(0) == []


def test_stable_writes_that_are_open_at_the_moment_of_a_partition_are_indefinite():
    shell = mesh()
    for request in (7, 8):
        stable(shell, 0, request, request=request, lose=isolate(0))
    while shell.state(0) == "healthy":
        assert result(shell, 0, 7) is None
        shell.pulse(lose=isolate(0))
    assert {type(result(shell, 0, request)) for request in (7, 8)} == {Indefinite}
    assert shell.read(0) == [7, 8], "they are there, and may yet reach the others"


def test_beyond_so_many_that_wait_for_a_certificate_one_more_is_refused_and_nothing_is_written():
    shell = mesh(requests_waiting_max=3)
    for request in range(3):
        stable(shell, 0, request, request=request, lose=isolate(0))
    answer = shell.add(0, "x", level="stable", request=7)
    assert isinstance(answer, Refusal) and "overloaded" in answer.reason
    assert shell.read(0) == [0, 1, 2]


def test_a_certificate_that_comes_when_the_node_has_stood_still_acknowledges_nothing():
    """Votes were on their way; the node wakes to them before its timer has run."""
    shell = mesh()
    shell.add(0, "x", level="stable", request=7)
    shell.now += 10_000 * MS
    shell.deliver()
    assert shell.state(0) == "healthy"
    assert not isinstance(result(shell, 0, 7), Written)


@pytest.mark.parametrize("cut", [False, True])
def test_a_gated_local_write_whose_disk_is_slow_is_looked_at_once_more(cut):
    shell = mesh(gate_local_writes=True)
    shell.auto_durable = False
    shell.add(0, "x", request=7)
    for _ in range(9):
        for other in (1, 2, 3):
            shell.durable(other)
        shell.pulse(lose=isolate(0) if cut else isolate())
    assert result(shell, 0, 7) is None
    shell.durable(0)
    assert type(result(shell, 0, 7)) is (Indefinite if cut else Written)


@pytest.mark.parametrize("requests_waiting_max", [1024, 5], ids=["slow", "stalled"])
def test_a_slow_disk_is_no_partition(requests_waiting_max):
    """Nor one on which so much waits that the node takes in nothing more but probes and echoes."""
    shell = mesh(requests_waiting_max=requests_waiting_max)
    shell.auto_durable = False
    shell.add(0, "x")
    for _ in range(30):
        shell.round()
        shell.pulse()
        for other in (1, 2, 3):
            shell.durable(other)
    assert [shell.state(number) for number in range(4)] == ["healthy"] * 4
    assert (shell.nodes[0].validator.rejected["stalled"] > 0) == (requests_waiting_max == 5)
    shell.auto_durable = True
    shell.durable(0)
    for _ in range(3):
        shell.round()
    assert len({shell.digest(number) for number in range(4)}) == 1, "and it goes on where it was"
    assert isinstance(stable(shell, 0, "y"), Written)


def test_a_write_without_a_certificate_in_time_is_indefinite_also_where_nobody_is_cut_off():
    shell = mesh(stable_timeout_ns=300 * MS)
    shell.add(0, "x", level="stable", request=7)
    for _ in range(4):
        assert result(shell, 0, 7) is None
        drop(shell, lambda source, target, frame: isinstance(frame, Votes))
        shell.now += 100 * MS
        for number in range(4):
            shell.probe(number)
    assert isinstance(result(shell, 0, 7), Indefinite) and shell.state(0) == "healthy"


def test_nothing_is_kept_of_a_request_that_was_answered():
    shell = mesh(stable_timeout_ns=300 * MS)
    for request in range(50):
        stable(shell, 0, request, request=request, lose=isolate(0))
    for _ in range(12):
        shell.pulse(lose=isolate(0))
    assert {type(result(shell, 0, request)) for request in range(50)} == {Indefinite}
    assert shell.nodes[0].member._requests == {}
    assert len(shell.nodes[0]._gated) == 0


def test_a_node_is_healthy_again_only_once_it_has_what_a_quorum_had():
    shell = mesh(stable_timeout_ns=1_000 * MS)
    for _ in range(9):
        shell.pulse(lose=isolate(0))
    assert shell.state(0) == "partitioned"
    assert isinstance(stable(shell, 1, "x", lose=isolate(0)), Written)
    for _ in range(30):
        shell.now += 100 * MS
        for number in range(4):
            shell.probe(number)
        drop(shell, lambda source, target, frame: target == 0 and isinstance(frame, Frontier))
    assert shell.state(0) == "recovering", "echoes alone are no reconciliation, nor is one that was given up"
    assert isinstance(shell.add(0, "y", level="stable"), Refusal)
    shell.settle_down()
    assert shell.read(0) == ["x"], "and what it brought is here"


def test_answers_to_what_a_former_recovery_asked_do_not_end_a_later_one():
    """Asked while recovering, cut off again; the old answers arrive when it recovers for the second time."""
    shell = Shell(4, roster=True)
    old = []
    shell.now = max(shell.probes)
    for number in range(4):
        shell.probe(number)
    while shell.frames:
        source, target, frame = shell.frames.pop(0)
        if target == 0 and isinstance(opened(frame), Frontier):
            old.append((source, frame))
            continue
        shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))
    assert {source for source, _ in old} == {1, 2, 3} and shell.state(0) == "recovering"
    for _ in range(9):
        shell.pulse(lose=isolate(0))
    assert shell.state(0) == "partitioned"
    while isinstance(shell.add(1, "x", level="stable", request=7), Refusal):
        shell.pulse(lose=isolate(0))
    shell.deliver(lose=isolate(0))
    silent = lambda source, target, frame: target == 0 and isinstance(frame, Frontier)  # noqa: E731
    while shell.state(0) == "partitioned":
        shell.now += 100 * MS
        for number in range(4):
            shell.probe(number)
        drop(shell, silent)
    assert shell.state(0) == "recovering"
    for source, frame in old:
        shell.take(0, shell.nodes[0].receive(shell.instant(), shell.ids[source], frame))
    assert shell.state(0) != "healthy" or shell.read(0) == ["x"]
    assert shell.state(0) == "recovering"


def test_a_member_that_names_what_nobody_has_does_not_hold_a_recovery_up():
    shell = mesh()
    shell.restart(0)
    for _ in range(20):
        pulse_with_liar(shell, 3)
    assert shell.state(0) == "healthy"


def pulse_with_liar(shell, liar):
    """As `Shell.pulse`, with a member whose frontiers say what it likes."""
    shell.now += 100 * MS
    for number in range(len(shell.nodes)):
        shell.probe(number)
    while shell.frames:
        source, target, frame = shell.frames.pop(0)
        if source == liar:
            frame = garbled(frame, random.Random(shell.now))
        shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))

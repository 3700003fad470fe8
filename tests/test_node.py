"""A node: what leaves it, in what order, what a client is told, and what a restart brings back."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.effects import Event, Reply, Send, SetTimer
from knhk_mesh.requests import ClientOperation, Digest, Read, Refusal, Status, Write, Written
from tests.mesh_shell import MS, Shell

OUTWARD = (Send, Reply, Event)


@given(st.lists(st.sampled_from(["write", "read", "timer", "durable"]), max_size=30))
def test_nothing_leaves_before_what_it_rests_on_is_durable(steps):
    shell = Shell(2, auto_durable=False)
    shell.durable(0)
    asked = 0
    for step, what in enumerate(steps):
        waiting = bool(shell.tokens[0])
        before = len(shell.replies[0]), len(shell.frames), len(shell.events[0])
        if what == "durable":
            shell.durable(0)
            assert len(shell.replies[0]) == asked, "every answer is out once all is durable"
            continue
        if what == "timer":
            shell.now += 100 * MS
            shell.take(0, shell.nodes[0].timer(shell.instant(), "gossip"))
        else:
            ask = Write((ClientOperation("o", "gset", "add", step),)) if what == "write" else Read("o", "gset")
            shell.take(0, shell.nodes[0].submit(shell.instant(), asked, ask))
            asked += 1
        if waiting or what == "write":
            assert (len(shell.replies[0]), len(shell.frames), len(shell.events[0])) == before
    shell.durable(0)
    assert [reply.request for reply in shell.replies[0]] == list(range(asked)), "answers keep their order"


def test_timers_do_not_wait_for_the_disk():
    shell = Shell(2, auto_durable=False)
    shell.add(0, 1)
    shell.now = shell.timers[0]
    effects = shell.nodes[0].timer(shell.instant(), "gossip")
    assert [type(effect) for effect in effects] == [SetTimer]


def test_a_crash_forgets_what_nobody_has_seen_and_nothing_else():
    shell = Shell(2, auto_durable=False)
    shell.durable(0)
    shell.add(0, 1)
    shell.durable(0)
    kept = list(shell.journals[0])
    shell.add(0, 2)
    assert len(shell.replies[0]) == 1, "the second was never acknowledged"
    shell.journals[0] = kept
    shell.nodes[0] = shell.boot(0, seed=1)
    shell.tokens[0].clear()
    shell.take(0, shell.nodes[0].start(shell.instant()))
    assert shell.read(0) == [1]
    slots = [commit.slot for commit in shell.nodes[0].replica.log.held.values()]
    shell.auto_durable = True
    shell.add(0, 3)
    assert len({*slots, *(one.slot for one in shell.nodes[0].replica.log.held.values())}) == 2


def test_a_restart_brings_back_every_object_and_the_incarnation():
    shell = Shell(1)
    for element in range(20):
        shell.add(0, element)
        shell.add(0, f"e{element}", kind="orset")
    shell.submit(0, Write((ClientOperation("o", "orset", "remove", "e3"),)))
    before = shell.digest(0)
    incarnation = shell.nodes[0].replica.incarnation
    shell.nodes[0] = shell.boot(0, seed=9)
    assert shell.digest(0) == before
    assert shell.nodes[0].replica.incarnation == incarnation


@pytest.mark.parametrize(
    ("operations", "says"),
    [
        ((), "at least one"),
        ((ClientOperation("o", "lww", "set", 1),), 'unknown type "lww"; one of gset, orset, pncounter'),
        ((ClientOperation("o", "gset", "remove", 1),), "unknown action"),
        ((ClientOperation("o", "gset", "add", True),), "operations[0]"),
        ((ClientOperation("o", "gset", "add", 2**63),), "operations[0]"),
        ((ClientOperation("o", "pncounter", "increment", 0),), "operations[0]"),
        ((ClientOperation("", "gset", "add", 1),), "name has 1 to 256 bytes"),
        ((ClientOperation("x" * 300, "gset", "add", 1),), "name has 1 to 256 bytes"),
        ((ClientOperation("o", "gset", "add", 1), ClientOperation("o", "gset", "add", 1.5)), "operations[1]"),
        (tuple(ClientOperation("o", "gset", "add", i) for i in range(1025)), "more than a commit holds"),
        (
            tuple(ClientOperation("o", "gset", "add", f"{i}" + "x" * 1000) for i in range(40)),
            "more than a commit holds",
        ),
    ],
)
def test_a_refusal_is_one_line_and_changes_nothing(operations, says):
    shell = Shell(1)
    shell.add(0, 7)
    before, journal = shell.digest(0), len(shell.journals[0])
    answer = shell.submit(0, Write(operations))
    assert isinstance(answer, Refusal) and says in answer.reason and "\n" not in answer.reason
    assert shell.digest(0) == before and len(shell.journals[0]) == journal


def test_one_commit_may_carry_many_operations():
    shell = Shell(1)
    answer = shell.submit(0, Write(tuple(ClientOperation("o", "gset", "add", i) for i in range(50))))
    assert isinstance(answer, Written) and shell.read(0) == list(range(50))
    assert len(shell.nodes[0].replica.log.held) == 1


def test_a_remove_is_resolved_to_the_dots_that_this_node_sees():
    shell = Shell(1)
    for _ in range(3):
        shell.add(0, "x", kind="orset")
    remove = Write((ClientOperation("o", "orset", "remove", "x"),))
    assert shell.submit(0, remove).resolved == ({"dots": 3},)
    assert shell.submit(0, remove).resolved == ({"dots": 0},)
    assert shell.read(0, kind="orset") == []


def test_a_read_tells_the_branch_heads_that_it_saw():
    shell = Shell(1)
    first = shell.add(0, 1).commit
    assert shell.submit(0, Read("o", "gset")).visible == (first,)
    second = shell.add(0, 2).commit
    assert shell.submit(0, Read("o", "gset")).visible == (second,)


def test_a_node_that_waits_for_its_disk_refuses_before_it_drowns():
    shell = Shell(1, auto_durable=False, requests_waiting_max=5)
    shell.add(0, 0)
    for element in range(20):
        shell.add(0, element)
    shell.durable(0)
    answers = [reply.result for reply in shell.replies[0]]
    assert any(isinstance(one, Refusal) and "overloaded" in one.reason for one in answers)
    assert isinstance(shell.add(0, 99), type(None)) and shell.durable(0), "and serves again afterwards"


def test_a_status_tells_how_the_node_sees_itself():
    shell = Shell(3)
    shell.add(0, 1)
    shell.round()
    status = shell.submit(0, Status())
    assert (status.peers, status.active, status.accepted, status.pending) == (2, 3, 1, 0)
    assert status.root == shell.digest(0).root and status.rounds >= 1 and not status.proven


def test_objects_that_were_only_looked_at_do_not_change_the_digest():
    shell = Shell(1)
    before = shell.submit(0, Digest())
    shell.submit(0, Read("nothing", "orset"))
    shell.submit(0, Write((ClientOperation("nothing", "orset", "remove", "x"),)))
    assert shell.submit(0, Digest()).digest == before.digest

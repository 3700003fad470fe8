"""A node: what leaves it, in what order, what a client is told, and what a restart brings back."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import NO_COMMIT, make_commit, make_proof
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Event, Instant, Persist, Reply, Send, SetTimer
from knhk_mesh.messages import Delta, Pull, Push, encode_frame
from knhk_mesh.node import Node
from knhk_mesh.requests import ClientOperation, Digest, Read, Refusal, Status, Write, Written
from tests.commit_graphs import NETWORK, NOW, START_MS, add, replica, signer
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


STRANGE = [add(number) for number in range(6)]
STEPS = st.sampled_from(["write", "refused", "read", "timer", "push", "pull", "delta", "garbage"]) | st.integers(1, 3)


def frames_of_a_peer():
    """One frame of each kind after another, as a peer with a history of its own would send them."""
    peer = replica("n1", 0)
    for sequence, operation in enumerate(STRANGE):
        commit = peer.write(NOW, [operation])
        heads, low, high = peer.heads.row(entries_max=99, start=b"")
        number = 3 * sequence
        yield {
            "push": encode_frame(Push(1, number, peer.log.root())),
            "pull": encode_frame(Pull(1, number + 1, peer.log.root(), heads, low, high, [], False)),
            "delta": encode_frame(Delta(1, number + 2, [commit.wire])),
            "garbage": b"garbage",
        }


FRAMES = list(frames_of_a_peer())


class Driven:
    """One node on a disk that is durable when told to be.  `out` is all that has left it, in order."""

    def __init__(self):
        config = NodeConfig(
            network=NETWORK, peers=(PeerConfig(signer("n1").agent_id, "n1"),), faulty=0, network_start_ms=START_MS
        )
        self.node = Node(config, signer("n0"), random=random.Random(7))
        self.now, self.taken, self.out, self.outstanding = NOW, 0, [], []
        self.take(self.node.start(self.now))

    def take(self, effects):
        """Note what leaves; nothing may while a Persist is outstanding, this call's own among them."""
        self.outstanding += [effect.token for effect in effects if isinstance(effect, Persist)]
        left = [effect for effect in effects if isinstance(effect, OUTWARD)]
        assert not (left and self.outstanding), "left before what it rests on is durable"
        self.out += left

    def step(self, what):
        self.taken += 1
        if what == "timer":
            self.now = Instant(self.now.monotonic + 100 * MS, self.now.wall + 100 * MS)
            self.take(self.node.timer(self.now, "gossip"))
        elif what in ("write", "refused", "read"):
            value = 1.5 if what == "refused" else self.taken
            ask = Read("o", "gset") if what == "read" else Write((ClientOperation("o", "gset", "add", value),))
            self.take(self.node.submit(self.now, self.taken, ask))
        else:
            frame = FRAMES[self.taken % len(FRAMES)][what]
            self.take(self.node.receive(self.now, signer("n1").agent_id, frame))

    def durable(self, count):
        """The disk has done `count` more Persists, and says so once, of the last."""
        done, self.outstanding = self.outstanding[:count], self.outstanding[count:]
        if done:
            self.out += self.node.persisted(self.now, done[-1])


@given(st.lists(STEPS, max_size=30))
def test_a_slow_disk_delays_what_leaves_and_changes_neither_it_nor_its_order(steps):
    slow, quick = Driven(), Driven()
    quick.durable(1)
    rests_on = [1] * len(quick.out)  # for each effect of the quick one, how many Persists must be done; 1: the start's
    asked, done = 1, 0
    for step in steps:
        if isinstance(step, int):
            done += len(slow.outstanding[:step])
            slow.durable(step)
        else:
            slow.step(step)
            quick.step(step)
            asked += len(quick.outstanding)
            quick.durable(1)
            rests_on += [asked] * (len(quick.out) - len(rests_on))
        assert slow.out == quick.out[: len(slow.out)]
        assert len(slow.out) == sum(needed <= done for needed in rests_on), "and nothing waits for longer than it must"
    slow.durable(len(slow.outstanding))
    assert slow.out == quick.out


def test_news_of_an_older_persist_sets_nothing_free():
    driven = Driven()
    driven.durable(1)
    token = driven.node.submit(driven.now, 1, Write((ClientOperation("o", "gset", "add", 1),)))[0].token
    assert driven.node.persisted(driven.now, token - 1) == []
    assert [type(effect) for effect in driven.node.persisted(driven.now, token)] == [Event, Reply]
    assert driven.node.persisted(driven.now, token) == [], "the same news twice is no news"
    assert driven.node.persisted(driven.now, token - 1) == []
    answered = driven.node.submit(driven.now, 2, Read("o", "gset"))
    assert [type(effect) for effect in answered] == [Reply], "and old news that comes late holds nothing back"


def test_what_an_overloaded_node_refuses_was_not_done():
    shell = Shell(1, auto_durable=False, requests_waiting_max=5)
    shell.durable(0)
    for element in range(20):
        shell.take(0, shell.nodes[0].submit(shell.instant(), element, add_to_set(element)))
    shell.durable(0)
    results = {reply.request: reply.result for reply in shell.replies[0]}
    written = [element for element in range(20) if isinstance(results[element], Written)]
    assert 0 < len(written) < 20
    assert shell.read(0) == written
    assert isinstance(shell.add(0, 99), type(None)) and shell.durable(0) and shell.read(0) == [*written, 99]


def add_to_set(element):
    return Write((ClientOperation("o", "gset", "add", element),))


def test_a_read_of_an_unknown_type_is_refused():
    answer = Shell(1).submit(0, Read("o", "lww"))
    assert isinstance(answer, Refusal) and "unknown type" in answer.reason


def test_a_status_counts_what_was_sent_and_what_was_turned_away():
    shell, sources = Shell(2), []
    shell.add(0, 1)
    shell.round(lose=lambda source, target: sources.append(source))
    shell.take(0, shell.nodes[0].receive(shell.instant(), b"\0" * 32, b""))
    shell.take(0, shell.nodes[0].receive(shell.instant(), shell.ids[1], b"garbage"))
    status = shell.submit(0, Status())
    assert status.rejected == {"stranger": 1, "garbage": 1}
    assert sum(status.sent.values()) == sources.count(0) and status.sent["push"] == status.rounds == 1
    assert (status.monotonic, status.wall) == shell.instant()
    shell.now += 60_000 * MS
    assert shell.submit(0, Status()).active == 1, "nobody but itself was heard for a minute"


def test_a_node_whose_key_is_proven_refuses_to_write_and_still_reads():
    shell = Shell(1)
    mine = shell.nodes[0].replica.write(shell.instant(), [])
    shell.nodes[0].replica.log.learn(shell.ids[0], make_proof(mine, twin_of(mine, shell.nodes[0].replica)))
    answer = shell.add(0, 1)
    assert isinstance(answer, Refusal) and "proven" in answer.reason
    assert shell.read(0) == []


def twin_of(commit, replica):
    return make_commit(
        signer("n0"), network=replica.network, incarnation=commit.incarnation, seq=commit.seq, prev=NO_COMMIT, deps=[],
        clock=commit.clock + 1,
    )  # fmt: skip

"""What a quorum read sees, and when it is refused."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.requests import Refusal, Value, Written
from tests.members import QUORUM_READ, garbled, isolate, mesh, result, stable
from tests.mesh_shell import MS


def test_a_quorum_read_sees_what_was_certified_though_nobody_has_gossiped_it():
    shell = mesh()
    assert isinstance(stable(shell, 0, "x", lose=isolate(3)), Written)
    assert shell.read(3) == []
    shell.submit(3, QUORUM_READ, 9)
    assert result(shell, 3, 9) is None
    shell.deliver()
    assert result(shell, 3, 9).value == ["x"]


@pytest.mark.parametrize("wiped", [(0,), (1, 2), (0, 4), (3, 4)], ids=str)
def test_a_certified_write_outlives_the_loss_of_any_f_disks(wiped):
    """n = 7: only five had it, and two of those lose their disks before anybody else hears of it."""
    shell = mesh(7)
    assert isinstance(stable(shell, 0, "x", lose=isolate(5, 6)), Written)
    shell.frames.clear()
    for number in wiped:
        shell.restart(number, wipe=True)
    shell.settle_down()
    for number in range(7):
        shell.submit(number, QUORUM_READ, 9)
    shell.deliver()
    assert [result(shell, number, 9).value for number in range(7)] == [["x"]] * 7


def test_a_quorum_read_that_nobody_answers_is_refused_in_the_end():
    shell = mesh(stable_timeout_ns=300 * MS)
    shell.submit(0, QUORUM_READ, 9)
    for _ in range(3):
        shell.pulse(lose=isolate(0))
        assert result(shell, 0, 9) is None
    shell.pulse(lose=isolate(0))
    assert isinstance(result(shell, 0, 9), Refusal)


def test_a_partitioned_node_refuses_a_quorum_read_at_once():
    shell = mesh()
    for _ in range(9):
        shell.pulse(lose=isolate(0))
    assert isinstance(shell.submit(0, QUORUM_READ, 9), Refusal)


def test_a_quorum_read_whose_questions_were_lost_asks_again():
    shell = mesh()
    shell.submit(0, QUORUM_READ, 9)
    shell.frames.clear()
    shell.pulse()
    assert isinstance(result(shell, 0, 9), Value)


def test_reads_beyond_the_limit_are_refused_and_the_others_answered():
    shell = mesh(requests_waiting_max=4)
    for request in range(10, 20):
        shell.submit(0, QUORUM_READ, request)
    shell.deliver()
    kinds = [type(result(shell, 0, request)) for request in range(10, 20)]
    assert kinds == [Value] * 4 + [Refusal] * 6


class Schedule:
    """Four members, one of which answers what it likes; random order, loss, time, writes and reads."""

    def __init__(self, seed):
        self.r = random.Random(seed)
        self.shell = mesh(seed=seed % 8)
        self.liar = self.r.randrange(4)
        self.correct = [number for number in range(4) if number != self.liar]
        self.written: dict[tuple[int, int], str] = {}  # (node, request) -> the element of a stable write
        self.needed: dict[tuple[int, int], set[str]] = {}  # (node, request) of a read -> what it has to see
        self.answered, self.seen = 0, 0

    def acknowledged(self):
        return {
            self.written[number, reply.request]
            for number in self.correct
            for reply in self.shell.replies[number]
            if isinstance(reply.result, Written) and (number, reply.request) in self.written
        }

    def step(self, at):
        shell, r = self.shell, self.r
        what = r.choices(["write", "read", "frame", "lose", "time"], [2, 3, 40, 1, 2])[0]
        number = r.choice(self.correct)
        if what == "write":
            self.written[number, at] = f"e{at}"
            shell.add(number, f"e{at}", level="stable", request=at)
        elif what == "read":
            self.needed[number, at] = self.acknowledged()
            shell.submit(number, QUORUM_READ, at)
        elif what == "time":
            shell.now += 100 * MS
            for one in range(4):
                shell.probe(one)
        elif shell.frames:
            source, target, frame = shell.frames.pop(r.randrange(len(shell.frames)))
            if source == self.liar:
                frame = garbled(frame, r)
            if what == "frame":
                shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))

    def check(self):
        for (number, request), needed in self.needed.items():
            answer = result(self.shell, number, request)
            if isinstance(answer, Value):
                assert needed <= set(answer.value), "a write that was acknowledged before the read began"
                self.answered += 1
                self.seen += len(needed)


@given(st.integers(0, 10**9))
def test_a_quorum_read_sees_every_stable_write_that_was_acknowledged_before_it_began(seed):
    schedule = Schedule(seed)
    for at in range(250):
        schedule.step(at)
    schedule.check()


def test_the_schedules_do_acknowledge_and_do_read():
    """The property above is about something."""
    answered = seen = 0
    for seed in range(5):
        schedule = Schedule(seed)
        for at in range(400):
            schedule.step(at)
        schedule.check()
        answered, seen = answered + schedule.answered, seen + schedule.seen
    assert answered > 10 and seen > 10

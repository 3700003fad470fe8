"""Members of a roster, whole nodes: what they certify, when they write, and what a quorum read sees."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import DEPENDENCIES_MAX, NO_COMMIT, make_commit
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Instant
from knhk_mesh.errors import ConfigError
from knhk_mesh.messages import (
    Ask,
    Certificates,
    Delta,
    Echo,
    Frontier,
    Probe,
    Propose,
    Votes,
    decode_frame,
    encode_frame,
)
from knhk_mesh.node import Node
from knhk_mesh.quorum import Certificate, Vote, check_certificate, read_statement, sign_roster, statement_of
from knhk_mesh.requests import (
    CertificateOf,
    Indefinite,
    Read,
    Refusal,
    Status,
    Value,
    Written,
)
from tests.commit_graphs import add, signer
from tests.mesh_shell import MS, Shell

QUORUM_READ = Read("o", "gset", "quorum")


def mesh(count=4, **options):
    """A mesh whose members are healthy and vote."""
    return Shell(count, roster=True, **options).settle_down()


def opened(frame):
    return decode_frame(frame, bytes_max=65536)


def result(shell, number, request):
    """What the request was answered with, or None."""
    found = [reply.result for reply in shell.replies[number] if reply.request == request]
    assert len(found) <= 1, "a request is answered once"
    return found[0] if found else None


def stable(shell, number, element, request=7, **delivery):
    """A stable write and all that comes of it at once."""
    shell.add(number, element, level="stable", request=request)
    shell.deliver(**delivery)
    return result(shell, number, request)


def isolate(*numbers):
    return lambda source, target: (source in numbers) != (target in numbers)


def roster(shell):
    return shell.config["roster"]


def given_votes(shell, number):
    """The statements that this node's disk says it has voted for."""
    return [
        read_statement(roster(shell).network, record.data) for record in shell.journals[number] if record.kind == "vote"
    ]


# Stable writes


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_a_stable_write_is_answered_with_a_certificate_of_its_own_commit(count):
    shell = mesh(count)
    answer = stable(shell, 0, "x")
    assert isinstance(answer, Written) and answer.certificate is not None
    statement = check_certificate(roster(shell), answer.certificate)
    assert statement.id == answer.commit and statement.author == shell.ids[0]
    shell.pulse()
    for number in range(count):
        assert shell.submit(number, CertificateOf(answer.commit), 90) == answer.certificate, "and everybody keeps it"


def test_f_members_that_are_gone_keep_nobody_from_certifying_and_one_more_does():
    shell = mesh(7)
    assert isinstance(stable(shell, 0, "x", lose=isolate(5, 6)), Written)
    assert stable(shell, 0, "y", request=8, lose=isolate(4, 5, 6)) is None


def test_what_was_lost_on_the_way_is_proposed_again():
    shell = mesh()
    assert stable(shell, 0, "x", lose=lambda source, target: True) is None
    shell.pulse()
    assert isinstance(result(shell, 0, 7), Written)


def test_a_voter_that_lacks_the_past_asks_for_it_and_then_votes():
    shell = mesh()
    for element in range(20):
        shell.add(1, element)
    shell.round(lose=lambda source, target: {source, target} != {0, 1})
    assert shell.read(0) == list(range(20)) and shell.read(2) == []
    assert isinstance(stable(shell, 0, "x"), Written), "in one go: proposed, pulled, delivered, voted"
    assert [statement.author for statement in given_votes(shell, 2)] == [shell.ids[0]]


@pytest.mark.parametrize("node", [0, 1], ids=["author", "voter"])
def test_a_vote_stands_behind_its_commit_in_the_journal_and_leaves_when_both_are_durable(node):
    shell = mesh()
    shell.auto_durable = False
    shell.add(0, "x", level="stable")
    if node == 1:
        shell.durable(0)
        shell.deliver(lose=lambda source, target: target != 1)
    (records,) = shell.unsaved[node]
    assert [record.kind for record in records] == ["commit", "vote"]
    assert shell.frames == [], "neither a vote nor a proposal before"
    shell.durable(node)
    kind, target = (Propose, {1, 2, 3}) if node == 0 else (Votes, {0})
    assert {to for _, to, frame in shell.frames if isinstance(opened(frame), kind)} == target


def test_a_vote_for_what_an_earlier_write_of_a_slow_disk_holds_waits_for_both():
    """The commit came by gossip and is in a Persist that is not done; the proposal comes after it."""
    shell = mesh()
    shell.auto_durable = False
    wire = shell.nodes[0].replica.write(shell.instant(), [add(1)]).wire
    inject(shell, 0, 1, lambda session, number: Delta(session, number, [wire]))
    inject(shell, 0, 1, lambda session, number: Propose(session, number, [wire]))
    kinds = [[record.kind for record in records] for records in shell.unsaved[1]]
    assert kinds == [["commit"], ["vote"]] and shell.frames == []
    first, second = shell.tokens[1]
    shell.take(1, shell.nodes[1].persisted(shell.instant(), first))
    assert shell.frames == []
    shell.take(1, shell.nodes[1].persisted(shell.instant(), second))
    assert [type(opened(frame)) for _, _, frame in shell.frames] == [Votes]


def test_a_certificate_is_durable_before_the_client_hears_of_it():
    shell = mesh()
    shell.add(0, "x", level="stable", request=7)
    votes = []
    while shell.frames:
        source, target, frame = shell.frames.pop(0)
        if target == 0:
            votes.append((source, frame))
        else:
            shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))
    shell.auto_durable = False
    for source, frame in votes:
        shell.take(0, shell.nodes[0].receive(shell.instant(), shell.ids[source], frame))
    assert [record.kind for records in shell.unsaved[0] for record in records] == ["certificate"]
    assert result(shell, 0, 7) is None
    shell.durable(0)
    assert isinstance(result(shell, 0, 7), Written)


def test_a_member_that_has_voted_votes_for_no_other_commit_of_the_slot_after_a_restart():
    shell = mesh()
    answer = stable(shell, 0, "x")
    assert isinstance(answer, Written)
    shell.restart(1)
    for _ in range(3):
        shell.pulse()
    mine = shell.nodes[1].replica.log.held[answer.commit]
    rival = make_commit(
        signer("n0"), network=shell.nodes[1].replica.network, incarnation=mine.incarnation, seq=mine.seq,
        prev=NO_COMMIT, deps=[], clock=mine.clock + 1, operations=[add(99)],
    )  # fmt: skip
    assert shell.voting(1) == "votes"
    voter = shell.nodes[1].member.voter
    assert voter.vote(rival) is None and voter.vote(mine) is not None


def test_certificates_outlive_a_restart_of_a_node():
    shell = mesh()
    answer = stable(shell, 0, "x")
    shell.pulse()
    for number in (0, 1):
        shell.restart(number)
        assert shell.submit(number, CertificateOf(answer.commit), 90) == answer.certificate


def test_a_wiped_member_gives_no_vote_and_its_own_writes_are_certified_by_the_others():
    shell = mesh()
    stable(shell, 0, "x")
    shell.restart(1, wipe=True)
    shell.settle_down()
    assert shell.voting(1) == "abstains"
    assert isinstance(stable(shell, 1, "y", request=8), Written)
    assert isinstance(stable(shell, 0, "z", request=9), Written)
    assert given_votes(shell, 1) == []
    certificates = [result(shell, 1, 8).certificate, result(shell, 0, 9).certificate]
    assert all(shell.ids[1] not in dict(one.votes) for one in certificates)


@pytest.mark.parametrize(("count", "silent"), [(2, ()), (3, ()), (4, (3,)), (7, (5, 6))])
def test_a_member_that_is_enrolled_after_its_write_began_still_votes_for_it(count, silent):
    """At a start it is healthy one round of probes before it is enrolled; f members say nothing."""
    shell = Shell(count, roster=True)
    cut = isolate(*silent)
    while shell.state(0) != "healthy":
        shell.pulse(lose=cut)
    assert shell.voting(0) == "enrolling"
    stable(shell, 0, "x", lose=cut)
    for _ in range(20):
        shell.pulse(lose=cut)
    assert shell.voting(0) == "votes"
    assert isinstance(result(shell, 0, 7), Written)


def test_two_certificates_of_one_slot_are_told_of_with_the_names_of_who_signed_both():
    """Beyond f: 2 and 3 sign whatever the author shows them."""
    shell = mesh()
    answer = stable(shell, 0, "x")
    mine = shell.nodes[1].replica.log.held[answer.commit]
    rival = make_commit(
        signer("n0"), network=shell.nodes[1].replica.network, incarnation=mine.incarnation, seq=mine.seq,
        prev=mine.prev, deps=mine.deps, clock=mine.clock + 1, operations=[add(99)],
    )  # fmt: skip
    said = statement_of(roster(shell).network, 1, rival)
    votes = sorted((shell.ids[number], signer(f"n{number}").sign(said)) for number in (0, 2, 3))
    inject(shell, 2, 1, lambda s, q: Certificates(s, q, [Certificate(said, tuple(votes))]))
    shell.pulse()
    (conflict,) = shell.told(1, "conflict")
    both = set(dict(votes)) & set(dict(answer.certificate.votes))
    assert conflict["signers"] == sorted(one.hex() for one in both) and len(both) > 1


class Equivocation:
    """The last member signs two commits of one slot and shows either to whom it likes, also to who has crashed since.

    It confirms any incarnation to anybody.  Of seven, the first member loses its disk now and then; of four, nobody.
    Disks are slow, and frames come in any order or not at all.
    """

    def __init__(self, count, seed):
        self.r = random.Random(seed)
        self.shell = mesh(count)
        self.liar, self.wiped = count - 1, [0] if count == 7 else []
        network = self.shell.nodes[0].replica.network
        clock = self.shell.config.get("network_start_ms", 1_767_225_600_000) << 16
        self.rivals = [
            make_commit(
                signer(f"n{self.liar}"), network=network, incarnation=bytes(16), seq=0, prev=NO_COMMIT, deps=[],
                clock=clock + 1, operations=[add(value)],
            ).wire
            for value in (1, 2)
        ]  # fmt: skip
        self.votes: dict[int, set[bytes]] = {number: set() for number in range(count - 1)}
        self.shell.auto_durable = False

    def step(self):
        shell, r = self.shell, self.r
        kinds = ["propose", "frame", "lose", "durable", "talk", "restart", "wipe"]
        what = r.choices(kinds, [12, 30, 2, 8, 6, 4, 2 * len(self.wiped)])[0]
        number = r.randrange(self.liar)
        if what == "propose":
            wire = r.choice(self.rivals)
            inject(shell, self.liar, number, lambda session, at: Propose(session, at, [wire]))
        elif what in ("frame", "lose") and shell.frames:
            self.pass_on(shell.frames.pop(r.randrange(len(shell.frames))), lost=what == "lose")
        elif what == "durable":
            shell.durable(r.choice([number, self.liar]))
        elif what == "talk":
            shell.now += 100 * MS
            for one in range(self.liar):
                shell.probe(one)
            for _ in range(r.randrange(2 * len(shell.frames) + 1)):
                if shell.frames:
                    self.pass_on(shell.frames.pop(0))
                shell.durable(self.liar)
        elif what in ("restart", "wipe"):
            shell.restart(0 if what == "wipe" else number, wipe=what == "wipe")

    def pass_on(self, sent, *, lost=False):
        source, target, frame = sent
        shell = self.shell
        self.look(source, frame)
        if lost or (target == self.liar and not isinstance(opened(frame), Probe)):
            return
        frame = self.lie(target, frame) if source == self.liar else frame
        shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))

    def lie(self, target, frame):
        """An echo that says what `target` wants to hear."""
        said = opened(frame)
        if not isinstance(said, Echo):
            return frame
        return encode_frame(Echo(said.session, said.sequence, said.nonce, self.shell.nodes[target].replica.incarnation))

    def look(self, source, frame):
        said = opened(frame)
        if isinstance(said, Votes) and source != self.liar:
            self.votes[source] |= {vote.statement[-32:] for vote in said.votes}

    def run(self, steps):
        for _ in range(steps):
            self.step()
        for source, _, frame in self.shell.frames:
            self.look(source, frame)
        return self.votes


@pytest.mark.parametrize("count", [4, 7])
@given(st.integers(0, 10**9))
def test_no_correct_member_ever_votes_for_two_commits_of_a_slot(count, seed):
    votes = Equivocation(count, seed).run(200)
    assert all(len(ids) <= 1 for ids in votes.values())


@pytest.mark.parametrize("count", [4, 7])
def test_the_equivocations_do_get_votes_and_for_both(count):
    """The property above is about something."""
    seen = [Equivocation(count, seed).run(300) for seed in range(30)]
    assert any(len(set().union(*votes.values())) == 2 for votes in seen)


def inject(shell, source, target, make):
    """A frame of `source`'s to `target`, with its session and next number; what comes of it waits in `frames`."""
    outbox = shell.nodes[source].outbox
    frame = encode_frame(make(outbox.session, outbox.next(shell.ids[target])))
    shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))


# The gate


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


def test_too_many_open_writes_are_answered_as_indefinite_and_not_held():
    shell = mesh(requests_waiting_max=3)
    for request in range(10, 16):
        shell.add(0, request, level="stable", request=request)
        shell.frames.clear()
    answers = [result(shell, 0, request) for request in range(10, 16)]
    assert [type(one) for one in answers] == [type(None)] * 3 + [Indefinite] * 3


def test_nothing_is_kept_of_a_request_that_was_answered():
    shell = mesh(stable_timeout_ns=300 * MS)
    for request in range(50):
        stable(shell, 0, request, request=request, lose=isolate(0))
    for _ in range(12):
        shell.pulse(lose=isolate(0))
    assert {type(result(shell, 0, request)) for request in range(50)} == {Indefinite}
    assert shell.nodes[0].member._requests == {}
    assert len(shell.nodes[0]._gated) == 0


# Recovery


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


def drop(shell, which):
    """Deliver all but what `which` (source, target, opened frame) names."""
    while shell.frames:
        source, target, frame = shell.frames.pop(0)
        if not which(source, target, opened(frame)):
            shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[source], frame))


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


def garbled(frame, r):
    """The frame, or if it is a frontier one that says something else."""
    said = opened(frame)
    if not isinstance(said, Frontier):
        return frame
    ids = r.choice([[], [r.randbytes(32) for _ in range(3)], [*said.ids, r.randbytes(32)], said.ids[:1]])
    return encode_frame(Frontier(said.session, said.sequence, said.nonce, ids))


# Quorum reads


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


# What a member is, and what it is not


def test_a_member_is_asked_once_a_round_of_probes():
    shell = Shell(4, roster=True)
    shell.now = max(shell.probes)
    shell.probe(0)
    asked = [target for _, target, frame in shell.frames if isinstance(opened(frame), Ask)]
    assert sorted(asked) == [1, 2, 3]


def test_what_a_slow_disk_held_back_is_no_replay():
    shell = mesh()
    shell.auto_durable = False
    shell.add(0, "x", level="stable", request=7)
    for _ in range(100):
        shell.pulse()
        for other in (1, 2, 3):
            shell.durable(other)
    shell.auto_durable = True
    shell.durable(0)
    shell.deliver()
    assert shell.nodes[1].validator.rejected["replay"] == 0


def test_a_node_whose_own_key_is_proven_still_answers_who_asks_for_a_wide_frontier():
    """Somebody else has its key; another member has begun more chains than one commit can name."""
    shell = mesh()
    replica = shell.nodes[0].replica
    mine = replica.write(shell.instant(), [add(1)])
    fields = {"network": replica.network, "seq": 0, "prev": NO_COMMIT, "deps": [], "clock": mine.clock + 1}
    replica.merge(shell.instant(), [make_commit(signer("n0"), incarnation=mine.incarnation, **fields).wire])
    assert set(replica.log.proofs) == {shell.ids[0]}
    for number in range(DEPENDENCIES_MAX + 1):
        later = Instant(shell.now + number * 20_000 * MS, 0)
        replica.merge(later, [make_commit(signer("n1"), incarnation=number.to_bytes(16, "big"), **fields).wire])
    assert len(replica.log.frontier) > DEPENDENCIES_MAX
    append, written = replica._append, []

    def counted(*arguments):
        written.append(arguments)
        assert len(written) < 20, "without an end"
        return append(*arguments)

    replica._append = counted
    inject(shell, 1, 0, lambda session, number: Ask(session, number, bytes(8)))
    assert any(isinstance(opened(frame), Frontier) for _, _, frame in shell.frames)


def test_a_later_roster_takes_in_who_was_wiped_under_a_former_one():
    shell = mesh()
    shell.restart(2, wipe=True)
    shell.settle_down()
    assert shell.voting(2) == "abstains"
    former = roster(shell)
    shell.config["roster"] = sign_roster(
        signer("authority"), network=former.network, epoch=2, faulty=former.faulty, members=former.members
    )
    for number in range(4):
        shell.restart(number)
    shell.settle_down()
    assert shell.voting(2) == "votes"


def test_a_node_without_a_roster_certifies_nothing_and_knows_no_quorum():
    shell = Shell(2)
    assert isinstance(shell.add(0, "x", level="stable"), Refusal)
    assert isinstance(shell.submit(0, QUORUM_READ), Refusal)
    assert isinstance(shell.submit(0, CertificateOf(bytes(32))), Refusal)
    assert isinstance(shell.add(0, "x"), Written)
    assert shell.voting(0) == "no roster"


def test_a_node_whose_key_is_no_member_is_refused():
    """Its configuration names three of four members as peers, and its key is not the fourth's."""
    shell = Shell(4, roster=True)
    peers = tuple(PeerConfig(one, "addr") for one in shell.ids[1:])
    config = NodeConfig(network="shell", peers=peers, **shell.config)
    with pytest.raises(ConfigError):
        Node(config, signer("somebody else"), random=random.Random(1))


def test_a_status_tells_of_partition_and_voting():
    shell = mesh()
    status = shell.submit(0, Status())
    assert (status.partition.state, status.partition.reachable, status.partition.required) == ("healthy", 4, 3)
    assert status.voting == "votes"


def test_a_bad_vote_is_charged_to_who_sent_it():
    shell = mesh()
    for _ in range(6):
        inject(shell, 1, 0, lambda s, q: Votes(s, q, [Vote(bytes(144), bytes(64))]))
    assert not shell.nodes[0].registry.admits(shell.ids[1])
    assert shell.nodes[0].validator.rejected["vote-network"] == 6


def test_a_vote_of_another_epoch_counts_for_nothing_and_is_no_offence():
    shell = mesh()
    shell.add(0, "x", level="stable", request=7)
    shell.frames.clear()
    commit = next(iter(shell.nodes[0].replica.log.held.values()))
    said = statement_of(roster(shell).network, 2, commit)
    for number in (1, 2, 3):
        vote = Vote(said, signer(f"n{number}").sign(said))
        for _ in range(6):
            inject(shell, number, 0, lambda session, at, vote=vote: Votes(session, at, [vote]))
    assert result(shell, 0, 7) is None
    assert all(shell.nodes[0].registry.admits(shell.ids[number]) for number in (1, 2, 3))


BYTES = st.binary(max_size=40)
IDS = st.binary(min_size=32, max_size=32)
VOTES = st.builds(Vote, st.binary(min_size=144, max_size=144) | BYTES, st.binary(min_size=64, max_size=64) | BYTES)
CERTIFICATES = st.builds(Certificate, BYTES, st.lists(st.tuples(IDS, BYTES), max_size=5).map(tuple))
HOSTILE = st.one_of(
    st.builds(Probe, st.just(0), st.just(0), st.binary(min_size=8, max_size=8), st.binary(min_size=16, max_size=16)),
    st.builds(Echo, st.just(0), st.just(0), st.binary(min_size=8, max_size=8), st.binary(min_size=16, max_size=16)),
    st.builds(Ask, st.just(0), st.just(0), st.binary(min_size=8, max_size=8)),
    st.builds(Frontier, st.just(0), st.just(0), st.binary(min_size=8, max_size=8), st.lists(IDS, max_size=3)),
    st.builds(Votes, st.just(0), st.just(0), st.lists(VOTES, max_size=3)),
    st.builds(Certificates, st.just(0), st.just(0), st.lists(CERTIFICATES, max_size=3)),
    st.builds(Propose, st.just(0), st.just(0), st.just([])),
)
BESET = mesh()


@given(HOSTILE)
def test_no_frame_of_a_member_makes_another_one_fall_or_believe_it(frame):
    """One mesh for all examples; the liar's standing and allowance are mended each time, so that it is heard."""
    BESET.nodes[0].validator._allowances.clear()
    BESET.nodes[0].registry.update_reputation(BESET.ids[3], 1000, now=BESET.now)
    BESET.frames.clear()
    held = len(BESET.nodes[0].member.ballots.certificates)
    state = BESET.nodes[0].member.detector.status(BESET.now)
    fields = [getattr(frame, name) for name in frame.__struct_fields__[2:]]
    inject(BESET, 3, 0, lambda session, number: type(frame)(session, number, *fields))
    assert len(BESET.nodes[0].member.ballots.certificates) == held
    assert BESET.nodes[0].member.detector.status(BESET.now) == state

"""Stable writes, whole nodes: what members vote for, and when a write is certified."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import NO_COMMIT, make_commit
from knhk_mesh.messages import Certificates, Delta, Echo, Probe, Propose, Votes, encode_frame
from knhk_mesh.quorum import Certificate, check_certificate, statement_of
from knhk_mesh.requests import CertificateOf, Kept, Written
from knhk_mesh.security import VOTES_BURST
from tests.commit_graphs import add, signer
from tests.members import given_votes, inject, isolate, mesh, opened, result, roster, stable
from tests.mesh_shell import MS, Shell


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 10])
def test_a_stable_write_is_answered_with_a_certificate_of_its_own_commit(count):
    shell = mesh(count)
    answer = stable(shell, 0, "x")
    assert isinstance(answer, Written) and answer.certificate is not None
    statement = check_certificate(roster(shell), answer.certificate)
    assert statement.id == answer.commit and statement.author == shell.ids[0]
    shell.pulse()
    for number in range(count):
        assert shell.submit(number, CertificateOf(answer.commit), 90) == Kept(answer.certificate), (
            "and everybody keeps it"
        )


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


def test_a_member_that_proposes_without_end_gets_votes_at_a_rate_and_others_all_of_theirs():
    shell = mesh()
    for number in range(40):
        assert isinstance(stable(shell, 0, f"x{number}", request=number), Written)
    log = shell.nodes[0].replica.log
    commits = [log.held[one].wire for one in log.accepted if log.held[one].author == shell.ids[0]][-40:]
    for _ in range(2 * VOTES_BURST // 40):
        inject(shell, 0, 1, lambda session, sequence: Propose(session, sequence, commits))
    votes = [opened(frame) for _, target, frame in shell.frames if target == 0]
    assert VOTES_BURST - 40 <= sum(len(one.votes) for one in votes if isinstance(one, Votes)) <= VOTES_BURST
    shell.frames.clear()
    assert isinstance(stable(shell, 2, "y"), Written)
    shell.pulse()
    assert isinstance(stable(shell, 0, "z", request=99), Written), "it delays, and never refuses for ever"
    assert len(given_votes(shell, 1)) == 42


def test_certificates_outlive_a_restart_of_a_node():
    shell = mesh()
    answer = stable(shell, 0, "x")
    shell.pulse()
    for number in (0, 1):
        shell.restart(number)
        assert shell.submit(number, CertificateOf(answer.commit), 90) == Kept(answer.certificate)


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

"""What a member of a roster is, and what it is not: enrolment, rosters, hostile bytes."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.commits import DEPENDENCIES_MAX, NO_COMMIT, make_commit
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Instant
from knhk_mesh.errors import ConfigError
from knhk_mesh.messages import Ask, Certificates, Echo, Frontier, Probe, Propose, Votes
from knhk_mesh.node import Node
from knhk_mesh.quorum import Certificate, Vote, sign_roster, statement_of
from knhk_mesh.requests import CertificateOf, Kept, Refusal, Status, Written
from tests.commit_graphs import add, signer
from tests.members import QUORUM_READ, inject, mesh, opened, result, roster
from tests.mesh_shell import MS, Shell


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


def test_a_frontier_that_is_too_wide_is_gathered_before_it_is_told():
    """Cut off, it would count as all that this node has, and a quorum read would miss the newest."""
    shell = mesh()
    replica = shell.nodes[0].replica
    first = replica.write(shell.instant(), [])
    fields = {"network": replica.network, "seq": 0, "prev": NO_COMMIT, "deps": [], "clock": first.clock + 1}
    for number in range(DEPENDENCIES_MAX + 5):
        later = Instant(shell.now + number * 20_000 * MS, 0)
        replica.merge(later, [make_commit(signer("n1"), incarnation=number.to_bytes(16, "big"), **fields).wire])
    assert len(replica.log.frontier) > DEPENDENCIES_MAX
    inject(shell, 1, 0, lambda session, number: Ask(session, number, bytes(8)))
    (told,) = (one for _, _, frame in shell.frames if isinstance(one := opened(frame), Frontier))
    past, stack = set(), list(told.ids)
    while stack:
        one = stack.pop()
        if one not in past:
            past.add(one)
            stack += replica.log.held[one].parents
    assert past == set(replica.log.accepted)


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
    assert shell.submit(0, CertificateOf(bytes(32))) == Kept(None)
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
    assert set(status.round_trips) == set(shell.ids[1:])
    assert all(one.count >= 1 and one.min_ns <= one.mean_ns <= one.max_ns for one in status.round_trips.values())


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

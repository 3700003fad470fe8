"""Votes are given once a slot, durably, and to what is accepted; certificates come of q of them and are kept."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.ballots import ASKED_A_PEER_MAX, Ballots, Voter
from knhk_mesh.commits import NO_COMMIT, make_commit, network_id
from knhk_mesh.effects import Record
from knhk_mesh.enrolment import Enrolment
from knhk_mesh.errors import BadCertificate, ConfigError
from knhk_mesh.quorum import Certificate, Vote, check_certificate, read_statement, sign_roster, statement_of
from tests.commit_graphs import NETWORK, START_MS, add, replica, send, signer

SIGNERS = sorted((signer(f"b{number}") for number in range(4)), key=lambda one: one.agent_id)
IDS = [one.agent_id for one in SIGNERS]
NET = network_id(NETWORK)
AUTHORITY = signer("authority")
ROSTER = sign_roster(AUTHORITY, network=NET, epoch=1, faulty=1, members=IDS)
INCARNATION = b"i" * 16


def branch(author, *values, prev=None):
    """Commits of IDS[author], one after another, in one incarnation, whatever it has signed before."""
    made = []
    for value in values:
        made.append(
            make_commit(
                SIGNERS[author],
                network=NET,
                incarnation=INCARNATION,
                seq=0 if prev is None else prev.seq + 1,
                prev=NO_COMMIT if prev is None else prev.id,
                deps=[],
                clock=(START_MS << 16) + value if prev is None else prev.clock + 1,
                operations=[add(value)],
            )
        )
        prev = made[-1]
    return made


class Booth:
    """The voter of member 0, its journal, and the replica that says what is accepted."""

    def __init__(self, *, roster=ROSTER, enrolled=True, records=()):
        self.replica = replica("voter", 0)
        self.journal: list[Record] = []
        self.enrolment = Enrolment(epoch=1, members=4, quorum_size=3, journal=self.journal)
        self.voter = Voter(roster, SIGNERS[0], self.replica.log, self.enrolment, journal=self.journal)
        for record in records:
            self.voter.recover(record.data)
        if enrolled:
            self.enrol()

    def enrol(self):
        for peer in IDS[1:3]:
            self.enrolment.told(peer, INCARNATION, INCARNATION)

    def ids(self):
        """What the votes that are due are for."""
        return [
            read_statement(NET, vote.statement).id for _, votes in self.voter.due(lambda author: True) for vote in votes
        ]


FIRST, RIVAL = branch(1, 1)[0], branch(1, 2)[0]


def test_a_vote_says_the_statement_and_is_written_down():
    booth = Booth()
    vote = booth.voter.vote(FIRST)
    assert vote == Vote(statement_of(NET, 1, FIRST), SIGNERS[0].sign(statement_of(NET, 1, FIRST)))
    assert booth.journal == [Record("vote", vote.statement)]


def test_who_asks_again_gets_the_same_bytes_and_nothing_is_written_twice():
    booth = Booth()
    assert len({(vote.statement, vote.signature) for vote in (booth.voter.vote(FIRST) for _ in range(5))}) == 1
    assert len(booth.journal) == 1


@given(st.lists(st.sampled_from(["first", "rival", "restart", "crash"]), max_size=20))
def test_a_slot_s_vote_is_for_one_commit_whatever_comes_and_across_restarts(steps):
    """A crash forgets what was not durable yet, and with it went every trace: a vote leaves behind its record."""
    booth, disk, left = Booth(), [], set()
    for step in steps:
        if step in ("first", "rival"):
            vote = booth.voter.vote({"first": FIRST, "rival": RIVAL}[step])
            if vote is not None:
                disk += booth.journal
                booth.journal.clear()
                left.add(read_statement(NET, vote.statement).id)
        else:
            if step == "crash":
                booth.voter.vote(RIVAL)  # never durable, so never sent
                booth.journal.clear()
            booth = Booth(records=disk)
        assert len(left) <= 1


@pytest.mark.parametrize("epoch", [1, 2, 3])
def test_a_vote_binds_in_every_epoch_or_two_could_certify_two_commits_of_one_slot(epoch):
    roster = sign_roster(AUTHORITY, network=NET, epoch=2, faulty=1, members=IDS)
    booth = Booth(roster=roster, records=[Record("vote", statement_of(NET, epoch, FIRST))])
    assert booth.voter.vote(RIVAL) is None
    vote = booth.voter.vote(FIRST)
    assert vote is not None and read_statement(NET, vote.statement).epoch == 2, "for the same one it may vote again"


@pytest.mark.parametrize("data", [b"", bytes(144), statement_of(network_id("another"), 1, FIRST)])
def test_a_record_that_is_no_vote_of_this_network_is_refused(data):
    with pytest.raises(ConfigError):
        Booth(records=[Record("vote", data)])


def test_who_is_not_enrolled_gives_no_vote_and_promises_none():
    booth = Booth(enrolled=False)
    assert booth.voter.vote(FIRST) is None and booth.journal == []
    booth.enrol()
    assert booth.voter.vote(RIVAL) is not None, "what was asked before binds to nothing"


def test_a_proposal_is_voted_for_once_it_is_accepted_with_its_past():
    booth = Booth()
    first, second = branch(1, 1, 2)
    booth.voter.asked(IDS[1], [second.id])
    send(booth.replica, [second])
    assert booth.ids() == [] and booth.voter.lacks(IDS[1]) == [second.id]
    send(booth.replica, [first])
    assert booth.ids() == [second.id] and booth.voter.lacks(IDS[1]) == []
    assert booth.ids() == [], "each is given when it is asked for"
    booth.voter.asked(IDS[1], [second.id])
    assert booth.ids() == [second.id]


def test_nobody_can_propose_another_author_s_commit():
    booth = Booth()
    (commit,) = branch(1, 1)
    send(booth.replica, [commit])
    booth.voter.asked(IDS[2], [commit.id])
    assert booth.ids() == [] and booth.journal == [] and booth.voter.waiting == 0


def test_the_second_branch_of_a_fork_gets_no_vote():
    booth = Booth()
    send(booth.replica, [FIRST])
    booth.voter.asked(IDS[1], [FIRST.id])
    assert booth.ids() == [FIRST.id]
    send(booth.replica, [RIVAL])
    booth.voter.asked(IDS[1], [RIVAL.id])
    assert booth.ids() == [] and len(booth.journal) == 1


def test_what_is_held_and_not_accepted_gets_no_vote_though_its_slot_has_none():
    booth = Booth()
    send(booth.replica, [FIRST, RIVAL])
    assert RIVAL.id in booth.replica.log.held and RIVAL.id not in booth.replica.log.accepted
    booth.voter.asked(IDS[1], [RIVAL.id])
    assert booth.ids() == [] and booth.journal == []


def test_proposals_that_cannot_be_voted_for_are_bounded_a_peer_and_the_oldest_goes():
    booth = Booth()
    made_up = [bytes([number % 256, number // 256]) * 16 for number in range(ASKED_A_PEER_MAX + 5)]
    booth.voter.asked(IDS[1], made_up)
    booth.voter.asked(IDS[2], made_up[:3])
    assert booth.voter.lacks(IDS[1]) == made_up[5:]
    assert booth.voter.lacks(IDS[2]) == made_up[:3], "a flood crowds out the flooder's own"
    assert booth.voter.waiting == ASKED_A_PEER_MAX + 3


class Author:
    """The ballots of member 0 for its own commits."""

    def __init__(self):
        self.journal, self.events = [], []
        self.ballots = Ballots(ROSTER, journal=self.journal, events=self.events)

    def begin(self, commit, now=0, own=True):
        return self.ballots.begin(now, commit, vote_of(0, commit) if own else None, IDS[0])


def vote_of(member, commit, *, epoch=1):
    said = statement_of(NET, epoch, commit)
    return Vote(said, SIGNERS[member].sign(said))


def certificate_of(commit, voters):
    votes = tuple((IDS[voter], vote_of(voter, commit).signature) for voter in sorted(voters))
    return Certificate(statement_of(NET, 1, commit), votes)


OWN, LATER = branch(0, 1, 2)
OWN_RIVAL = branch(0, 3)[0]


@pytest.mark.parametrize(("own", "others"), [(True, 2), (False, 3)])
def test_q_votes_of_distinct_members_self_among_them_are_a_certificate(own, others):
    author = Author()
    assert author.begin(OWN, own=own) is None
    complete = []
    for member in range(1, 1 + others):
        assert not complete
        for _ in range(3):  # however often each sends it
            complete += author.ballots.take(IDS[member], [vote_of(member, OWN)])[0]
    (certificate,) = complete
    assert check_certificate(ROSTER, certificate).id == OWN.id
    assert author.ballots.certificates == {OWN.id: certificate}
    assert [record.kind for record in author.journal] == ["certificate"]
    assert [event.name for event in author.events] == ["certified"]
    assert len(author.ballots) == 0


def test_a_mesh_of_one_certifies_at_once():
    alone = sign_roster(AUTHORITY, network=NET, epoch=1, faulty=0, members=IDS[:1])
    ballots = Ballots(alone, journal=[], events=[])
    certificate = ballots.begin(0, OWN, vote_of(0, OWN), IDS[0])
    assert certificate is not None and check_certificate(alone, certificate).id == OWN.id


@pytest.mark.parametrize(
    ("voter", "vote", "reason"),
    [
        (2, vote_of(1, OWN), "signature"),
        (1, vote_of(1, OWN, epoch=2), "epoch"),
        (1, Vote(b"", b""), "layout"),
        (1, Vote(statement_of(network_id("another"), 1, OWN), bytes(64)), "network"),
        (1, Vote(vote_of(1, OWN).statement, b""), "signature"),
        (None, vote_of(1, OWN), "member"),
    ],
)
def test_a_vote_that_counts_for_nothing_is_named_and_hinders_no_other(voter, vote, reason):
    author = Author()
    author.begin(OWN)
    foreign = signer("foreigner").agent_id
    assert author.ballots.take(foreign if voter is None else IDS[voter], [vote]) == ([], [reason])
    complete, bad = author.ballots.take(IDS[3], [vote, vote_of(3, OWN)])
    assert bad and not complete
    assert author.ballots.take(IDS[1], [vote_of(1, OWN)])[0], "self, 3 and 1"


@pytest.mark.parametrize("commit", [LATER, OWN_RIVAL], ids=["another slot", "another commit of the slot"])
def test_a_vote_for_another_commit_counts_for_none_and_is_no_fault(commit):
    author = Author()
    author.begin(OWN)
    assert author.ballots.take(IDS[1], [vote_of(1, commit)]) == ([], [])
    assert author.ballots.lacking(IDS[1]) == [OWN]


def test_a_vote_for_another_slot_in_the_name_of_this_id_is_charged_and_costs_no_signature():
    """Its signature is good, so it could be sent again and again, and each time be verified for nothing."""
    verified = []
    ballots = Ballots(ROSTER, journal=[], events=[], verify=lambda *parts: verified.append(parts) or True)
    ballots.begin(0, OWN, vote_of(0, OWN), IDS[0])
    said = statement_of(NET, 1, msgspec.structs.replace(OWN, seq=7))
    for member in (1, 2, 3):
        assert ballots.take(IDS[member], [Vote(said, SIGNERS[member].sign(said))] * 2) == ([], ["slot"] * 2)
    assert not verified


def test_votes_that_come_too_late_are_no_fault():
    author = Author()
    author.begin(OWN)
    author.begin(LATER)
    for member in (1, 2):
        author.ballots.take(IDS[member], [vote_of(member, OWN)])
    author.ballots.abandon()
    assert author.ballots.take(IDS[3], [vote_of(3, OWN), vote_of(3, LATER)]) == ([], [])


def test_who_has_not_voted_is_asked_again_oldest_first():
    author = Author()
    author.begin(OWN)
    author.begin(LATER)
    author.ballots.take(IDS[1], [vote_of(1, OWN)])
    assert author.ballots.lacking(IDS[1]) == [LATER]
    assert author.ballots.lacking(IDS[2]) == [OWN, LATER]


def test_what_takes_too_long_is_given_up_and_the_rest_is_not():
    author = Author()
    author.begin(OWN, now=10)
    author.begin(LATER, now=20)
    assert author.ballots.expired(10) == [] and author.ballots.expired(11) == [OWN.id]
    assert author.ballots.expired(11) == [] and author.ballots.abandon() == [LATER.id]
    assert len(author.ballots) == 0 and author.ballots.abandon() == []


def test_a_peer_s_certificate_is_verified_before_it_is_kept():
    author = Author()
    good = certificate_of(FIRST, (0, 1, 3))
    with pytest.raises(BadCertificate):
        author.ballots.keep(certificate_of(FIRST, (0, 1)))
    assert author.ballots.certificates == {} and author.journal == []
    assert author.ballots.keep(good) and not author.ballots.keep(good)
    assert author.ballots.certificates == {FIRST.id: good}
    assert len(author.journal) == 1 and [event.name for event in author.events] == ["certified"]


def test_certificates_outlive_a_restart():
    author, again = Author(), Author()
    author.ballots.keep(certificate_of(FIRST, (0, 1, 3)))
    for record in author.journal:
        again.ballots.recover(record.data)
    assert again.ballots.certificates == author.ballots.certificates
    assert not again.ballots.keep(certificate_of(FIRST, (0, 1, 3))) and again.journal == []


@pytest.mark.parametrize("data", [b"", b"\xc1", msgspec.msgpack.encode(Certificate(b"", ()))])
def test_a_record_that_is_no_certificate_is_refused(data):
    with pytest.raises(ConfigError):
        Author().ballots.recover(data)


@pytest.mark.parametrize("restart", [False, True])
def test_a_second_certificate_of_a_slot_is_kept_too_and_who_signed_both_is_named(restart):
    """Beyond f: 1 and 3 have voted twice."""
    author = Author()
    author.ballots.keep(certificate_of(FIRST, (0, 1, 3)))
    if restart:
        records, author = author.journal, Author()
        for record in records:
            author.ballots.recover(record.data)
    author.events.clear()
    author.ballots.keep(certificate_of(RIVAL, (1, 2, 3)))
    conflict, certified = author.events
    assert (conflict.name, certified.name) == ("conflict", "certified")
    assert conflict.data == {"signers": [IDS[1].hex(), IDS[3].hex()]}
    assert set(author.ballots.certificates) == {FIRST.id, RIVAL.id}


@given(st.lists(st.tuples(st.integers(0, 2), st.booleans()), max_size=20))
def test_an_author_and_f_liars_get_no_second_certificate_however_often_they_ask(asks):
    """Member 1 is the liar, and the author of two commits of one slot; it shows either to whom it likes."""
    correct = (0, 2, 3)
    booths = [Booth() for _ in correct]
    votes: dict[bytes, set[int]] = {FIRST.id: {1}, RIVAL.id: {1}}
    for which, rival in asks:
        commit = RIVAL if rival else FIRST
        if booths[which].voter.vote(commit) is not None:
            votes[commit.id].add(correct[which])
    assert sum(len(voters) >= ROSTER.quorum_size for voters in votes.values()) <= 1

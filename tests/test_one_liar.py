"""One member that lies, against whole nodes: what it must not do to them, or to their trust in each other."""

from knhk_mesh.commits import NO_COMMIT, Operation, make_commit, make_proof, network_id
from knhk_mesh.messages import Delta, Votes, encode_frame
from knhk_mesh.quorum import Vote, statement_of
from knhk_mesh.requests import Value, Written
from tests.commit_graphs import signer
from tests.members import QUORUM_READ, mesh, result, roster, stable
from tests.mesh_shell import MS, Shell

LIAR = 0
NETWORK = network_id("shell")
FRAMES_A_TICK = 24
LARGE = [Operation("o", "gset", "add", f"{number}" + "x" * 1000) for number in range(30)]


class Hand:
    """Writes commits with the liar's key, and puts them into frames of the liar's to one member at a time."""

    def __init__(self, shell):
        self.shell = shell
        self.sequence = 1_000_000
        self.clock = shell.nodes[1].replica.log.clock_of([]) + 1

    def commit(self, *, incarnation=bytes(16), seq=0, prev=NO_COMMIT, key="n0", clock=None, **what):
        self.clock += 1
        clock = self.clock if clock is None else clock
        fields = {"network": NETWORK, "incarnation": incarnation, "seq": seq, "prev": prev, "deps": [], "clock": clock}
        return make_commit(signer(key), **fields, **what)

    def give(self, target, kind, items):
        self.sequence += 1
        shell = self.shell
        frame = encode_frame(kind(shell.nodes[LIAR].outbox.session, self.sequence, items))
        shell.take(target, shell.nodes[target].receive(shell.instant(), shell.ids[LIAR], frame))

    def give_commits(self, target, commits):
        self.give(target, Delta, [commit.wire for commit in commits])


def without_liar(source, target):
    return LIAR in (source, target)


def tick(shell):
    """100 ms of probes and of gossip."""
    shell.pulse()
    shell.now -= 100 * MS
    shell.round()


def score(shell, number, of):
    return shell.nodes[number].registry.get_peer(shell.ids[of]).reputation


def test_who_brings_the_past_of_a_bad_commit_is_not_charged_for_it():
    """Bad children first, to one; their parent, which is sound, to the others: they pass it on in good faith."""
    shell = mesh()
    hand = Hand(shell)
    parent = hand.commit()
    hand.give_commits(3, [hand.commit(seq=1, prev=parent.id, clock=hand.clock + (1 << 50) + n) for n in range(30)])
    assert score(shell, 3, LIAR) == 1000, "nobody can know yet that they are bad"
    hand.give_commits(1, [parent])
    for _ in range(4):
        shell.round(lose=without_liar)
    assert parent.id in shell.nodes[3].replica.log.accepted
    assert score(shell, 3, 1) == score(shell, 3, 2) == 1000
    assert not shell.nodes[3].registry.admits(shell.ids[LIAR])


def test_only_members_can_be_accused():
    """Anybody can make up a key, fork with it, and prove it: each proof would cost every member a fence."""
    shell = mesh()
    hand = Hand(shell)
    prev, accusing = NO_COMMIT, []
    for number in range(8):
        one, other = (hand.commit(key=f"made up {number}", clock=clock) for clock in (1, 2))
        accusing.append(hand.commit(seq=number, prev=prev, proof=make_proof(one, other)))
        prev = accusing[-1].id
    before = len(shell.nodes[1].replica.log.held)
    hand.give_commits(1, accusing)
    log = shell.nodes[1].replica.log
    assert (len(log.held), log.proofs) == (before, {}) and not shell.nodes[1].registry.admits(shell.ids[LIAR])


def test_chains_that_each_member_got_from_their_author_keep_nobody_from_the_others_frontiers():
    shell = Shell(4, roster=True)
    shell.kill(LIAR)
    hand, begun = Hand(shell), 0
    for second in range(12):
        for target in (1, 2, 3):
            chains = range(begun, begun + (1 if second else 8))
            hand.give_commits(target, [hand.commit(incarnation=number.to_bytes(16, "big")) for number in chains])
            begun += len(chains)
        for _ in range(10):
            tick(shell)
    assert [shell.state(one) for one in (1, 2, 3)] == ["healthy"] * 3
    shell.submit(1, QUORUM_READ, 5)
    for _ in range(5):
        tick(shell)
    assert isinstance(result(shell, 1, 5), Value)
    held = [len(shell.nodes[one].replica.log.chains) for one in (1, 2, 3)]
    assert max(held) <= 3 * (8 + 2), "and the author's own deliveries stay bounded"


def test_a_member_that_was_fed_alone_still_gets_its_writes_certified():
    """Its commits name all that it has accepted, so its voters need that first: it has to go out as it came in."""
    shell = mesh()
    shell.kill(LIAR)
    hand, prev, seq = Hand(shell), NO_COMMIT, 0
    for _ in range(20):
        for _ in range(2 * FRAMES_A_TICK):
            commit = hand.commit(seq=seq, prev=prev, operations=LARGE)
            hand.give_commits(1, [commit])
            seq, prev = seq + 1, commit.id
        tick(shell)
    accepted = [len(shell.nodes[one].replica.log.accepted) for one in (1, 2)]
    assert accepted[0] >= 900, "so much was fed to it"
    shell.add(1, "w", level="stable", request=7)
    for _ in range(20):
        tick(shell)
    assert isinstance(result(shell, 1, 7), Written)


def test_votes_that_nobody_asked_for_are_not_verified():
    verified = []
    shell = mesh()
    ballots = shell.nodes[1].member.ballots
    ballots._verify = lambda *what: verified.append(what) or True
    assert isinstance(stable(shell, 1, "x"), Written)
    verified.clear()
    commit = next(iter(ballots.certificates))
    statement = statement_of(roster(shell).network, 1, shell.nodes[1].replica.log.held[commit])
    Hand(shell).give(1, Votes, [Vote(statement, bytes(64))] * 64)
    assert verified == []


def test_who_is_proven_is_shut_out_after_a_restart_too():
    shell = mesh()
    hand = Hand(shell)
    hand.give_commits(1, [hand.commit(), hand.commit()])
    assert shell.ids[LIAR] in shell.nodes[1].replica.log.proofs
    shell.restart(1)
    registry = shell.nodes[1].registry
    assert not registry.admits(shell.ids[LIAR]) and not registry.is_selectable(shell.ids[LIAR])

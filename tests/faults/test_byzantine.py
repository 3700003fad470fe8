"""Liars: each strategy does what its name says; between lies a liar is honest; the program takes orders."""

import random
import subprocess
import sys
from collections import Counter

import pytest

from faults.byzantine import LIARS, STRATEGIES, Liar
from faults.byzantine.strategies import NOT_ALONE, PROVEN, ROUNDS_EACH, SHUNNED
from harness.campaign import parse_campaign
from harness.compiler import compile_campaign
from harness.execution import execute
from knhk_mesh.commits import NO_COMMIT, check_proof, make_commit, make_proof, network_id, open_commit
from knhk_mesh.config import NodeConfig, PeerConfig
from knhk_mesh.effects import Event, Instant, Persist, Send
from knhk_mesh.errors import BadCertificate, BadCommit, BadFrame
from knhk_mesh.messages import Ask, Certificates, Delta, Probe, Propose, Votes, decode_frame, encode_frame, is_free
from knhk_mesh.node import GOSSIP_TIMER, PROBE_TIMER, Node
from knhk_mesh.quorum import Vote, check_certificate, read_statement, sign_roster, statement_of
from knhk_mesh.replica import Replica
from knhk_mesh.requests import ClientOperation, Write
from knhk_mesh.security import ReplayWindow
from tests.commit_graphs import signer
from tests.node_process import ENVIRONMENT, ROOT
from tests.node_process import Node as NodeProcess

NAMES = ["a", "b", "c", "liar"]
NETWORK = network_id("lies")
MS = 1_000_000


def liar(seed: int = 0) -> Liar:
    """The fourth of four members, with a disk that is durable at once."""
    ids = [signer(name).agent_id for name in NAMES]
    network = Node(config_of(ids, None), signer("liar"), random=random.Random(1)).replica.network
    roster = sign_roster(signer("authority"), network=network, epoch=1, faulty=1, members=ids)
    node = Node(config_of(ids, roster), signer("liar"), random=random.Random(seed))
    made = Liar(node, signer("liar"), random=random.Random(seed))
    run(made, made.start(Instant(0, 0)))
    return made


def config_of(ids, roster) -> NodeConfig:
    peers = tuple(PeerConfig(agent, name) for agent, name in zip(ids[:3], NAMES, strict=False))
    return NodeConfig(network="lies", peers=peers, faulty=1, fanout=3, roster=roster)


def run(made: Liar, effects, now: int = 0) -> list:
    """The effects, and those that follow once the disk has what it was given."""
    found = list(effects)
    for effect in effects:
        if isinstance(effect, Persist):
            found += run(made, made.persisted(Instant(now, now), effect.token), now)
    return found


def rounds(made: Liar, count: int = 4) -> list:
    found = []
    for number in range(1, count + 1):
        now = number * 100 * MS
        found += run(made, made.timer(Instant(now, now), GOSSIP_TIMER), now)
    return found


def wires(effects) -> list:
    """Every commit in every delta and proposal, with whom it went to."""
    found = []
    for effect in effects:
        if isinstance(effect, Send):
            try:
                frame = decode_frame(effect.frame, bytes_max=1 << 20)
            except BadFrame:
                continue
            if isinstance(frame, Delta | Propose):
                found += [(effect.peer, wire) for wire in frame.commits]
    return found


def opened(made: Liar, wire):
    return open_commit(made.node.replica.network, wire)


ANSWERS = {"vouch", "slander", "withhold", "behind", "double-vote", "short-certificate"}
"""Those that lie with what they are sent."""


@pytest.mark.parametrize("name", sorted(set(STRATEGIES) - ANSWERS))
def test_every_strategy_lies_by_itself(name):
    made = liar()
    made.lie("fault", name)
    rounds(made, 6)
    assert made.stop("fault") > 0


@pytest.mark.parametrize("name", sorted(STRATEGIES))
def test_who_has_stopped_lying_is_heard_as_before(name):
    """A lie may be turned away; its numbers must not have what the honest node says next turned away, too."""
    made, windows = liar(), {}

    def admitted(effects):
        found = []
        for effect in effects:
            if isinstance(effect, Send) and (frame := decoded(effect.frame)) is not None:
                window = windows.setdefault((effect.peer, is_free(effect.frame)), ReplayWindow())
                found.append(window.admit(frame.session, frame.sequence))
        return found

    def lived(begin):
        effects = []
        for number in range(begin, begin + 8):
            now = Instant(number * 100 * MS, number * 100 * MS)
            asked = (
                encode_frame(Ask(1, number, bytes(8))),
                encode_frame(Probe(1, number, bytes([number]) * 8, bytes(16))),
            )
            for one in asked:
                effects += run(made, made.receive(now, signer("a").agent_id, one), now.monotonic)
            for timer in (GOSSIP_TIMER, PROBE_TIMER):
                effects += run(made, made.timer(now, timer), now.monotonic)
        return effects

    made.lie("fault", name)
    admitted(lived(1))
    made.stop("fault")
    after = admitted(lived(9))
    assert len(after) > 20 and all(after)


def test_a_mix_tells_every_lie_and_those_that_shut_it_out_last(monkeypatch):
    made, begun = liar(), []
    for name, kind in STRATEGIES.items():
        monkeypatch.setattr(kind, "begins", lambda self, name=name: begun.append(name))
    made.lie("fault", "mix")
    begun.clear()
    told = set(STRATEGIES) - {"mix", *NOT_ALONE}
    rounds(made, ROUNDS_EACH * len(told))
    assert sorted(begun) == sorted(told)
    last = len(SHUNNED) + len(PROVEN)
    assert set(begun[-last : -len(PROVEN)]) == set(SHUNNED) and set(begun[-len(PROVEN) :]) == set(PROVEN)


def decoded(data):
    try:
        return decode_frame(data, bytes_max=1 << 20)
    except BadFrame:
        return None


def test_a_liar_that_has_no_orders_is_honest():
    honest, made = liar(7).node, liar(7)
    now = Instant(100 * MS, 0)
    assert made.timer(now, GOSSIP_TIMER) == honest.timer(now, GOSSIP_TIMER)


def test_equivocation_is_two_valid_commits_for_one_slot_that_prove_each_other():
    made = liar()
    made.lie("fault", "equivocate")
    effects = rounds(made, 1)
    sent = {opened(made, wire).id: (peer, opened(made, wire)) for peer, wire in wires(effects)}
    one, other = (commit for _, commit in sent.values())
    assert one.slot == other.slot and one.id != other.id
    assert check_proof(made.node.replica.network, make_proof(one, other)) == signer("liar").agent_id
    assert {operation.object for operation in (*one.operations, *other.operations)} == {LIARS}
    told = {effect.data["id"] for effect in effects if isinstance(effect, Event) and effect.name == "committed"}
    assert {one.id.hex(), other.id.hex()} <= told, "a nemesis keeps no secrets"
    assert {peer for peer, _ in wires(effects)} == {signer(name).agent_id for name in "abc"}


@pytest.mark.parametrize(("name", "reason"), [("bad-signature", {"signature"}), ("forge", {"signature", "hash"})])
def test_what_nobody_signed_is_nothing_that_anybody_opens(name, reason):
    made = liar()
    made.lie("fault", name)
    found = wires(rounds(made))
    assert found
    for _, wire in found:
        with pytest.raises(BadCommit) as raised:
            opened(made, wire)
        assert raised.value.reason in reason


@pytest.mark.parametrize(("name", "lacks"), [("deep", 1), ("wide", 512)])
def test_what_fills_buffers_is_valid_and_has_a_past_that_never_comes(name, lacks):
    made = liar()
    made.lie("fault", name)
    found = [opened(made, wire) for _, wire in wires(rounds(made, 1))]
    shown = {commit.id for commit in found}
    missing = [parent for commit in found for parent in commit.parents if parent not in shown]
    assert found and len(set(missing)) >= lacks


@pytest.mark.parametrize("name", ["silent", "selective"])
def test_who_is_silent_sends_less_than_an_honest_node(name):
    made, honest = liar(3), liar(3)
    made.lie("fault", name)
    reached = {effect.peer for effect in rounds(made) if isinstance(effect, Send)}
    assert len(reached) < len({effect.peer for effect in rounds(honest) if isinstance(effect, Send)})
    assert name != "silent" or not reached


def test_a_double_voter_votes_for_both_commits_of_a_slot():
    proposer, voter = liar(1), liar(2)
    proposer.lie("fault", "double-propose")
    voter.lie("fault", "double-vote")
    frames = [one.frame for one in rounds(proposer, 1) if isinstance(one, Send)]
    proposals = [one for one in frames if isinstance(decode_frame(one, bytes_max=1 << 20), Propose)]
    answers = voter.receive(Instant(0, 0), signer("a").agent_id, proposals[0])
    votes = [decode_frame(one.frame, bytes_max=1 << 20) for one in answers if isinstance(one, Send)]
    statements = [vote.statement for frame in votes if isinstance(frame, Votes) for vote in frame.votes]
    assert len(set(statements)) == 2 and statements[0][:112] == statements[1][:112]
    assert voter.stop("fault") == 1, "the first vote of a slot is no lie"


def test_a_double_voter_votes_for_another_slot_now_and_then():
    proposer, voter = liar(1), liar(2)
    proposer.lie("fault", "short-certificate")
    voter.lie("fault", "double-vote")
    elsewhere = []
    for frame in [one.frame for one in rounds(proposer, 100) if isinstance(one, Send)]:
        message = decode_frame(frame, bytes_max=1 << 20)
        if isinstance(message, Propose):
            (commit,) = (opened(voter, wire) for wire in message.commits)
            said = [read_statement(NETWORK, vote.statement) for vote in votes_of(voter, frame)]
            assert {one.id for one in said} == {commit.id} and commit.seq in {one.seq for one in said}
            elsewhere += [one for one in said if one.seq != commit.seq]
    assert 1 <= len(elsewhere) <= 20
    assert voter.stop("fault") == len(elsewhere)


def votes_of(made, frame):
    """What it votes for when `a` sends this."""
    answers = made.receive(Instant(0, 0), signer("a").agent_id, frame)
    frames = [decode_frame(one.frame, bytes_max=1 << 20) for one in answers if isinstance(one, Send)]
    return [vote for one in frames if isinstance(one, Votes) for vote in one.votes]


def test_short_certificates_are_sound_but_for_one_vote_or_a_strangers():
    made = liar(3)
    made.lie("fault", "short-certificate")
    shown, told, sequence = [], [], 0
    for number in range(1, 101):
        now = Instant(number * 100 * MS, 0)
        for effect in run(made, made.timer(now, GOSSIP_TIMER), now.monotonic):
            if not isinstance(effect, Send) or not isinstance(
                message := decode_frame(effect.frame, bytes_max=1 << 20), Propose
            ):
                continue
            (name,) = (one for one in "abc" if signer(one).agent_id == effect.peer)
            said = statement_of(NETWORK, 1, opened(made, message.commits[0]))
            sequence += 1
            frame = encode_frame(Votes(1, sequence, [Vote(said, signer(name).sign(said))]))
            answers = made.receive(now, effect.peer, frame)
            told += [one.data for one in answers if isinstance(one, Event) and one.name == "voted"]
            frames = [decode_frame(one.frame, bytes_max=1 << 20) for one in answers if isinstance(one, Send)]
            shown += [one for frame in frames if isinstance(frame, Certificates) for one in frame.certificates]
    reasons = Counter()
    for certificate in shown:
        with pytest.raises(BadCertificate) as caught:
            check_certificate(made.node.config.roster, certificate)
        reasons[caught.value.reason] += 1
    assert set(reasons) == {"few", "member"} and sum(reasons.values()) < 50, reasons
    assert len(told) == 100 and made.stop("fault") == len(shown)


def test_who_is_behind_knows_nothing_whoever_asks():
    made = liar()
    run(made, made.node.submit(Instant(0, 0), 1, Write((ClientOperation("o", "gset", "add", "x"),), "local")))
    assert frontier_told(made, 1), "an honest member tells what it has"
    made.lie("fault", "behind")
    assert not frontier_told(made, 2) and made.stop("fault") == 1


def frontier_told(made, sequence):
    """What it answers `a`, who asks for its frontier."""
    effects = made.receive(Instant(0, 0), signer("a").agent_id, encode_frame(Ask(1, sequence, bytes(8))))
    (told,) = (decode_frame(one.frame, bytes_max=1 << 20) for one in run(made, effects) if isinstance(one, Send))
    return list(told.ids)


def test_a_proven_liar_s_commit_is_accepted_again_by_the_name_that_a_colluder_lends_it():
    """Both branches reach the colluder, whose node proves and fences; a member that has not heard of it takes it in."""
    made, ids = liar(), [signer(name).agent_id for name in NAMES]
    witness = Replica(config_of(ids, None), signer("b"), random=random.Random(5))
    witness.begin()
    made.lie("fault", "vouch")
    fields = {"network": NETWORK, "incarnation": bytes(16), "seq": 0, "prev": NO_COMMIT, "deps": []}
    floor = made.node.replica.log.clock_of([])
    one, other = (make_commit(signer("a"), clock=floor + ahead, **fields) for ahead in (1, 2))
    run(made, made.receive(Instant(0, 0), ids[0], encode_frame(Delta(1, 1, [one.wire, other.wire]))))
    lent = [opened(made, wire) for _, wire in wires(rounds(made, 1))]
    assert {commit.author for commit in lent} == {ids[0], ids[3]}
    _, bad = witness.merge(Instant(0, 0), [commit.wire for commit in lent])
    assert not bad and {one.id, other.id} & set(witness.log.accepted)
    assert made.stop("fault") > 0


def test_a_strategy_that_comes_back_goes_on_where_it_was():
    made = liar()
    made.lie("first", "equivocate")
    before = {opened(made, wire).seq for _, wire in wires(rounds(made, 2))}
    made.stop("first")
    assert not wires(rounds(made, 1))
    made.lie("second", "equivocate")
    assert min(opened(made, wire).seq for _, wire in wires(rounds(made, 1))) > max(before)


def test_windows_that_touch_or_overlap_count_their_own_lies():
    made = liar()
    made.lie("first", "equivocate")
    rounds(made, 2)
    alone = made.lies("first")
    made.lie("second", "equivocate")
    assert (made.lies("first"), made.lies("second")) == (alone, 0)
    rounds(made, 1)
    assert alone > 0 and made.stop("first") == alone + made.lies("second") > alone
    assert made.stop("second") > 0


CAMPAIGN = """
name = "lies"
shows = "x"
[cluster]
nodes = {nodes}
roster = true
[load]
duration_s = 5
[[workloads]]
type = "gset"
rate = 40
stable = 0.5
quorum = 0.5
[[faults]]
fault = "byzantine"
strategy = "{strategy}"
pick = {seats}
start_s = 0.5
duration_s = 4.0
"""


@pytest.mark.parametrize(("nodes", "seats"), [(4, 1), (7, 2)])
@pytest.mark.parametrize("strategy", sorted(set(STRATEGIES) - {"vouch"}))
def test_no_strategy_within_f_breaks_the_mesh(strategy, nodes, seats):
    campaign = parse_campaign(CAMPAIGN.format(strategy=strategy, nodes=nodes, seats=seats).encode(), source="lies")
    outcome = execute(compile_campaign(campaign, 5, source="lies"))
    assert outcome.verdict.validity == "valid", [r for r in outcome.verdict.results if r.validity != "valid"]


@pytest.fixture
def seat(tmp_path):
    made = NodeProcess(tmp_path / "node")
    made.command = [sys.executable, "-m", "faults.byzantine", "run", "--config", str(made.config)]
    made.start()
    yield made
    made.process.terminate()
    assert made.process.wait(10) == 0, made.process.stderr.read()
    made.process.stderr.close()


def test_the_program_begins_and_stops_to_lie_on_order(seat):
    assert seat.call("POST", "/byzantine", {"fault": "f", "strategy": "equivocate"}) == (200, {"fault": "f", "lies": 0})
    assert seat.call("POST", "/byzantine", {"fault": "f", "strategy": "silent"})[0] == 409
    status, told = seat.call("POST", "/byzantine", {"fault": "f", "strategy": None})
    assert status == 200 and told["fault"] == "f" and told["lies"] >= 0
    assert seat.call("POST", "/byzantine", {"fault": "f", "strategy": None})[0] == 409


@pytest.mark.parametrize(
    "body", [{}, {"fault": "f"}, {"fault": "f", "strategy": "lie"}, {"fault": 3, "strategy": None}, []]
)
def test_orders_that_make_no_sense_are_refused_in_a_line(seat, body):
    status, told = seat.call("POST", "/byzantine", body)
    assert status == 400 and "\n" not in told["error"]


@pytest.mark.parametrize("arguments", [[], ["run"], ["run", "--config", "no/such/file"], ["dance"]])
def test_wrong_usage_ends_with_64(arguments):
    done = subprocess.run(
        [sys.executable, "-m", "faults.byzantine", *arguments],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 64 and done.stderr and "Traceback" not in done.stderr

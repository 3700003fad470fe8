"""accountability: only liars are proven, forks are proven to everybody in time, nothing accepted is taken back."""

import pytest
from nacl.signing import SigningKey

from tests.checkers.histories import MS, the_anomaly
from tests.checkers.signed_histories import AGENTS, Mesh, between, commit_header, fault, hashed, proof

LIAR = 3
DEADLINE_MS = 1000
"""The bound of these headers: total_ns."""
LIE = fault("lie", "byzantine", LIAR, strategy="equivocate")


def mesh(*faults, byzantine=(LIAR,), **more):
    return Mesh(byzantine=byzantine, faults=faults, **more)


def forked(book, *, author=LIAR):
    """`author` signs F and G for one slot."""
    book.commit(author, "F", seq=0)
    book.commit(author, "G", seq=0)
    return book


def accepts(book, node, at_ms, *ids):
    book.tell(node, "accepted", at_ms=at_ms, ids=list(ids))


def proves(book, node, at_ms, *, agent=LIAR, against=None, **more):
    book.tell(node, "proven", at_ms=at_ms, agent=AGENTS[agent], proof=against or proof(agent), **more)


def done(book, at_ms=10_000, **options):
    book.at_ms(at_ms - 1)
    book.phase("done")
    return book.judge("accountability", **options)


def names(result):
    return {one.name for one in result.anomalies}


# Proofs


def two(one, other):
    return tuple(sorted((one, other), key=lambda header: hashed(header, "knhk.commit")))


def spoiled(change):
    good = proof(LIAR)
    change(good)
    return good


def turned(headers):
    return headers[1], headers[0]


ONE = commit_header(LIAR, b"one")
BAD = {
    "nothing": ("malformed", {}),
    "no proof": ("malformed", "because I say so"),
    "no hex": ("malformed", spoiled(lambda p: p.update(first="xy" * 208))),
    "a header too short": ("malformed", spoiled(lambda p: p.update(second=p["second"][2:]))),
    "another domain": ("malformed", spoiled(lambda p: p.update(first="00" + p["first"][2:]))),
    "no signature": ("malformed", spoiled(lambda p: p.pop("first_signature"))),
    "the same commit twice": ("same", proof(LIAR, headers=(ONE, ONE))),
    "two slots": ("slot", proof(LIAR, headers=two(ONE, commit_header(LIAR, b"one", seq=1)))),
    "two authors": ("slot", proof(LIAR, headers=two(ONE, commit_header(2, b"other")))),
    "two networks": ("network", proof(LIAR, headers=two(ONE, commit_header(LIAR, b"other", network=bytes(32))))),
    "another network": (
        "network",
        proof(LIAR, headers=two(*(commit_header(LIAR, body, network=bytes(32)) for body in (b"one", b"other")))),
    ),
    "against somebody else": ("author", proof(2)),
    "signed by somebody else": ("signature", proof(LIAR, signer=2)),
    "one signature for both": ("signature", spoiled(lambda p: p.update(second_signature=p["first_signature"]))),
    "a signature too short": ("signature", spoiled(lambda p: p.update(first_signature="00"))),
}


@pytest.mark.parametrize(("reason", "bad"), BAD.values(), ids=BAD)
def test_a_proof_that_is_none(reason, bad):
    book = mesh()
    book.tell(0, "proven", agent=AGENTS[LIAR], proof=bad)
    found = the_anomaly(done(book), "bad-proof")
    assert (found.data["node"], found.data["reason"]) == (0, reason)


@pytest.mark.parametrize("bad", [bad for _, bad in BAD.values()], ids=BAD)
def test_a_liar_may_tell_of_what_is_no_proof(bad):
    book = mesh()
    book.tell(LIAR, "proven", agent=AGENTS[LIAR], proof=bad)
    assert done(book).validity == "valid"


def test_a_proof_against_a_liar_is_as_it_should_be():
    book = mesh()
    for node in (0, 1, 2):
        proves(book, node, 100)
    found = done(book)
    assert found.validity == "valid" and found.figures["proven"] == 3


def test_two_commits_are_a_proof_in_either_order_and_an_agent_in_either_case():
    book = mesh()
    turned_round = proof(LIAR, headers=turned(two(ONE, commit_header(LIAR, b"other"))))
    for node in (0, 1, 2):
        book.tell(node, "proven", agent=AGENTS[LIAR].upper(), proof=turned_round)
    assert done(book).validity == "valid"


def test_a_correct_node_is_never_proven():
    book = mesh(byzantine=())
    for node in range(4):
        proves(book, node, 100, agent=2)
    found = the_anomaly(done(book), "wrongly-proven")
    assert found.data["proven"] == 2


def test_a_forged_proof_is_bad_and_wrongs_somebody():
    book = mesh(byzantine=())
    proves(book, 0, 100, agent=2, against=proof(2, signer=3))
    assert names(done(book)) == {"wrongly-proven", "bad-proof"}


@pytest.mark.parametrize("teller", [LIAR, 0])
def test_a_liar_may_slander(teller):
    book = mesh()
    proves(book, teller, 100, agent=2)
    assert ("wrongly-proven" in names(done(book))) == (teller == 0)


@pytest.mark.parametrize("teller", [LIAR, 0])
def test_who_is_no_member_cannot_be_proven_however_sound_the_proof(teller):
    key = SigningKey(b"nobody".ljust(32, b"\0"))
    theirs = [commit_header(LIAR, body) for body in (b"one", b"other")]
    first, second = two(*(header[:48] + bytes(key.verify_key) + header[80:] for header in theirs))
    against = {"first": first.hex(), "first_signature": key.sign(first).signature.hex()}
    against |= {"second": second.hex(), "second_signature": key.sign(second).signature.hex()}
    book = mesh()
    book.tell(teller, "proven", at_ms=100, agent=bytes(key.verify_key).hex(), proof=against)
    assert names(done(book)) == ({"stranger-proven"} if teller == 0 else set())


# Forks


def told(*proven, seen=((0, 100, "F"), (1, 200, "G")), faults=(), stages=(), end_ms=10_000, wiped=None, **more):
    """A fork that is seen by 200 ms; `proven` are (node, ms).  By default it must be proven by 1200 ms."""
    book = forked(mesh(*faults, **more))
    events = [(at, "accepted", node, ids) for node, at, *ids in seen]
    events += [(at, "proven", node, ()) for node, at in proven]
    events += [(at, stage, id, ()) for id, stage, at in stages]
    for at, what, who, ids in sorted(events, key=lambda one: one[0]):
        if what == "accepted":
            accepts(book, who, at, *ids)
        elif what == "proven":
            proves(book, who, at)
        else:
            wipe = {"disk": "wipe", "nodes": str(wiped)} if wiped is not None and what == "lifted" else {}
            book.stage(who, what, at, **wipe)
    return done(book, end_ms)


CUT = fault("cut", "cut", links=between([0], [1, 2]))
HELD = [("cut", "injected", 150), ("cut", "lifted", 5000)]
KILL = fault("cut", "kill", 1)
IN_TIME = [(0, 1100), (1, 1200), (2, 300)]

CORRECT = {
    "in time": told(*IN_TIME),
    "before it was seen twice": told((0, 150), (1, 160), (2, 170)),
    "told again": told(*IN_TIME, (2, 5000)),
    "one branch only": told(seen=[(0, 100, "F"), (1, 200, "F")]),
    "one branch at a core node, the other at a liar": told(seen=[(0, 100, "F"), (LIAR, 200, "G")]),
    "a fork that nobody has accepted": told(seen=[]),
    "cut off meanwhile": told((0, 5900), (1, 5900), (2, 300), faults=[CUT], stages=HELD),
    "a fault that comes before the time is over": told(
        (1, 300), (2, 300), (0, 5900), faults=[CUT], stages=[("cut", "injected", 1100), ("cut", "lifted", 5000)]
    ),
    "killed, with its disk kept": told((0, 300), (1, 400), (2, 300), faults=[KILL], stages=HELD),
    "killed, and it learns of it later": told((0, 300), (1, 5900), (2, 300), faults=[KILL], stages=HELD),
    "wiped, and told again": told((0, 300), (1, 400), (2, 300), (1, 5900), faults=[KILL], stages=HELD, wiped=1),
    "wiped before it was proven": told(
        *IN_TIME, faults=[KILL], stages=[("cut", "injected", 20), ("cut", "lifted", 90)], wiped=1
    ),
    "wiped long after": told(
        *IN_TIME, faults=[KILL], stages=[("cut", "injected", 9000), ("cut", "lifted", 9500)], wiped=1
    ),
}


@pytest.mark.parametrize("name", CORRECT)
def test_a_fork_that_is_proven_in_time(name):
    assert CORRECT[name].validity == "valid", CORRECT[name]


TOO_EARLY = {
    "the run ends first": told(end_ms=1200),
    "cut off and the run ends": told((1, 300), (2, 300), faults=[CUT], stages=HELD, end_ms=5900),
    "never lifted": told((1, 300), (2, 300), faults=[CUT], stages=HELD[:1]),
}


@pytest.mark.parametrize("name", TOO_EARLY)
def test_a_fork_that_nobody_had_to_prove_yet_shows_nothing(name):
    found = TOO_EARLY[name]
    assert found.validity == "unknown" and "the run ended before" in found.notes[0]


WRONG = {
    "nobody": (told(), [0, 1, 2]),
    "not by one": (told((0, 300), (2, 300)), [1]),
    "too late": (told((0, 300), (1, 1201), (2, 300)), [1]),
    "both branches at one node": (told(seen=[(0, 100, "F", "G")]), [0, 1, 2]),
    "proven by one and not accepted twice": (told((0, 300), seen=[]), [1, 2]),
    "only by a liar": (told((LIAR, 300)), [0, 1, 2]),
    "too late after a cut": (told((0, 6001), (1, 300), (2, 300), faults=[CUT], stages=HELD), [0]),
    "forgotten with the disk": (
        told((0, 300), (1, 400), (2, 300), faults=[KILL], stages=[("cut", "injected", 500), *HELD[1:]], wiped=1),
        [1],
    ),
    "a liar is cut off": (
        told(
            (0, 300),
            faults=[fault("cut", "cut", links=between([0, 1], [LIAR]))],
            stages=HELD,
        ),
        [1, 2],
    ),
    "a skewed clock is no excuse": (told((0, 300), faults=[fault("cut", "skew", 1)], stages=HELD), [1, 2]),
}


@pytest.mark.parametrize(("found", "nodes"), WRONG.values(), ids=WRONG)
def test_a_fork_that_is_not_proven_to_everybody(found, nodes):
    anomaly = the_anomaly(found, "not-proven-everywhere")
    assert anomaly.data["nodes"] == nodes and anomaly.data["agent"] == AGENTS[LIAR]


@pytest.mark.parametrize(("clock_ms", "found"), [(0, set()), (1, {"not-proven-everywhere"})])
def test_a_proof_is_placed_by_its_own_clock(clock_ms, found):
    book = forked(mesh())
    for node in (0, 1, 2):
        book.tell(node, "clock", at_ms=0, monotonic_ms=5000)
    book.tell(0, "accepted", at_ms=390, monotonic_ms=5200, ids=["F", "G"])
    for node in (0, 1, 2):
        proves(book, node, 1390, monotonic_ms=6200 + clock_ms)
    assert names(done(book)) == found


def test_a_node_that_does_not_listen_any_more_is_not_blamed():
    book = forked(mesh())
    for node in (0, 1, 2):
        book.tell(node, "clock", at_ms=0)
    book.tell(0, "accepted", at_ms=8500, monotonic_ms=8500, ids=["F", "G"])
    found = done(book)
    assert found.validity == "unknown" and not found.anomalies


def test_a_node_whose_events_are_lost_is_not_blamed_and_nothing_is_known_of_it():
    book = forked(mesh())
    accepts(book, 0, 100, "F", "G")
    proves(book, 0, 200)
    proves(book, 1, 200)
    book.tell(2, "events-lost", count=3)
    found = done(book)
    assert found.validity == "unknown" and not found.anomalies
    assert found.notes == ["some of what nodes [2] told is lost"]


# Suspicion


def suspected(*, score=400, cleared_ms=None, node=0, of=1, end_ms=60_000, faults=(), stages=(), again=None, **more):
    """`node` suspects `of` at 1000 ms; with a score of 400, until 1000 + 10000 + 2000 ms."""
    book = mesh(*faults, **more)
    book.tell(node, "suspected", at_ms=1000, agent=AGENTS[of], score=score)
    for id, stage, at in stages:
        book.stage(id, stage, at)
    if cleared_ms is not None:
        book.tell(node, "cleared", at_ms=cleared_ms, agent=AGENTS[of], score=500)
    if again is not None:
        book.tell(node, "suspected", at_ms=again, agent=AGENTS[of], score=score)
    return done(book, end_ms)


@pytest.mark.parametrize(
    "found",
    [
        suspected(cleared_ms=13_000),
        suspected(cleared_ms=1500),
        suspected(of=LIAR),
        suspected(node=LIAR),
        suspected(
            faults=[fault("k", "kill", 0)], stages=[("k", "injected", 5000), ("k", "lifted", 6000)], cleared_ms=None
        ),
        suspected(
            faults=[fault("k", "pause", 0)],
            stages=[("k", "injected", 5000), ("k", "lifted", 20_000)],
            cleared_ms=20_001,
        ),
    ],
    ids=["in time", "at once", "of a liar", "by a liar", "killed", "paused"],
)
def test_a_suspicion_may_err_and_is_revoked(found):
    assert found.validity == "valid", found


@pytest.mark.parametrize(
    "found",
    [
        suspected(),
        suspected(cleared_ms=13_001),
        suspected(score=499, cleared_ms=3200),
        suspected(score=0, end_ms=54_000),
        suspected(cleared_ms=13_000, again=20_000),
        suspected(faults=[fault("k", "kill", 1)], stages=[("k", "injected", 5000), ("k", "lifted", 6000)]),
    ],
    ids=["for ever", "too late", "by a hair", "all the way", "the second time", "the suspect was killed"],
)
def test_a_suspicion_that_stands(found):
    anomaly = the_anomaly(found, "suspicion-stands")
    assert (anomaly.data["node"], anomaly.data["suspected"]) == (0, 1)


def test_a_suspicion_that_is_renewed_and_never_cleared_stands():
    book = mesh()
    for at_ms in range(1000, 60_000, 4000):
        book.tell(0, "suspected", at_ms=at_ms, agent=AGENTS[1].upper(), score=400)
    assert names(done(book, 60_000)) == {"suspicion-stands"}


@pytest.mark.parametrize(
    "found",
    [
        suspected(end_ms=13_000),
        suspected(score=0, end_ms=52_000),
        suspected(cleared_ms=13_000, again=50_000),
        suspected(score=None, cleared_ms=1500),
        suspected(score="400"),
        suspected(score=-(10**6)),
    ],
    ids=["run over", "a long way", "again", "no score", "a score that is text", "far below nothing"],
)
def test_a_suspicion_of_which_nobody_knows_whether_it_stands_too_long(found):
    assert found.validity == "unknown" and not found.anomalies, found


def test_a_suspicion_of_a_stranger_shows_nothing():
    book = mesh()
    book.tell(0, "suspected", at_ms=1000, agent=AGENTS[1][:16], score=400)
    assert done(book).validity == "unknown"


# A correct node's own forks, and who may tell of whose


def test_a_correct_node_that_forks_is_found():
    book = forked(mesh(), author=1)
    found = the_anomaly(done(book), "correct-fork")
    assert found.data["node"] == 1 and sorted(found.data["ids"]) == ["F", "G"]


def test_a_liar_that_tells_of_another_s_commits_frames_nobody():
    book = mesh()
    book.commit(0, "F", seq=0)
    data = {"author": AGENTS[0], "incarnation": "ab" * 16, "seq": 0, "operations": []}
    for one in ("F", "G"):
        book.tell(LIAR, "committed", id=one, prev=None, deps=[], **data)
    accepts(book, 1, 100, "F", "G")
    found = done(book)
    assert found.validity == "valid" and found.figures["forks"] == 0


# Retraction


def reading(heads, *, accepted=("A", "B"), late=(), wiped=None, table=("A", "B", "C")):
    """Node 0 has accepted A and B, of node 1, and C after them; and is read at last."""
    book = mesh(fault("wipe", "kill", 0), byzantine=())
    chain = {"A": None, "B": "A", "C": "B"}
    for name in table:
        book.commit(1, name, prev=chain[name])
    for one in accepted:
        accepts(book, 0, 100, one)
    if wiped is not None:
        book.stage("wipe", "injected", 200)
        book.stage("wipe", "lifted", 300, disk="wipe", nodes=wiped)
    op = book.begin("read", 0, "s", final=True)
    accepts(book, 0, book.at / MS, *late)
    book.complete(op, value={"base": None, "add": []}, visible=list(heads))
    return done(book)


@pytest.mark.parametrize(
    "found",
    [
        reading("B"),
        reading("C"),
        reading("A", accepted="A"),
        reading("B", late="C"),
        reading("", wiped="0"),
        reading("", accepted=()),
    ],
    ids=["all of it", "more", "less was accepted", "taken in while it is read", "wiped", "nothing was accepted"],
)
def test_what_was_accepted_is_there(found):
    assert found.validity == "valid" and not found.notes, found


@pytest.mark.parametrize(
    ("found", "lacking"),
    [(reading("A"), ["B"]), (reading(""), ["A", "B"]), (reading("A", wiped="1"), ["B"])],
    ids=["a step back", "everything", "another's disk"],
)
def test_what_was_accepted_is_gone(found, lacking):
    anomaly = the_anomaly(found, "retracted")
    assert anomaly.data == {"node": 0, "commits": lacking}


def test_a_node_that_never_told_what_it_accepts_was_not_judged():
    found = reading("B", accepted=())
    assert found.validity == "unknown" and "nodes [0] never told what they accept" in found.notes[0]
    assert reading("", accepted=()).validity == "valid", "it may have accepted nothing"


def test_what_cannot_be_known_is_noted():
    found = reading("C", table=("A", "C"))
    assert found.validity == "unknown" and found.notes == [
        "of 1 final reads, what they claim to have seen is not known"
    ]


# Evidence


def test_the_figures():
    figures = told((0, 300), (1, 400), (2, 500)).figures
    wanted = {"forks": 1, "proven": 3, "bound_rounds": 10, "suspicions": 0}
    assert {key: figures[key] for key in wanted} == wanted
    assert (figures["proven_after_rounds_p50"], figures["proven_after_rounds_max"]) == (2.0, 3.0)
    assert suspected(cleared_ms=1500).figures["suspicions_of_correct"] == 1


@pytest.mark.parametrize("strategy", ["equivocate", "double-propose"])
def test_liars_of_whom_no_fork_is_told_are_no_evidence(strategy):
    book = mesh(fault("lie", "byzantine", LIAR, strategy=strategy))
    assert done(book).validity == "unknown"
    fork = fault("lie", "byzantine", LIAR, strategy=strategy)
    assert done(forked(mesh(fork))).validity == "unknown", "nobody has seen it"
    assert told(*IN_TIME, faults=[fork]).validity == "valid"


@pytest.mark.parametrize("strategy", ["silent", "double-vote", "mix", "late-propose"])
def test_other_liars_need_no_fork(strategy):
    assert done(mesh(fault("lie", "byzantine", LIAR, strategy=strategy))).validity == "valid"


def test_forks_can_be_asked_for():
    def seen(**options):
        book = forked(mesh())
        accepts(book, 0, 100, "F", "G")
        for node in (0, 1, 2):
            proves(book, node, 200)
        return done(book, **options)

    assert seen(forks_min=1).validity == "valid"
    assert seen(forks_min=2).notes == ["1 forks were seen, at least 2 are needed"]
    assert done(forked(mesh()), forks_min=1).notes == ["0 forks were seen, at least 1 are needed"]


def test_a_commit_that_is_told_twice_is_no_fork():
    book = mesh()
    book.commit(1, "A", seq=0)
    book.commit(1, "A", seq=0)
    assert done(book).figures["forks"] == 0


def test_without_a_roster_proofs_are_judged_all_the_same():
    book = mesh(roster=False)
    proves(book, 0, 100)
    proves(book, 1, 100, against=proof(LIAR, signer=2))
    assert names(done(book, 900)) == {"bad-proof"}


@pytest.mark.parametrize(
    ("told", "validity"),
    [
        ({"killed": True}, "valid"),  # it began anew, and holds nothing against anybody any more
        ({"killed": False}, "invalid"),  # a node cannot start while it runs: this explains nothing
    ],
    ids=["after a kill", "out of nothing"],
)
def test_a_start_forgives_only_after_a_kill(told, validity):
    book = mesh(fault("k", "kill", 0))
    book.tell(0, "suspected", at_ms=1000, agent=AGENTS[1], score=400)
    if told["killed"]:
        book.stage("k", "injected", 2000)
        book.stage("k", "lifted", 3000)
    book.tell(0, "started", at_ms=3000)
    assert done(book, 60_000).validity == validity


@pytest.mark.parametrize("score", [-(10**9), 1001, True, None, "400", float("nan")])
def test_a_suspicion_without_a_score_shows_nothing(score):
    assert suspected(score=score, cleared_ms=50_000).validity == "unknown"


# Vouching: node 0 accepts what was told, after the fence of node 1 against the liar


def lent(*commits, accepted=("V",)):
    """`commits` are (author, id, *deps); "X" is the liar's, "F" the fence of node 1, whose past has X and a proof."""
    book = mesh()
    book.commit(LIAR, "X")
    book.commit(1, "F", "X")
    book.events[-1].data["accuses"] = AGENTS[LIAR]
    for author, id, *deps in commits:
        book.commit(author, id, *deps)
    accepts(book, 0, 100, *accepted)
    return names(done(book))


@pytest.mark.parametrize(
    "commits",
    [
        [(2, "V", "F", "X")],
        [(2, "A", "F"), (2, "B"), (2, "V", "X", "A")],
        [(2, "A", "F"), (1, "V", "A", "X")],
    ],
    ids=["beside the fence", "above it", "the fence's own author, later"],
)
def test_a_commit_that_lends_its_name_to_whom_its_past_proves_is_found(commits):
    assert "vouched-for-proven" in lent(*commits)


@pytest.mark.parametrize(
    ("commits", "accepted"),
    [
        ([(2, "V", "X")], ["V"]),
        ([(2, "A", "X"), (2, "V", "A", "F")], ["V"]),
        ([(LIAR, "V", "F", "X")], ["V"]),
        ([], ["F"]),
        ([(2, "V", "F", "X")], ["X"]),
        ([(2, "V", "F", "Y")], ["V"]),
    ],
    ids=[
        "who knows of no proof",
        "what it had lent before",
        "its own author",
        "the fence itself",
        "nobody has accepted it",
        "of whom nobody told",
    ],
)
def test_a_commit_that_may_depend_on_a_liar_passes(commits, accepted):
    assert "vouched-for-proven" not in lent(*commits, accepted=accepted)

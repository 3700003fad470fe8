"""quorum: certificates from their bytes, and what they promise."""

import msgspec
import pytest

from tests.checkers.histories import the_anomaly
from tests.checkers.signed_histories import AGENTS, EPOCH, Mesh, between, certificate, fault, proof, statement, vote

A, B, C = (byte * 32 for byte in ("0a", "0b", "0c"))
CUT = fault("cut", "cut", links=between([0], [1, 2, 3]))
WIPE = fault("wipe", "kill", 3)


def ending(mesh, elements=("x",), *heads, nodes=None):
    for node in mesh.header.core if nodes is None else nodes:
        mesh.final(node, elements, *heads)
    mesh.ask_certificates()
    mesh.phase("done")
    return mesh


def stable(mesh=None, *, final=("x",), heads=(A,), **cert):
    """One stable write by node 0, with its certificate, that everybody has in the end."""
    mesh = mesh or Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A, **cert))
    return ending(mesh, final, *heads)


def names(result):
    return {one.name for one in result.anomalies}


# Certificates


def spoiled(change):
    good = certificate(A)
    change(good)
    return good


BAD = {
    "no hex": ("malformed", spoiled(lambda c: c.update(statement="zz" + c["statement"][2:]))),
    "too short": ("malformed", spoiled(lambda c: c.update(statement=c["statement"][:-2]))),
    "no text": ("malformed", spoiled(lambda c: c.update(statement=None))),
    "another domain": ("malformed", spoiled(lambda c: c.update(statement="00" + c["statement"][2:]))),
    "no votes": ("malformed", spoiled(lambda c: c.pop("votes"))),
    "votes that are no pairs": ("malformed", spoiled(lambda c: c.update(votes=[[AGENTS[0]]]))),
    "a signature that is no hex": ("malformed", spoiled(lambda c: c["votes"][0].__setitem__(1, "signed, me"))),
    "nothing at all": ("malformed", {}),
    "another network": ("network", certificate(A, network=bytes(32))),
    "another epoch": ("epoch", certificate(A, epoch=EPOCH + 1)),
    "another commit": ("id", certificate(B, seq=1)),
    "a signer twice": ("signer-twice", certificate(A, (0, 1, 1))),
    "a stranger": ("not-a-member", certificate(A, (0, 1, 9))),
    "too few": ("too-few", certificate(A, (0, 1))),
    "nobody": ("too-few", certificate(A, ())),
    "a signature of something else": (
        "signature",
        spoiled(lambda c: c["votes"].__setitem__(2, vote(2, statement(B)))),
    ),
    "a signature that is too short": ("signature", spoiled(lambda c: c["votes"][2].__setitem__(1, "00"))),
    "one vote too many, and a bad one": (
        "signature",
        {**certificate(A, (0, 1, 2, 3)), "votes": [*certificate(A)["votes"], vote(3, statement(B))]},
    ),
    "another's signature": (
        "signature",
        spoiled(lambda c: c["votes"][2].__setitem__(1, vote(1, statement(A))[1])),
    ),
}


@pytest.mark.parametrize(("reason", "bad"), BAD.values(), ids=BAD)
def test_a_client_is_given_a_certificate_that_is_none(reason, bad):
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=bad)
    found = the_anomaly(ending(mesh, ("x",), A).judge("quorum"), "bad-certificate")
    assert (found.data["reason"], found.data["node"]) == (reason, 0)


@pytest.mark.parametrize(("reason", "bad"), BAD.values(), ids=BAD)
def test_a_node_keeps_a_certificate_that_is_none(reason, bad):
    mesh = Mesh()
    mesh.tell(2, "certified", id=A, **bad)
    found = the_anomaly(stable(mesh).judge("quorum"), "bad-certificate")
    assert (found.data["reason"], found.data["node"], found.events) == (reason, 2, [0])


@pytest.mark.parametrize("bad", [bad for _, bad in BAD.values()], ids=BAD)
def test_a_liar_may_tell_of_what_is_no_certificate(bad):
    mesh = Mesh(byzantine=[3])
    mesh.tell(3, "certified", id=A, **bad)
    assert stable(mesh).judge("quorum").validity == "valid"


def test_a_certificate_is_for_the_commit_that_was_acknowledged_and_not_for_none():
    mesh = Mesh()
    mesh.write(0, "x", certificate=certificate(A))
    assert the_anomaly(ending(mesh).judge("quorum"), "bad-certificate").data["reason"] == "id"


def twice(first, second, *, byzantine=(), wiped=(), nodes=4, seq=0):
    """Two certificates for the slot 0 of node 0; or whatever the second one's slot is."""
    mesh = Mesh(nodes, byzantine=byzantine, faults=[WIPE])
    if wiped:
        mesh.stage("wipe", "injected", 10)
        mesh.stage("wipe", "lifted", 20, disk="wipe", nodes=",".join(map(str, wiped)))
    mesh.tell(1, "certified", id=B, **certificate(B, first, seq=1))
    mesh.tell(2, "certified", id=C, **certificate(C, second, seq=1 + seq))
    return stable(mesh, voters=range(nodes - (nodes - 1) // 3)).judge("quorum")


@pytest.mark.parametrize(
    ("nodes", "first", "second", "byzantine", "signers"),
    [
        (4, (0, 2, 3), (1, 2, 3), (2, 3), [2, 3]),
        (7, (0, 1, 4, 5, 6), (2, 3, 4, 5, 6), (4, 5, 6), [4, 5, 6]),
        (6, (0, 1, 2, 4, 5), (1, 2, 3, 4, 5), (1, 2, 4, 5), [1, 2, 4, 5]),
    ],
)
def test_two_certificates_for_one_slot_name_who_signed_both(nodes, first, second, byzantine, signers):
    found = the_anomaly(twice(first, second, byzantine=byzantine, nodes=nodes), "conflicting-certificates")
    size = nodes - (nodes - 1) // 3
    assert found.data["signers"] == signers and len(signers) >= 2 * size - nodes
    assert found.data["byzantine_or_wiped"] == len(byzantine) and sorted(found.data["ids"]) == [B, C]


def test_a_liars_own_good_certificate_is_evidence():
    mesh = Mesh(byzantine=[2, 3])
    mesh.tell(3, "certified", id=B, **certificate(B, (0, 2, 3), seq=1))
    mesh.tell(3, "certified", id=C, **certificate(C, (1, 2, 3), seq=1))
    the_anomaly(stable(mesh).judge("quorum"), "conflicting-certificates")


def test_a_double_voter_is_to_blame_if_it_is_correct():
    found = twice((0, 1, 3), (1, 2, 3), byzantine=[3])
    assert names(found) == {"conflicting-certificates", "double-vote-by-correct"}
    assert [one.data["node"] for one in found.anomalies if one.name == "double-vote-by-correct"] == [1]


def test_a_double_vote_shows_in_what_is_no_certificate_yet():
    mesh = Mesh(byzantine=[3])
    mesh.tell(1, "certified", id=B, **certificate(B, (0, 1, 3), seq=1))
    mesh.tell(3, "certified", id=C, **certificate(C, (1,), seq=1))
    assert the_anomaly(stable(mesh).judge("quorum"), "double-vote-by-correct").data["node"] == 1


def test_a_member_that_lost_its_disk_may_vote_twice():
    found = twice((0, 2, 3), (1, 2, 3), byzantine=[2], wiped=[3])
    assert the_anomaly(found, "conflicting-certificates").data["byzantine_or_wiped"] == 2


@pytest.mark.parametrize(
    ("first", "second", "seq"), [((0, 2, 3), (1, 2, 3), 1), ((0, 1, 2), (0, 1, 2, 3), 5)], ids=["next", "later"]
)
def test_two_slots_may_have_a_certificate_each(first, second, seq):
    assert twice(first, second, seq=seq).validity == "valid"


def test_one_commit_may_have_several_certificates():
    mesh = Mesh()
    mesh.tell(1, "certified", id=A, **certificate(A, (0, 1, 3)))
    mesh.tell(2, "certified", id=A, **certificate(A, (1, 2, 3)))
    found = stable(mesh).judge("quorum")
    assert found.validity == "valid" and found.figures["certificates"] == 1


# Acknowledgements


def test_a_stable_write_without_a_certificate():
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A)
    the_anomaly(ending(mesh, ("x",), A).judge("quorum"), "acknowledged-without-certificate")


@pytest.mark.parametrize(
    "more", [{"level": "local"}, {"outcome": "info"}, {"outcome": "fail"}], ids=["local", "info", "fail"]
)
def test_what_was_not_acknowledged_as_stable_needs_none(more):
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.write(0, "y", commit=B, **more)
    assert ending(mesh, ("x", "y"), A).judge("quorum").validity == "valid"


def test_what_a_liar_acknowledges_binds_nobody():
    mesh = Mesh(byzantine=[3])
    mesh.write(3, "y", commit=B)
    assert stable(mesh).judge("quorum").validity == "valid"


def cut_off(acknowledged_ms, *, node=0, level="stable", gated=False, byzantine=(), observed_ms=None, lifted_ms=5000):
    """Node 0 is cut off from 1000 ms on, and acknowledges at `acknowledged_ms`."""
    mesh = Mesh(faults=[CUT], gated=gated, byzantine=byzantine)
    stages = [("injected", 1000), *([("observed", observed_ms)] if observed_ms else []), ("lifted", lifted_ms)]
    told = False
    mesh.commit(node, A)
    for stage, at_ms in stages:
        if not told and at_ms > acknowledged_ms:
            told = True
            _acknowledge(mesh, node, level, acknowledged_ms)
        mesh.stage("cut", stage, at_ms)
    if not told:
        _acknowledge(mesh, node, level, acknowledged_ms)
    mesh.commit(2, C)
    mesh.write(2, "z", commit=C, certificate=certificate(C, author=2))
    return ending(mesh, ("x", "z"), A, C).judge("quorum")


def _acknowledge(mesh, node, level, at_ms):
    mesh.at_ms(at_ms - 2)
    given = {"certificate": certificate(A, author=node)} if level == "stable" else {}
    mesh.write(node, "x", level=level, commit=A, **given)


@pytest.mark.parametrize(
    "more",
    [
        {"acknowledged_ms": 1801},
        {"acknowledged_ms": 4999},
        {"acknowledged_ms": 1801, "level": "local", "gated": True},
        {"acknowledged_ms": 1901, "observed_ms": 1100},
    ],
)
def test_a_node_that_must_know_that_it_is_cut_off_acknowledges_nothing(more):
    found = the_anomaly(cut_off(**more), "acknowledged-in-minority")
    assert found.data["node"] == 0 and found.data["since_ns"] > 800_000_000


@pytest.mark.parametrize(
    ("more", "window_ms"),
    [
        ({"acknowledged_ms": 1800}, 800),
        ({"acknowledged_ms": 1300}, 300),
        ({"acknowledged_ms": 990}, 0),
        ({"acknowledged_ms": 5001}, 0),
        ({"acknowledged_ms": 4000, "level": "local"}, 0),
        ({"acknowledged_ms": 1300, "level": "local", "gated": True}, 300),
        ({"acknowledged_ms": 4000, "node": 1}, 0),
        ({"acknowledged_ms": 1900, "observed_ms": 1100}, 800),
        ({"acknowledged_ms": 1950, "observed_ms": 1100, "lifted_ms": 2000}, 0),
    ],
    ids=[
        "at the bound",
        "before it",
        "before the cut",
        "after it",
        "a local write",
        "gated",
        "in the majority",
        "confirmed late",
        "while lifting",
    ],
)
def test_the_window_in_which_it_cannot_know_is_measured(more, window_ms):
    found = cut_off(**more)
    assert found.validity == "valid", found
    assert found.figures["minority_ack_window_ms"] == window_ms


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        (fault("cut", "cut", links=[(0, 1), (0, 2), (0, 3)]), "acknowledged-in-minority"),
        (fault("cut", "cut", links=[(1, 0), (2, 0), (3, 0)]), "acknowledged-in-minority"),
        (fault("cut", "cut", links=[(0, 1), (3, 0)]), "acknowledged-in-minority"),
        (fault("cut", "cut", links=[(0, 1), (1, 0)]), None),
        (fault("cut", "cut", links=[(1, 2), (2, 3), (3, 1)]), None),
        (fault("cut", "disconnect", 0), "acknowledged-in-minority"),
        (fault("cut", "kill", 1, 2), "acknowledged-in-minority"),
        (fault("cut", "pause", 1, 2), "acknowledged-in-minority"),
        (fault("cut", "pause", 1), None),
        (fault("cut", "link", links=between([0], [1, 2, 3]), latency_ms=500, loss=0.5), None),
        (fault("cut", "skew", 1, 2, 3), None),
    ],
    ids=lambda one: getattr(one, "fault", one),
)
def test_who_is_cut_off_is_a_matter_of_both_directions(entry, found):
    mesh = Mesh(faults=[entry])
    mesh.commit(0, A)
    mesh.stage("cut", "injected", 1000)
    _acknowledge(mesh, 0, "stable", 3000)
    mesh.stage("cut", "lifted", 5000)
    assert names(ending(mesh, ("x",), A).judge("quorum")) == ({found} if found else set())


# What lasts


def test_a_stable_write_that_a_node_does_not_show_in_the_end():
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    ending(mesh, ("x",), A, nodes=[0, 1, 2])
    mesh.final(3, (), A)
    assert the_anomaly(mesh.judge("quorum"), "stable-write-lost").data["nodes"] == [3]


def test_a_stable_write_that_a_node_has_not_seen_in_the_end():
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.commit(1, B)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    ending(mesh, ("x",), A, B, nodes=[0, 1, 2])
    mesh.final(3, ("x",), B)
    assert the_anomaly(mesh.judge("quorum"), "stable-write-lost").data["nodes"] == [3]


def test_a_commit_further_along_the_chain_has_it_in_its_past():
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.commit(0, B, prev=A)
    mesh.commit(2, C, B)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    assert ending(mesh, ("x",), C).judge("quorum").validity == "valid"


def test_a_final_read_that_began_before_the_acknowledgement_need_not_have_it():
    mesh = Mesh()
    mesh.commit(0, A)
    write = mesh.begin("add", 0, "s", "x", level="stable")
    ending(mesh, (), nodes=[0, 1, 2, 3])
    mesh.complete(write, commit=A, certificate=certificate(A))
    mesh.ask_certificates()
    assert mesh.judge("quorum").validity == "valid"


def removed(begun, outcome):
    mesh = Mesh()
    mesh.commit(0, A)
    op = mesh.begin("remove", 1, "s", "x") if begun == "before" else None
    if begun == "over before":
        mesh.do("remove", 1, "s", "x", outcome)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    op = mesh.begin("remove", 1, "s", "x") if begun == "after" else op
    if op is not None and outcome is not None:
        mesh.end(op, outcome)
    return ending(mesh, (), A).judge("quorum")


@pytest.mark.parametrize(
    ("begun", "outcome"), [("after", "ok"), ("after", "info"), ("after", None), ("before", "ok"), ("before", "info")]
)
def test_a_remove_may_have_taken_it(begun, outcome):
    assert removed(begun, outcome).validity == "valid"


@pytest.mark.parametrize(("begun", "outcome"), [("after", "fail"), ("before", "fail"), ("over before", "ok")])
def test_a_remove_that_was_over_or_that_failed_took_nothing(begun, outcome):
    the_anomaly(removed(begun, outcome), "stable-write-lost")


def wiped(*, byzantine, wiped_nodes):
    mesh = Mesh(byzantine=byzantine, faults=[fault("wipe", "kill", 0, 1, 3)])
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.stage("wipe", "injected", 10)
    mesh.stage("wipe", "lifted", 20, disk="wipe", nodes=wiped_nodes)
    mesh.quorum_read(1)
    return ending(mesh, ()).judge("quorum")


def test_a_lost_disk_is_no_excuse_while_f_are_faulty():
    assert names(wiped(byzantine=(), wiped_nodes="0")) == {"stable-write-lost", "stale-quorum-read"}


@pytest.mark.parametrize(("byzantine", "wiped_nodes"), [((3,), "0"), ((), "0,1"), ((2, 3), "0")])
def test_beyond_f_it_is_noted_and_not_judged(byzantine, wiped_nodes):
    found = wiped(byzantine=byzantine, wiped_nodes=wiped_nodes)
    assert found.validity == "valid" and "more than 1" in found.notes[0]


@pytest.mark.parametrize("killed", [(3,), ()], ids=["another", "none"])
def test_a_disk_that_no_kill_was_about_is_not_lost(killed):
    mesh = Mesh(faults=[fault("wipe", "kill" if killed else "pause", *killed)])
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.stage("wipe", "injected", 10)
    mesh.stage("wipe", "lifted", 20, disk="wipe", nodes="0,1,2")
    assert "stable-write-lost" in names(ending(mesh, ()).judge("quorum"))


def test_who_lies_and_is_wiped_counts_once():
    assert names(wiped(byzantine=(3,), wiped_nodes="3")) == {"stable-write-lost", "stale-quorum-read"}


def test_a_node_that_was_killed_and_never_came_back_may_have_lost_its_disk():
    mesh = Mesh(byzantine=[2], faults=[WIPE])
    mesh.stage("wipe", "injected", 10)
    found = stable(mesh, final=()).judge("quorum")
    assert found.validity == "valid" and "nodes [2, 3] lie or lost their disks" in found.notes[0]


# Quorum reads


def reading(*heads, node=1, level="quorum", begun_before=False, told=True):
    mesh = Mesh(byzantine=[3])
    mesh.commit(0, A)
    mesh.commit(1, B)
    if told:
        mesh.commit(2, C, B)
    op = mesh.begin("read", node, "s", level=level) if begun_before else None
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    if op is None:
        mesh.quorum_read(node, *heads, level=level)
    else:
        mesh.complete(op, value={"base": None, "add": []}, visible=list(heads))
    return ending(mesh, ("x",), A, B).judge("quorum")


@pytest.mark.parametrize("heads", [(), (B,), (C,), (B, C)])
def test_a_quorum_read_that_does_not_see_what_was_acknowledged(heads):
    assert the_anomaly(reading(*heads), "stale-quorum-read").data == {"nodes": [1], "commits": [A]}


@pytest.mark.parametrize(
    "read",
    [
        {"heads": (A,)},
        {"heads": (A, C)},
        {"heads": (B,), "level": "local"},
        {"heads": (B,), "begun_before": True},
        {"heads": (B,), "node": 3},
    ],
    ids=["sees it", "sees more", "local", "began before", "a liar's"],
)
def test_a_quorum_read_that_is_as_it_should_be(read):
    assert reading(*read.pop("heads"), **read).validity == "valid"


def test_a_read_that_went_back_is_stale_though_the_node_had_seen_it_before():
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.quorum_read(1, A)
    mesh.quorum_read(1)
    the_anomaly(ending(mesh, ("x",), A).judge("quorum"), "stale-quorum-read")


def test_reads_of_what_nobody_told_of_are_passed_over():
    found = reading(C, told=False)
    assert found.validity == "unknown"
    assert found.notes[-1] == "1 quorum reads of unknown commits were passed over"
    assert found.notes[0] == "of most quorum reads, what they claim to have seen was never told"


def test_a_circle_of_commits_is_no_past():
    mesh = Mesh()
    mesh.commit(1, B, C)
    mesh.commit(2, C, B)
    mesh.quorum_read(1, B)
    assert stable(mesh).judge("quorum").notes[-1] == "1 quorum reads of unknown commits were passed over"


# Evidence


def test_the_figures():
    found = stable().judge("quorum")
    assert found.validity == "valid" and found.notes == []
    keys = ("stable_writes", "quorum_reads", "certificates", "stable_p50_ms")
    assert [found.figures[key] for key in keys] == [1, 0, 1, 1.0]


def test_without_a_stable_write_or_a_roster_it_is_unknown():
    assert ending(Mesh(), ()).judge("quorum").validity == "unknown"
    assert ending(Mesh(), ()).judge("quorum", stable_min=0).validity == "valid"
    assert stable().judge("quorum", stable_min=2).validity == "unknown"
    assert stable(Mesh(roster=False)).judge("quorum").validity == "unknown"


def test_without_a_final_read_it_is_unknown():
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    found = ending(mesh, ("x",), A, nodes=[0, 1, 2]).judge("quorum")
    assert found.validity == "unknown" and found.notes == ["a final read of core nodes [3] is missing"]


def test_a_proof_is_no_certificate():
    mesh = Mesh()
    mesh.tell(2, "certified", id=A, **proof(3))
    assert the_anomaly(stable(mesh).judge("quorum"), "bad-certificate").data["reason"] == "malformed"


# What was certified is what was asked, and where its author put it.


def test_an_old_certificate_acknowledges_no_other_write():
    def mesh(commit):
        mesh = Mesh()
        mesh.commit(0, A)
        mesh.commit(0, B)
        mesh.write(0, "x", commit=A, certificate=certificate(A))
        seq = 0 if commit == A else 1
        mesh.write(0, "y", commit=commit, within=commit == B, certificate=certificate(commit, seq=seq))
        return ending(mesh, ("x", "y"), A, B).judge("quorum")

    assert mesh(B).validity == "valid"
    found = the_anomaly(mesh(A), "certificate-of-another-write")
    assert (found.data["node"], found.data["commit"]) == (0, A)


def test_one_commit_may_hold_two_writes_and_each_acknowledges_one():
    mesh = Mesh()
    mesh.commit(0, A)
    for element in ("x", "y"):
        mesh.write(0, element, commit=A, certificate=certificate(A))
    assert ending(mesh, ("x", "y"), A).judge("quorum").validity == "valid"
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.write(0, "x", commit=A, within=False, certificate=certificate(A))
    assert names(ending(mesh, ("x",), A).judge("quorum")) == {"certificate-of-another-write"}


@pytest.mark.parametrize(("seq", "author"), [(7, 0), (0, 1)])
def test_a_statement_that_names_another_slot_than_its_commit_has(seq, author):
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A, seq=seq, author=author))
    found = the_anomaly(ending(mesh, ("x",), A).judge("quorum"), "bad-certificate")
    assert found.data["reason"] == "slot"


def test_a_liar_that_tells_of_another_s_commit_is_not_believed():
    mesh = Mesh(byzantine=[3])
    told = {"author": AGENTS[0], "incarnation": "ff" * 16, "seq": 99, "operations": []}
    mesh.tell(3, "committed", id=A, prev=None, deps=[], **told)
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.quorum_read(1)
    assert names(ending(mesh, ("x",), A).judge("quorum")) == {"stale-quorum-read"}


@pytest.mark.parametrize("visible", [None, ["ee" * 32]])
def test_final_reads_that_do_not_say_what_they_saw_are_no_evidence(visible):
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    for node in mesh.header.core:
        op = mesh.begin("read", node, "s", final=True)
        mesh.complete(op, value={"base": None, "add": ["x"]}, visible=visible)
    mesh.phase("done")
    assert mesh.judge("quorum").validity == "unknown"


def test_without_a_core_nobody_has_to_have_anything_and_that_is_unknown():
    mesh = stable()
    mesh.header = msgspec.structs.replace(mesh.header, core=[])
    assert mesh.judge("quorum").validity == "unknown"


@pytest.mark.parametrize("size", [1, 2, 4])
def test_a_quorum_that_is_none_makes_nothing_valid(size):
    mesh = stable()
    quorum = msgspec.structs.replace(mesh.header.quorum, size=size)
    mesh.header = msgspec.structs.replace(mesh.header, quorum=quorum)
    assert mesh.judge("quorum").validity != "valid"


def test_a_member_that_lost_its_disk_and_votes_is_found():
    def judged(voters):
        mesh = Mesh(faults=[WIPE])
        mesh.commit(0, A)
        mesh.write(0, "x", commit=A, certificate=certificate(A, (0, 1, 3)))
        mesh.stage("wipe", "injected", 100)
        mesh.stage("wipe", "lifted", 200, disk="wipe", nodes="3")
        mesh.at_ms(300)
        mesh.commit(0, B)
        mesh.write(0, "y", commit=B, certificate=certificate(B, voters, seq=1))
        return names(ending(mesh, ("x", "y"), A, B).judge("quorum"))

    assert judged((0, 1, 3)) == {"wiped-member-voted"} and judged((0, 1, 2)) == set()


def test_who_stood_still_during_a_cut_has_its_time_when_it_is_back():
    def judged(acknowledged_ms):
        mesh = Mesh(faults=[CUT, fault("pause", "pause", 0)])
        mesh.commit(0, A)
        write = mesh.begin("add", 0, "s", "x", level="stable")
        mesh.stage("pause", "injected", 900)
        mesh.stage("cut", "injected", 1000)
        mesh.stage("pause", "lifted", 4000)
        mesh.at_ms(acknowledged_ms)
        mesh.complete(write, commit=A, certificate=certificate(A))
        mesh.stage("cut", "lifted", 6000)
        return names(ending(mesh, ("x",), A).judge("quorum"))

    assert judged(4001) == set() and judged(5500) == {"acknowledged-in-minority"}


@pytest.mark.parametrize(("outcome", "validity"), [("ok", "valid"), ("fail", "unknown")])
def test_quorum_reads_that_all_failed_show_nothing(outcome, validity):
    mesh = Mesh()
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    read = mesh.begin("read", 1, "s", level="quorum")
    mesh.complete(read, outcome=outcome, value={"base": None, "add": ["x"]}, visible=[A])
    assert ending(mesh, ("x",), A).judge("quorum").validity == validity


def test_the_window_is_the_longest_of_all():
    mesh = Mesh(faults=[CUT, fault("other", "cut", links=between([1], [0, 2, 3]))])
    mesh.commit(0, A)
    mesh.commit(1, B)
    long, short = (mesh.begin("add", node, "s", f"x{node}", level="stable") for node in (0, 1))
    mesh.stage("cut", "injected", 1000)
    mesh.at_ms(1499)
    mesh.complete(long, commit=A, certificate=certificate(A))
    mesh.stage("other", "injected", 1550)
    mesh.at_ms(1599)
    mesh.complete(short, commit=B, certificate=certificate(B, author=1))
    mesh.stage("cut", "lifted", 3000)
    mesh.stage("other", "lifted", 3000)
    found = ending(mesh, ("x0", "x1"), A, B).judge("quorum")
    assert found.validity == "valid" and found.figures["minority_ack_window_ms"] == 500

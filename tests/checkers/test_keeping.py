"""quorum: whoever has given a certificate keeps it."""

import pytest

from tests.checkers.histories import the_anomaly
from tests.checkers.signed_histories import Mesh, between, certificate, fault

A, B = (byte * 32 for byte in ("0a", "0b"))
WIPE, KILL = fault("wipe", "kill", 0), fault("kill", "kill", 0)


def written(*, liars=(), node=0, faults=(WIPE, KILL)):
    """A stable write by `node`, acknowledged with its certificate."""
    mesh = Mesh(byzantine=liars, faults=faults)
    mesh.commit(node, A)
    mesh.write(node, "x", commit=A, certificate=certificate(A, author=node))
    return mesh


def written_after_a_wipe():
    """As `written`, by a node that had lost its disk before."""
    mesh = Mesh(faults=(WIPE,))
    mesh.wipe(0, fault="wipe")
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    return mesh


def ended(mesh):
    for node in mesh.header.core:
        mesh.final(node, ("x",), A)
    mesh.phase("done")
    return mesh.judge("quorum")


def test_a_certificate_that_is_shown_again_is_kept():
    mesh = written()
    mesh.ask_certificate(0, A, certificate(A))
    result = ended(mesh)
    assert result.validity == "valid" and result.figures["certificates_asked"] == 1


def test_another_certificate_of_the_same_commit_is_as_good():
    mesh = written()
    mesh.ask_certificate(0, A, certificate(A, (1, 2, 3)))
    assert ended(mesh).validity == "valid"


def test_one_that_is_gone_is_found():
    mesh = written()
    mesh.ask_certificate(0, A, None)
    found = the_anomaly(ended(mesh), "certificate-not-kept")
    assert found.data == {"node": 0, "commit": A} and mesh.events[found.events[0]].certificate is None


def test_a_restart_is_no_excuse():
    mesh = written()
    mesh.fault("kill", "injected")
    mesh.fault("kill", "lifted", bites=1, disk="keep", nodes="0")
    mesh.ask_certificate(0, A, None)
    the_anomaly(ended(mesh), "certificate-not-kept")


def test_who_has_lost_its_disk_has_lost_it_too():
    mesh = written()
    mesh.wipe(0, fault="wipe")
    mesh.ask_certificate(0, A, None)
    assert ended(mesh).validity == "valid"


def test_a_wipe_before_it_was_given_is_no_excuse():
    mesh = written_after_a_wipe()
    mesh.ask_certificate(0, A, None)
    the_anomaly(ended(mesh), "certificate-not-kept")


def test_what_is_kept_has_to_be_a_certificate_of_that_commit():
    mesh = written()
    mesh.ask_certificate(0, A, certificate(B, seq=1))
    found = the_anomaly(ended(mesh), "bad-certificate")
    assert (found.data["reason"], found.data["commit"]) == ("id", A)


def test_nobody_has_to_keep_what_it_never_gave():
    mesh = written()
    mesh.ask_certificate(0, A, certificate(A))
    mesh.ask_certificate(1, A, None)
    mesh.ask_certificate(0, B, None)
    assert ended(mesh).validity == "valid"


def test_a_liar_need_not_keep_anything():
    mesh = written(liars=[3])
    mesh.commit(3, B)
    mesh.write(3, "y", commit=B, certificate=certificate(B, author=3))
    mesh.ask_certificate(0, A, certificate(A))
    mesh.ask_certificate(3, B, None)
    assert ended(mesh).validity == "valid"


def test_only_what_it_gave_shows_that_it_keeps_anything():
    mesh = written()
    mesh.ask_certificate(0, B, None)
    result = ended(mesh)
    assert result.validity == "unknown" and "nodes [0] were not asked" in result.notes[0]
    assert result.figures["certificates_asked"] == 0


def test_given_again_after_the_disk_was_lost_it_was_lost_all_the_same():
    mesh = written()
    mesh.wipe(0, fault="wipe")
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.ask_certificate(0, A, None)
    assert ended(mesh).validity == "valid"


def test_who_was_wiped_before_it_gave_one_is_asked_like_any_other():
    result = ended(written_after_a_wipe())
    assert result.validity == "unknown" and "nodes [0] were not asked" in result.notes[0]


def test_who_lost_its_disk_after_it_gave_one_need_not_be_asked():
    mesh = written()
    mesh.wipe(0, fault="wipe")
    assert ended(mesh).validity == "valid"


def test_a_disk_of_which_the_history_never_tells_may_have_gone_with_it():
    mesh = written()
    mesh.fault("kill", "injected")
    mesh.ask_certificate(0, A, None)
    result = ended(mesh)
    assert result.validity == "unknown"
    assert any("1 certificates are gone, perhaps with disks" in note for note in result.notes)


def test_the_disk_of_another_is_no_excuse():
    mesh = written(faults=[fault("other", "kill", 3)])
    mesh.fault("other", "injected")
    mesh.ask_certificate(0, A, None)
    the_anomaly(ended(mesh), "certificate-not-kept")


def test_to_be_asked_for_what_went_with_the_disk_shows_nothing_of_what_came_after():
    mesh = written()
    mesh.wipe(0, fault="wipe")
    mesh.commit(0, B)
    mesh.write(0, "y", commit=B, certificate=certificate(B))
    mesh.ask_certificate(0, A, None)
    result = mesh.judge("quorum")
    assert any("nodes [0] were not asked" in note for note in result.notes)


def test_an_answer_that_has_not_come_when_the_history_ends_is_none():
    mesh = written()
    mesh.ask_certificate(0, A, certificate(A))
    mesh.begin("certificate", 0, "", A, final=True)
    result = ended(mesh)
    assert result.validity == "unknown" and "node 0 did not say whether it keeps 1 certificates" in result.notes[0]


@pytest.mark.parametrize("outcome", ["fail", "info"])
def test_who_does_not_answer_says_neither(outcome):
    mesh = written()
    mesh.ask_certificate(0, A, None, outcome)
    result = ended(mesh)
    assert result.validity == "unknown" and "did not say whether it keeps 1 certificates" in result.notes[0]


def test_who_was_never_asked_is_unknown():
    result = ended(written())
    assert result.validity == "unknown" and "nodes [0] were not asked" in result.notes[0]


def test_to_show_a_certificate_is_no_write_that_needs_a_quorum():
    cut = fault("cut", "cut", links=between([0], [1, 2, 3]))
    mesh = Mesh(faults=[cut], gated=True)
    mesh.commit(0, A)
    mesh.write(0, "x", commit=A, certificate=certificate(A))
    mesh.stage("cut", "injected", 1000)
    mesh.at_ms(4000)
    mesh.ask_certificate(0, A, certificate(A))
    mesh.stage("cut", "lifted", 5000)
    assert ended(mesh).validity == "valid"

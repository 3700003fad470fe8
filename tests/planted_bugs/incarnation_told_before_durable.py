"""A member that probes with an incarnation which a crash would forget, and its peers enrol it."""

SHOWS = "property tests/test_enrolment.py::test_nobody_is_probed_with_an_incarnation_that_a_crash_would_forget"


def plant():
    from knhk_mesh.output_commit import OutputCommit

    OutputCommit.identity_durable = lambda self, journal: True

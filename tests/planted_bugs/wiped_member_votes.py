"""A member that votes although it has lost its disk, and with it the memory of its votes."""

SHOWS = "campaign wiped-voters.toml"
SHOWS_LOCAL = "wiped-voters.toml"


def plant():
    from knhk_mesh.enrolment import Enrolment

    Enrolment.may_vote = property(lambda self: True)

"""A node that takes in sound proofs against keys that are no members: anybody can make up as many as it likes."""

SHOWS = "campaign slanderers.toml"
SHOWS_LOCAL = "slanderers.toml"


def plant():
    from knhk_mesh.replica import Replica

    Replica._check_members = lambda self, commit: None

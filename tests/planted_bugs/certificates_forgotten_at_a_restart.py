"""A member that keeps its certificates in memory: after a crash whoever wants one again asks in vain."""

SHOWS = "campaign restarted-voters.toml"
SHOWS_LOCAL = "restarted-voters.toml"


def plant():
    from knhk_mesh.ballots import Ballots

    Ballots.recover = lambda self, data: None

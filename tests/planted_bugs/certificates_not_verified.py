"""A node that keeps what a peer says is a certificate, without counting or checking the votes."""

SHOWS = "campaign double-voters.toml"
SHOWS_LOCAL = "double-voters.toml"


def plant():
    from knhk_mesh import ballots

    ballots.check_certificate = lambda roster, certificate, verify: None
    ballots.double_signers = lambda one, other: []

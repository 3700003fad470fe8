"""A certificate for which one vote less than a quorum's is enough, if somebody else shows it."""

SHOWS = "campaign short-certificates.toml"
SHOWS_LOCAL = "short-certificates.toml"


def plant():
    from knhk_mesh import ballots, quorum

    check = quorum.check_certificate

    def one_less(roster, certificate, verify):
        few = len(certificate.votes) == roster.quorum_size - 1
        if not few:
            return check(roster, certificate, verify)
        for voter, signature in certificate.votes:
            quorum.check_vote(roster, voter, quorum.Vote(certificate.statement, signature), verify)
        return quorum.read_statement(roster.network, certificate.statement)

    ballots.check_certificate = one_less

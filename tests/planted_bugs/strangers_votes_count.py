"""A certificate in which anybody's vote counts, member or not."""

SHOWS = "campaign short-certificates.toml"
SHOWS_LOCAL = "short-certificates.toml"


def plant():
    from knhk_mesh import quorum

    check = quorum.check_vote

    def anybody(roster, voter, vote, verify=quorum.verify):
        if voter in roster.members:
            return check(roster, voter, vote, verify)
        if not verify(voter, vote.statement, vote.signature):
            raise quorum.BadCertificate("signature")
        return quorum.read_statement(roster.network, vote.statement)

    quorum.check_vote = anybody

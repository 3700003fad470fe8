"""A vote whose signature does not cover the epoch: what was certified under one roster would count under any."""

SHOWS = "campaign minority-readonly.toml"
SHOWS_LOCAL = "minority-readonly.toml"


def plant():
    from knhk_mesh import ballots, quorum

    statement_of = quorum.statement_of

    def of_no_epoch(network, epoch, commit):
        return statement_of(network, 0, commit)

    ballots.statement_of = of_no_epoch

    def check_vote(roster, voter, vote, verify=quorum.verify):
        statement = quorum.read_statement(roster.network, vote.statement)
        if not verify(voter, vote.statement, vote.signature):
            raise quorum.BadCertificate("signature")
        return statement

    ballots.check_vote = quorum.check_vote = check_vote
    ballots.Voter.recover = lambda self, data: self._given.update(
        {(s := quorum.read_statement(self._roster.network, data)).slot: s.id}
    )

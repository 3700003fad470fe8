"""An author that counts a vote by the commit that it names, and never looks at the slot."""

SHOWS = "campaign double-voters.toml"
SHOWS_LOCAL = "double-voters.toml"


def plant():
    from knhk_mesh.ballots import Ballots
    from knhk_mesh.errors import BadCertificate
    from knhk_mesh.quorum import check_vote, read_statement

    def by_commit(self, voter, votes):
        complete, bad = [], []
        for vote in votes:
            try:
                commit = read_statement(self._roster.network, vote.statement).id
                ballot = self._open.get(commit)
                if ballot is None or voter in ballot.votes:
                    continue
                check_vote(self._roster, voter, vote, self._verify)
            except BadCertificate as error:
                bad.append(error.reason)
                continue
            certificate = self._count(commit, voter, vote.signature)
            if certificate is not None:
                complete.append(certificate)
        return complete, bad

    Ballots.take = by_commit

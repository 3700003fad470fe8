"""A certificate that counts votes, and not who cast them: a voter that is asked again makes two."""

SHOWS = "campaign minority-readonly.toml"
SHOWS_LOCAL = "minority-readonly.toml"


def plant():
    from knhk_mesh import ballots
    from knhk_mesh.quorum import Certificate

    def counts_votes(self, commit, voter, signature):
        ballot = self._open[commit]
        cast = ballot.votes.setdefault("cast", [])
        cast.append((voter, signature))
        if len(cast) < self._roster.quorum_size:
            return None
        del self._open[commit]
        certificate = Certificate(ballot.statement, tuple(sorted(cast)))
        self._keep(certificate)
        return certificate

    ballots.Ballots._count = counts_votes
    ballots.check_certificate = lambda roster, certificate, verify: None
    ballots.Ballots.lacking = lambda self, peer: [ballot.commit for ballot in self._open.values()]
    ballots.double_signers = lambda one, other: []

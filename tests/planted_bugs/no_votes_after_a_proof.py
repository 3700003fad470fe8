"""A member that votes for nothing any more once it has seen a proof: one liar ends all stable writes for ever."""

SHOWS = "campaign equivocators.toml"
SHOWS_LOCAL = "equivocators.toml"


def plant():
    from knhk_mesh.ballots import Voter

    vote = Voter.vote
    Voter.vote = lambda self, commit: None if self._log.proofs else vote(self, commit)

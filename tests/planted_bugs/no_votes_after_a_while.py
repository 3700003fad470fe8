"""A member that votes for nothing any more once it holds two hundred commits: clients wait for their turn in vain."""

SHOWS = "campaign equivocators.toml"


def plant():
    from knhk_mesh.ballots import Voter

    vote = Voter.vote
    Voter.vote = lambda self, commit: None if len(self._log.held) > 200 else vote(self, commit)

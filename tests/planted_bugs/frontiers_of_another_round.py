"""A quorum read that counts answers to whatever question, also to one from before it began."""

SHOWS = "campaign behind.toml"
SHOWS_LOCAL = "behind.toml"


def plant():
    from knhk_mesh.catch_up import CatchUp

    answered = CatchUp.answered
    CatchUp.answered = lambda self, peer, nonce, frontier: answered(self, peer, self._nonce, frontier)

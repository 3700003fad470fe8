"""A quorum read, and a recovery, for which one member less than a quorum is enough."""

SHOWS = "campaign behind.toml"
SHOWS_LOCAL = "behind.toml"


def plant():
    from knhk_mesh.catch_up import CatchUp

    make = CatchUp.__init__

    def one_less(self, peers, *, quorum_size, **rest):
        make(self, peers, quorum_size=quorum_size - 1, **rest)

    CatchUp.__init__ = one_less

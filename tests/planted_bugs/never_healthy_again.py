"""A node that is never healthy again after it was cut off, because it waits for every member instead of a quorum."""

SHOWS = "campaign hoarders-and-a-cut.toml"
SHOWS_LOCAL = "hoarders-and-a-cut.toml"


def plant():
    from knhk_mesh.catch_up import CatchUp

    make = CatchUp.__init__

    def everybody(self, peers, **rest):
        peers = tuple(peers)
        make(self, peers, **{**rest, "quorum_size": len(peers) + 1})

    CatchUp.__init__ = everybody

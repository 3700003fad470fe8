"""A cached root that is not always refreshed when the set has changed."""

SHOWS = "campaign halves.toml"
SHOWS_LOCAL = "halves.toml"


def plant():
    from knhk_mesh.merkle import MerkleSet

    add = MerkleSet.add

    def sometimes_unnoticed(self, member):
        add(self, member)
        if member[1] % 4 == 0:
            self._dirty.discard(member[0])

    MerkleSet.add = sometimes_unnoticed

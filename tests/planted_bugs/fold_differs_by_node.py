"""A fold that drops one operation in a thousand, another one on each node, while the roots agree."""

SHOWS = "campaign baseline.toml"
SHOWS_LOCAL = "baseline.toml"


def plant():
    from knhk_mesh.state import VersionedState

    fold = VersionedState.fold
    folded = {}

    def forgetful(self, commit):
        folded[id(self)] = folded.get(id(self), id(self) % 997) + 1
        if folded[id(self)] % 1000:
            fold(self, commit)

    VersionedState.fold = forgetful

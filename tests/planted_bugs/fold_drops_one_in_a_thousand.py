"""A fold that drops one operation in a thousand, the same one on every node, so that all roots agree."""

SHOWS = "campaign baseline.toml"


def plant():
    from knhk_mesh.state import VersionedState

    fold = VersionedState.fold

    def forgetful(self, commit):
        if int.from_bytes(commit.id[:4], "big") % 1000:
            fold(self, commit)

    VersionedState.fold = forgetful

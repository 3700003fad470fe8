"""A quorum of n - n // 3: with six members four are taken to be enough, where two such fours share only two."""

SHOWS = "campaign six-nodes.toml"
SHOWS_LOCAL = "six-nodes.toml"


def plant():
    from knhk_mesh.quorum import Roster

    Roster.quorum_size = property(lambda self: len(self.members) - len(self.members) // 3)

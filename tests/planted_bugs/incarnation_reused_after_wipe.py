"""A node that takes the same incarnation again after it has lost its disk."""

SHOWS = "campaign crash.toml"
SHOWS_LOCAL = "kills.toml"


def plant():
    from knhk_mesh.effects import Record
    from knhk_mesh.replica import Replica

    def always_the_same(self):
        if self.incarnation is None:
            self.incarnation = bytes(16)
            self.journal.append(Record("incarnation", self.incarnation))

    Replica.begin = always_the_same

"""A node that begins its sequence numbers anew after a restart with its disk."""

SHOWS = "campaign crash.toml"
SHOWS_LOCAL = "kills.toml"


def plant():
    from knhk_mesh.commits import NO_COMMIT
    from knhk_mesh.replica import Replica

    recover = Replica.recover

    def forgets(self, records):
        recover(self, records)
        self._next_seq, self._tip = 0, NO_COMMIT

    Replica.recover = forgets

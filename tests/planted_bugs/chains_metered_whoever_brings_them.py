"""A node that meters new chains whoever brings them: what each has let in, nobody else does."""

SHOWS = "campaign scattered.toml"


def plant():
    from knhk_mesh.replica import Replica

    may_begin = Replica._may_begin
    Replica._may_begin = lambda self, now, commit, source: may_begin(self, now, commit, b"")

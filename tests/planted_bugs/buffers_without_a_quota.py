"""Buffers for what waits for its past, without a limit."""

SHOWS = "campaign exhausters.toml"


def plant():
    from knhk_mesh.pending import PendingCommits

    make = PendingCommits.__init__

    def endless(self, *, commits_max, bytes_max):
        make(self, commits_max=1 << 40, bytes_max=1 << 40)

    PendingCommits.__init__ = endless

"""A log that lets a commit depend on an author though its own past proves that one faulty."""

SHOWS = "campaign colluders.toml"
SHOWS_LOCAL = "colluders.toml"


def plant():
    from knhk_mesh.log import CommitLog

    check = CommitLog.check

    def lenient(self, commit):
        accused, self.accused_before = self.accused_before, lambda _: frozenset()
        try:
            check(self, commit)
        finally:
            self.accused_before = accused

    CommitLog.check = lenient

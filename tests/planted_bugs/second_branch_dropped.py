"""A node that keeps the first commit of a slot and drops the second, so that nobody is ever proven."""

SHOWS = "campaign equivocators.toml"
SHOWS_LOCAL = "equivocators.toml"


def plant():
    from knhk_mesh.errors import BadCommit
    from knhk_mesh.log import CommitLog

    check = CommitLog.check

    def one_a_slot(self, commit):
        if self._slots.get(commit.slot, commit).id != commit.id:
            raise BadCommit("slot", "taken")
        check(self, commit)

    CommitLog.check = one_a_slot

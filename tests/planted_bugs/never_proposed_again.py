"""An author that proposes its commit once, and then waits for the votes that were lost."""

SHOWS = "campaign lossy-members.toml"


def plant():
    from knhk_mesh.member import Member

    propose = Member._propose

    def once(self, peer, commits):
        told = self.__dict__.setdefault("proposed", set())
        fresh = [one for one in commits if (peer, one.id) not in told]
        told.update((peer, one.id) for one in fresh)
        propose(self, peer, fresh)

    Member._propose = once

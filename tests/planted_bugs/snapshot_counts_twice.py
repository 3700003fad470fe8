"""A snapshot that is joined twice and counts twice."""

SHOWS = "property tests/test_crdt_laws.py -k pncounter"


def plant():
    from knhk_mesh.crdt.pncounter import PNCounter

    absorb = PNCounter.absorb

    def recount(self, delta):
        before = self._sum
        absorb(self, delta)
        if len(delta._amounts) > 1:  # a snapshot, not the delta of one operation
            self._sum = before + delta._sum

    PNCounter.absorb = recount

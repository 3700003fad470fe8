"""A counter join that adds the two amounts of a dot that both sides have."""

SHOWS = "property tests/test_crdt_laws.py -k pncounter"


def plant():
    from knhk_mesh.crdt.pncounter import PNCounter

    def adds(self, other):
        joined = PNCounter()
        for state in (self, other):
            for dot, amount in state._amounts.items():
                joined._amounts[dot] = joined._amounts.get(dot, 0) + amount
                joined._sum += amount
        return joined

    PNCounter.join = adds

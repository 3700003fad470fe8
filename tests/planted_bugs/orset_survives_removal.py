"""An OR-Set in which an element that is present on both sides survives its removal."""

SHOWS = "property tests/test_crdt_laws.py -k orset"


def plant():
    from knhk_mesh.crdt.orset import ORSet

    join = ORSet.join

    def keeps(self, other):
        joined = join(self, other)
        for element in sorted(set(self._present) & set(other._present), key=str):
            joined._present.setdefault(element, set()).update(self._present[element])
        return joined

    ORSet.join = keeps

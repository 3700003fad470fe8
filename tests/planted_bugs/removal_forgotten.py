"""An OR-Set that forgets a removal which arrives before the add that it names."""

SHOWS = "property tests/test_crdt_laws.py -k orset"


def plant():
    from knhk_mesh.crdt.orset import ORSet

    remove = ORSet._remove

    def only_what_is_there(self, element, dots):
        remove(self, element, set(dots) & self._present.get(element, set()))

    ORSet._remove = only_what_is_there

"""A remove that takes away every dot of its element, also those that its author had not seen."""

SHOWS = "campaign isolate-one.toml"
SHOWS_LOCAL = "isolate-one.toml"


def plant():
    from knhk_mesh.crdt.orset import ORSet

    remove = ORSet._remove

    def takes_all(self, element, dots):
        remove(self, element, set(dots) | self._present.get(element, set()))

    ORSet._remove = takes_all

"""A node that takes the same session again after a restart, and is taken for a replay of itself."""

SHOWS = "campaign crash.toml"


def plant():
    from knhk_mesh.outbox import Outbox

    make = Outbox.__init__

    def always_the_same(self, *arguments, **options):
        make(self, *arguments, **options)
        self.session = 7

    Outbox.__init__ = always_the_same

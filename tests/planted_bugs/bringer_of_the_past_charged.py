"""A node that charges whoever brings the past of a bad commit, and not who brought the commit itself."""

SHOWS = "campaign orphans.toml"
SHOWS_LOCAL = "orphans.toml"


def plant():
    from knhk_mesh.replica import Replica

    merge = Replica.merge

    def blamed(self, now, wires, *, source=b"", **options):
        accepted, bad = merge(self, now, wires, source=source, **options)
        return accepted, [(source, error) for _, error in bad]

    Replica.merge = blamed

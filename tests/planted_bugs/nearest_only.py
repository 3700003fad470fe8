"""A node that always picks the nearest peers there are: liars that are near enough have all its near places."""

SHOWS = "campaign eclipse.toml"


def plant():
    from knhk_mesh.topology import TopologyManager

    TopologyManager._sample_near = lambda self, count: self._registry.get_nearest_peers(count)

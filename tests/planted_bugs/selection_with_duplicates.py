"""A random selection that may pick one peer twice."""

SHOWS = "property tests/test_peer_registry.py"


def plant():
    from knhk_mesh.selection import ShuffledPeers

    def with_replacement(self, k):
        count = len(self._items)
        return [self._items[int(self._random.random() * count)] for _ in range(min(k, count))]

    ShuffledPeers.sample = with_replacement

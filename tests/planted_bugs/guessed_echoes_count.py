"""A detector that believes an echo of a nonce that it never sent: whoever guesses is near, and reached."""

SHOWS = "property tests/test_partition.py::test_what_is_no_echo_of_a_fresh_probe_to_that_peer_proves_nothing"


def plant():
    from knhk_mesh.partition import PartitionDetector

    echoed = PartitionDetector.echoed

    def believes(self, peer, nonce, now):
        if nonce not in self._sent.get(peer, {}):
            self._sent.setdefault(peer, {})[nonce] = now - 1_000
        return echoed(self, peer, nonce, now)

    PartitionDetector.echoed = believes

"""A node that listens to a proven liar again, once it has been started anew."""

SHOWS = "property tests/test_one_liar.py::test_who_is_proven_is_shut_out_after_a_restart_too"


def plant():
    from knhk_mesh.node import Node
    from knhk_mesh.peer_registry import PeerRegistry

    start, prove = Node.start, PeerRegistry.prove_faulty

    def forgets(self, now):
        PeerRegistry.prove_faulty = lambda *_: None
        try:
            return start(self, now)
        finally:
            PeerRegistry.prove_faulty = prove

    Node.start = forgets

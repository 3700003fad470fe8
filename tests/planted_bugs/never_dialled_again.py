"""A peer that has fallen silent and is never dialled again."""

SHOWS = "campaign halves.toml"
SHOWS_LOCAL = "halves.toml"


def plant():
    from knhk_mesh.peer_registry import PeerRegistry

    PeerRegistry.due_for_dialling = lambda self, now, limit: []

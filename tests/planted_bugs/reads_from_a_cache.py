"""A node that answers every other read from a cache, with the heads of today."""

SHOWS = "campaign baseline.toml"
SHOWS_LOCAL = "baseline.toml"


def plant():
    from knhk_mesh.node import Node
    from knhk_mesh.requests import Value

    read = Node._read
    cached = {}

    def sometimes_old(self, what):
        key = (self.agent_id, what.type, what.object)
        fresh = read(self, what)
        if key in cached:
            return Value(value=cached.pop(key), visible=fresh.visible)
        cached[key] = fresh.value
        return fresh

    Node._read = sometimes_old

"""A node that answers reads, value and heads alike, from how it stood at the read before."""

SHOWS = "campaign baseline.toml"
SHOWS_LOCAL = "baseline.toml"


def plant():
    from knhk_mesh.node import Node

    read = Node._read
    before = {}

    def one_behind(self, what):
        key = (self.agent_id, what.type, what.object)
        fresh = read(self, what)
        old = before.get(key, fresh)
        before[key] = fresh
        return old

    Node._read = one_behind

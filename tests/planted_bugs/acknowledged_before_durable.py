"""An acknowledgement that leaves before the write is durable, and then the power fails."""

SHOWS = "campaign power-cuts.toml"


def plant():
    from knhk_mesh.node import Node

    release = Node._release

    def at_once(self, effects):
        held_before = len(self._held_back)
        out = release(self, effects)
        while len(self._held_back) > held_before:
            out.append(self._held_back.pop()[1])
        return out

    Node._release = at_once

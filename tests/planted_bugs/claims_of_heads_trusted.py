"""A node that believes a peer's claim of how far a chain has come, and takes nothing in that comes before it."""

SHOWS = "campaign hoarders.toml"
SHOWS_LOCAL = "hoarders.toml"


def plant():
    from knhk_mesh.gossip import GossipCoordinator
    from knhk_mesh.messages import chain_tag, split_heads, unpack_head
    from knhk_mesh.replica import Replica

    on_pull = GossipCoordinator.on_pull
    merge = Replica.merge

    def believes(self, now, peer, frame):
        claimed = self._replica.__dict__.setdefault("claimed", {})
        for entry in split_heads(frame.heads):
            tag, seq, _ = unpack_head(entry)
            if seq > 1 << 32:
                claimed[tag] = seq
        return on_pull(self, now, peer, frame)

    def passes_over(self, now, wires, **rest):
        claimed = self.__dict__.get("claimed", {})
        known = [wire for wire in wires if claimed.get(chain_tag(wire.header[48:80], wire.header[80:96]), -1) < 0]
        return merge(self, now, known, **rest)

    GossipCoordinator.on_pull = believes
    Replica.merge = passes_over

"""A sender that takes what it has sent for received, and never sends it to that peer again."""

SHOWS = "campaign lossy.toml"


def plant():
    from knhk_mesh.gossip import GossipCoordinator
    from knhk_mesh.reconcile import HeadTable

    lacked = HeadTable.lacked_by_peer
    on_pull = GossipCoordinator.on_pull
    sent = {}
    current = [None]

    def remembers_the_peer(self, now, peer, frame):
        current[0] = (id(self), peer)
        return on_pull(self, now, peer, frame)

    def only_new(self, comparison, low, high, wants):
        known = sent.setdefault(current[0], set())
        for commit in lacked(self, comparison, low, high, wants):
            if commit.id not in known:
                known.add(commit.id)
                yield commit

    GossipCoordinator.on_pull = remembers_the_peer
    HeadTable.lacked_by_peer = only_new

"""A node that charges whoever a bad commit names as its author, and not who delivered it: anyone can frame anyone."""

SHOWS = "campaign forgers.toml"
SHOWS_LOCAL = "forgers.toml"


def plant():
    from knhk_mesh.gossip import GossipCoordinator
    from knhk_mesh.replica import Replica

    merge = Replica.merge

    def blamed(self, now, commits, *, source):
        for wire in commits:
            _, bad = merge(self._replica, now, [wire], source=source)
            author = wire.header[48:80]
            if bad and self._registry.get_peer(author) is not None:
                self._registry.update_reputation(author, -100, now=now.monotonic)

    GossipCoordinator.merge_state = blamed

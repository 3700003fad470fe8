"""A coordinator that picks one peer a round, and as many as it should only in the round that it tells most of."""

SHOWS = "campaign eclipse.toml"


def plant():
    from knhk_mesh.gossip import GossipCoordinator

    gossip_round = GossipCoordinator.gossip_round

    def lazy(self, now):
        select = self._select
        if (self.rounds + 1) % 10:
            self._select = lambda k: select(min(k, 1))
        try:
            return gossip_round(self, now)
        finally:
            self._select = select

    GossipCoordinator.gossip_round = lazy

"""A node that never begins another gossip round once it has been paused."""

SHOWS = "campaign pauses.toml"
SHOWS_LOCAL = "pauses.toml"


def plant():
    from knhk_mesh.node import Node

    timer = Node.timer

    def gives_up(self, now, name):
        late = now.monotonic - self._next_round
        return [] if late > 5 * self.config.gossip_interval_ns else timer(self, now, name)

    Node.timer = gives_up

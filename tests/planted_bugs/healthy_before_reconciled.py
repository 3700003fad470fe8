"""A node that calls itself healthy as soon as it reaches a quorum again, before it knows what that has accepted."""

SHOWS = "campaign healthy-again.toml"
SHOWS_LOCAL = "healthy-again.toml"


def plant():
    from knhk_mesh.member import Member

    def at_once(self, monotonic):
        self._out.extend(self.detector.handle_recovery(monotonic))

    Member._recover_with_quorum = at_once

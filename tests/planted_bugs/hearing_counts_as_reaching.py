"""A detector to which a peer that is heard from counts as one that can be reached."""

SHOWS = "campaign asymmetric.toml"
SHOWS_LOCAL = "asymmetric.toml"


def plant():
    from knhk_mesh.member import Member

    on_frame = Member.on_frame

    def heard(self, now, peer, frame):
        if peer in self.detector._proven:
            self.detector._proven[peer] = now.monotonic
        return on_frame(self, now, peer, frame)

    Member.on_frame = heard

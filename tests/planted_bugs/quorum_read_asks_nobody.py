"""A quorum read that is answered with what this node has, as if nobody else knew more."""

SHOWS = "campaign quorum-reads.toml"
SHOWS_LOCAL = "quorum-reads.toml"


def plant():
    from knhk_mesh.effects import Reply
    from knhk_mesh.member import Member

    Member.after_quorum = lambda self, now, request, answer: [Reply(request, answer())]

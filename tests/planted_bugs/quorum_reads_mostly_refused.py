"""A member that answers one quorum read in twenty, and refuses the others: nothing that it answers is wrong."""

SHOWS = "campaign quorum-reads.toml"


def plant():
    from knhk_mesh.effects import Reply
    from knhk_mesh.member import Member
    from knhk_mesh.requests import Refusal

    after = Member.after_quorum

    def seldom(self, now, request, answer):
        return [Reply(request, Refusal("busy"))] if request % 20 else after(self, now, request, answer)

    Member.after_quorum = seldom

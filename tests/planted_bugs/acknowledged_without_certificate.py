"""A stable write that is acknowledged as soon as this node has it."""

SHOWS = "campaign minority-readonly.toml"
SHOWS_LOCAL = "minority-readonly.toml"


def plant():
    from knhk_mesh.effects import Reply
    from knhk_mesh.member import Member

    certify = Member.certify

    def at_once(self, now, request, commit, written):
        certify(self, now, request, commit, written)
        return [Reply(request, written)]

    Member.certify = at_once
    Member._certified = lambda self, certificates: None

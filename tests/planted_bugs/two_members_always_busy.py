"""Two members that refuse every stable write, always: of all that clients ask, more than half is answered."""

SHOWS = "campaign equivocators.toml"


def plant():
    from knhk_mesh.member import Member
    from knhk_mesh.requests import Refusal

    gate = Member.gate

    def busy(self, now, level):
        if level == "stable" and self._me in sorted(self._config.roster.members)[:2]:
            return Refusal("busy")
        return gate(self, now, level)

    Member.gate = busy

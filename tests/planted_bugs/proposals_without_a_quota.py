"""A voter that remembers every proposal that it cannot vote for yet."""

SHOWS = "campaign hollow-proposals.toml"
SHOWS_LOCAL = "hollow-proposals.toml"


def plant():
    from knhk_mesh.ballots import Voter

    def endless(self, author, ids):
        self._asked.setdefault(author, {}).update(dict.fromkeys(ids))

    Voter.asked = endless

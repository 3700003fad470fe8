"""A voter that forgets at a restart what it has voted for, and votes for whatever it holds."""

SHOWS = "campaign restarted-voters.toml"


def plant():
    from knhk_mesh.ballots import Voter

    Voter.recover = lambda self, data: None

    def due(self, may_vote):
        found = []
        for author, waiting in self._asked.items():
            votes = []
            for one in [one for one in waiting if one in self._log.held]:
                if not may_vote(author):
                    break
                del waiting[one]
                vote = self.vote(self._log.held[one])
                if vote is not None:
                    votes.append(vote)
            if votes:
                found.append((author, votes))
        return found

    Voter.due = due

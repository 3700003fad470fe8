"""A voter that thinks a slot free again once there is a new roster: each epoch certifies another commit of it."""

SHOWS = "property tests/test_ballots.py::test_a_vote_binds_in_every_epoch_or_two_could_certify_two_commits_of_one_slot"


def plant():
    from knhk_mesh.ballots import Voter
    from knhk_mesh.quorum import read_statement

    recover = Voter.recover

    def this_epoch(self, data):
        if read_statement(self._roster.network, data).epoch == self._roster.epoch:
            recover(self, data)

    Voter.recover = this_epoch

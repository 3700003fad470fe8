"""A voter that votes for what it holds, though nobody may ever see it: the second branch of a fork."""

SHOWS = "property tests/test_ballots.py::test_what_is_held_and_not_accepted_gets_no_vote_though_its_slot_has_none"


def plant():
    from knhk_mesh.ballots import Voter

    make = Voter.__init__

    class Held:
        """A log that takes what it holds for accepted."""

        def __init__(self, log):
            self.held = self.accepted = log.held

    def careless(self, roster, signer, log, *rest, **options):
        make(self, roster, signer, Held(log), *rest, **options)

    Voter.__init__ = careless

"""A node that believes a proof without writing its fence first."""

SHOWS = "property tests/test_commit_log.py"


def plant():
    from knhk_mesh.replica import Replica

    def unfenced(self, now, commit):
        for proof in self.log.new_proofs(commit):
            self.log.learn(proof.author, proof)
        self._journal(commit)
        return self._hold(commit)

    Replica._take_in = unfenced

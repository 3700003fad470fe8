"""A member that gives a certificate to its client and to its peers, and drops it once the write is done."""

SHOWS = "campaign minority-readonly.toml"


def plant():
    from knhk_mesh.ballots import Ballots

    count = Ballots._count

    def drops(self, commit, voter, signature):
        certificate = count(self, commit, voter, signature)
        if certificate is not None:
            del self.certificates[commit]
        return certificate

    Ballots._count = drops

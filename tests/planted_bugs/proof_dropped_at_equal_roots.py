"""A root over authors and sequence numbers instead of commits: two branches look alike, and nobody compares heads."""

SHOWS = "campaign quiet-equivocators.toml"
SHOWS_LOCAL = "quiet-equivocators.toml"


def plant():
    from hashlib import blake2b

    from knhk_mesh.log import CommitLog

    def root(self):
        versions = sorted({(head.author, head.incarnation, head.seq) for head in self.heads.values()})
        told = b"".join(author + incarnation + seq.to_bytes(8, "big") for author, incarnation, seq in versions)
        return blake2b(told, digest_size=32).digest()

    CommitLog.root = root

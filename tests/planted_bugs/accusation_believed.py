"""A node that believes an accusation without looking at its proof."""

SHOWS = "campaign forgers.toml"
SHOWS_LOCAL = "forgers.toml"


def plant():
    from knhk_mesh import commits

    commits.check_proof = lambda network, proof, verify=commits.verify: proof.author

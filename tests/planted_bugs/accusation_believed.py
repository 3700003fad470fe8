"""A node that believes an accusation without looking at its proof."""

SHOWS = "campaign slanderers.toml"
SHOWS_LOCAL = "slanderers.toml"


def plant():
    from knhk_mesh import commits

    commits.check_proof = lambda network, proof, verify=commits.verify: proof.author

"""A write gate that is looked at when a request comes, and not when its answer is let go."""

SHOWS = "campaign slow-disks.toml"


def plant():
    from knhk_mesh.member import Member
    from knhk_mesh.node import Node

    Node._gate_again = lambda self, now, effect: effect
    Member._give_up = lambda self, why: None

"""A detector that compares the peers it reaches with n - f, and leaves itself out."""

SHOWS = "campaign minority-readonly.toml"
SHOWS_LOCAL = "minority-readonly.toml"


def plant():
    from knhk_mesh.partition import PartitionDetector

    reachable = PartitionDetector.reachable
    PartitionDetector.reachable = lambda self, now: reachable(self, now) - 1

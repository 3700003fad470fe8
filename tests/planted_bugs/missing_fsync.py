"""A journal that calls a record durable when it is written but never synced."""

SHOWS = "campaign power-cuts.toml"


def plant():
    from harness.simulator.disk import Disk

    Disk.synced = lambda self, mark: None

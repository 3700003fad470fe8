"""The journal's thread: what it calls durable is, in its order, and a disk that fails is told of once."""

import threading

from knhk_mesh.effects import Persist, Record
from knhk_mesh.errors import StorageError
from knhk_mesh.journal import JournalWriter


class Disk:
    """A storage whose every append waits until it is let go; `log` has what happened, in order."""

    def __init__(self, log: list, *, fails_at: int | None = None) -> None:
        self.log = log
        self.go = threading.Semaphore(0)
        self.begun = threading.Semaphore(0)
        self.fails_at = fails_at
        self.appends = 0

    def append(self, records) -> None:
        taken = [record.data for record in records]
        self.begun.release()
        assert self.go.acquire(timeout=10)
        self.appends += 1
        if self.appends == self.fails_at:
            raise StorageError("full")
        self.log.append(("written", taken))

    def close(self) -> None:
        self.log.append(("closed",))


def persist(token: int, *data: bytes) -> Persist:
    return Persist(token, tuple(Record("commit", one) for one in data))


def writer(disk: Disk, log: list) -> JournalWriter:
    return JournalWriter(
        disk,
        durable=lambda token: log.append(("durable", token)),
        failed=lambda error: log.append(("failed", str(error))),
    )


def test_nothing_is_called_durable_before_it_is_written() -> None:
    log: list = []
    disk = Disk(log)
    journal = writer(disk, log)
    journal.write(persist(1, b"a"))
    assert disk.begun.acquire(timeout=10)
    assert log == []  # the disk is at it, and has not answered
    disk.go.release()
    journal.close()
    assert log == [("written", [b"a"]), ("durable", 1), ("closed",)]


def test_what_waits_while_the_disk_is_busy_goes_together_in_order() -> None:
    log: list = []
    disk = Disk(log)
    journal = writer(disk, log)
    journal.write(persist(1, b"a"))
    assert disk.begun.acquire(timeout=10)
    for token in (2, 3, 4):
        journal.write(persist(token, b"%d" % token, b"x"))
    disk.go.release(2)
    journal.close()
    assert log == [
        ("written", [b"a"]),
        ("durable", 1),
        ("written", [b"2", b"x", b"3", b"x", b"4", b"x"]),
        ("durable", 4),
        ("closed",),
    ]


def test_a_disk_that_fails_is_told_of_once_and_nothing_is_written_after_it() -> None:
    log: list = []
    disk = Disk(log, fails_at=2)
    journal = writer(disk, log)
    for token in (1, 2, 3):
        journal.write(persist(token, b"%d" % token))
        if token < 3:
            assert disk.begun.acquire(timeout=10)
            disk.go.release()
    disk.go.release(5)
    journal.close()
    assert log[:2] == [("written", [b"1"]), ("durable", 1)]
    assert log[2:] == [("failed", "full"), ("closed",)]

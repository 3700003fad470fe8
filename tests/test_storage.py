"""The journal on disk: what went in comes out, and a database that is not ours, or not whole, is refused and kept."""

import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from knhk_mesh.config import NodeConfig
from knhk_mesh.effects import Instant, Persist, Record
from knhk_mesh.errors import ConfigError, StorageError
from knhk_mesh.identity import Signer
from knhk_mesh.journal import JournalWriter
from knhk_mesh.node import Node
from knhk_mesh.requests import ClientOperation, Write
from knhk_mesh.storage import DATABASE, Storage
from tests.node_process import ROOT

AGENT, OTHER = b"a" * 32, b"b" * 32
RECORDS = [Record("incarnation", bytes(16)), *(Record("commit", bytes([n]) * 300) for n in range(50))]


def opened(path: Path, agent: bytes = AGENT, network: str = "n") -> Storage:
    return Storage(path, agent=agent, network=network)


def filled(path: Path) -> bytes:
    storage = opened(path)
    storage.append(RECORDS[:20])
    storage.append(RECORDS[20:])
    storage.close()
    return (path / DATABASE).read_bytes()


def test_records_come_back_in_order_and_go_on_after_reopening(tmp_path: Path) -> None:
    filled(tmp_path)
    storage = opened(tmp_path)
    assert storage.records() == RECORDS
    storage.append([Record("commit", b"more")])
    storage.close()
    again = opened(tmp_path)
    assert again.records() == [*RECORDS, Record("commit", b"more")]
    again.close()


def test_every_append_is_synced(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    (mode,) = storage._database.execute("PRAGMA journal_mode").fetchone()
    (synchronous,) = storage._database.execute("PRAGMA synchronous").fetchone()
    assert (mode, synchronous) == ("wal", 2)  # 2 is FULL
    storage.close()


def test_what_a_process_left_without_closing_is_there(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.append(RECORDS)
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in tmp_path.glob(f"{DATABASE}*"):
        (copy / file.name).write_bytes(file.read_bytes())
    assert opened(copy).records() == RECORDS
    storage.close()


def test_two_never_write_one_journal(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    with pytest.raises(StorageError, match="another process has it open"):
        opened(tmp_path)
    storage.close()


def test_another_process_never_writes_one_journal(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    other = (
        "import sys; from pathlib import Path; from knhk_mesh.storage import Storage\n"
        "try: Storage(Path(sys.argv[1]), agent=b'a' * 32, network='n')\n"
        "except Exception as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", other, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip().endswith("cannot be opened: another process has it open"), done
    storage.append(RECORDS)
    assert storage.records() == RECORDS
    storage.close()


@pytest.mark.parametrize(
    ("agent", "network", "said"), [(OTHER, "n", "belongs to agent 6161"), (AGENT, "m", 'network "n"')]
)
def test_another_s_is_refused_and_kept(tmp_path: Path, agent: bytes, network: str, said: str) -> None:
    before = filled(tmp_path)
    with pytest.raises(StorageError, match=said):
        opened(tmp_path, agent, network)
    assert (tmp_path / DATABASE).read_bytes() == before


def damage(path: Path, how: str) -> None:
    file = path / DATABASE
    data = bytearray(file.read_bytes())
    match how:
        case "garbage":
            data = bytearray(b"this was never a database" * 400)
        case "cut":
            data = data[: len(data) // 2]
        case "page":
            data[4096 : 4096 + 4096] = b"\xff" * 4096
        case "newer":
            with closing(sqlite3.connect(file)) as database:
                database.execute("PRAGMA user_version=99")
            return
        case "foreign":
            file.unlink()
            with closing(sqlite3.connect(file)) as database:
                database.execute("CREATE TABLE other (x)")
            return
    file.write_bytes(data)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("garbage", "is damaged .* kept as it is"),
        ("cut", "is damaged .* kept as it is"),
        ("page", "is damaged .* kept as it is"),
        ("newer", "has schema 99, this program knows 1"),
        ("foreign", "not a journal of this program"),
    ],
)
def test_a_database_that_is_not_whole_is_refused_and_kept(tmp_path: Path, how: str, said: str) -> None:
    filled(tmp_path)
    damage(tmp_path, how)
    before = (tmp_path / DATABASE).read_bytes()
    with pytest.raises(StorageError, match=said) as caught:
        opened(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / DATABASE).read_bytes() == before


def left_by_a_kill(path: Path) -> tuple[bytes, bytes]:
    """A database with the first 20 records, and a WAL with the others that was never moved over."""
    storage = opened(path)
    storage.append(RECORDS[:20])
    storage.close()
    storage = opened(path)
    storage.append(RECORDS[20:])
    database, wal = ((path / f"{DATABASE}{suffix}").read_bytes() for suffix in ("", "-wal"))
    storage.close()
    assert wal and not (path / f"{DATABASE}-wal").exists()
    return database, wal


@pytest.mark.parametrize(
    ("agent", "network", "how", "said"),
    [
        (AGENT, "n", "", ""),
        (OTHER, "n", "", "belongs to agent 6161"),
        (AGENT, "m", "", 'belongs to the network "n"'),
        (AGENT, "n", "page", "is damaged .* kept as it is"),
        (AGENT, "n", "empty", "is damaged .it was cut off.; it is kept"),
        (AGENT, "n", "stub", "is damaged .it was cut off.; it is kept"),
    ],
)
def test_what_a_kill_left_is_refused_without_moving_the_wal(
    tmp_path: Path, agent: bytes, network: str, how: str, said: str
) -> None:
    data, wal = left_by_a_kill(tmp_path)
    match how:
        case "page":  # one that the WAL does not have anew
            data = data[:8192] + b"\xff" * 4096 + data[12288:]
        case "empty":
            data = b""
        case "stub":
            data = data[:40]
    (tmp_path / DATABASE).write_bytes(data)
    (tmp_path / f"{DATABASE}-wal").write_bytes(wal)
    if not said:
        storage = opened(tmp_path, agent, network)
        assert storage.records() == RECORDS
        storage.close()
        return
    with pytest.raises(StorageError, match=said) as caught:
        opened(tmp_path, agent, network)
    assert len(str(caught.value).splitlines()) == 1
    assert (tmp_path / DATABASE).read_bytes() == data
    assert (tmp_path / f"{DATABASE}-wal").read_bytes() == wal


def journalled(path: Path, signer: Signer, writes: int, network: str = "n") -> Node:
    """A node that wrote so often into the journal in `path`."""
    storage = Storage(path, agent=signer.agent_id, network=network)
    node = Node(NodeConfig(network=network, peers=(), faulty=0), signer, random=random.Random(1))

    def take(effects) -> None:
        for effect in effects:
            if isinstance(effect, Persist):
                storage.append(effect.records)
                take(node.persisted(Instant(0, WALL), effect.token))

    take(node.start(Instant(0, WALL)))
    for number in range(writes):
        write = Write((ClientOperation("s", "gset", "add", number),))
        take(node.submit(Instant(number, WALL + number * 1_000_000), number, write))
    storage.close()
    return node


WALL = 1_767_225_600_000_000_000


def test_no_flipped_bit_and_no_cut_makes_a_node_forget(tmp_path: Path) -> None:
    """SQLite has no checksums: what it does not notice, the commits' signatures must."""
    signer = Signer(bytes(range(32)))
    first = journalled(tmp_path, signer, 12)
    file, chance = tmp_path / DATABASE, random.Random(7)
    good = file.read_bytes()
    cuts = [good[:length] for length in (1, 50, 99, 100, 4095, 4096, 8192, len(good) - 4096, len(good) - 1)]
    flips = [(chance.randrange(100), 1 << chance.randrange(8)) for _ in range(100)]
    flips += [(chance.randrange(len(good)), 1 << chance.randrange(8)) for _ in range(500)]
    flipped = [good[:at] + bytes([good[at] ^ bit]) + good[at + 1 :] for at, bit in flips]
    refused = 0
    for data in [*cuts, *flipped]:
        file.write_bytes(data)
        try:
            with closing(Storage(tmp_path, agent=signer.agent_id, network="n")) as storage:
                node = Node(first.config, signer, random=random.Random(2), records=storage.records())
        except (StorageError, ConfigError) as error:
            refused += 1
            if isinstance(error, StorageError):
                assert len(str(error).splitlines()) == 1
            assert file.read_bytes() == data
        else:
            assert node.replica.log.held.keys() == first.replica.log.held.keys()
    assert refused > 100


def test_a_name_that_the_schema_cannot_hold_is_damage(tmp_path: Path) -> None:
    data = filled(tmp_path)
    data = data.replace(b"CREATE TABLE meta", b"CREATE T\xc1BLE meta")
    (tmp_path / DATABASE).write_bytes(data)
    with pytest.raises(StorageError, match=r"is damaged .* kept as it is"):
        opened(tmp_path)
    assert (tmp_path / DATABASE).read_bytes() == data


LIMITED = """
import resource, sys
from pathlib import Path
from knhk_mesh.effects import Record
from knhk_mesh.storage import Storage
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    storage = Storage(Path(sys.argv[1]), agent=b"a" * 32, network="n")
    for _ in range(100):
        storage.append([Record("commit", bytes(300))])
        print("durable", flush=True)
except Exception as error:
    print(error, flush=True)
import os; os._exit(0)  # as a kill would
"""


@pytest.mark.parametrize("limit", [0, 50, 512, 4096, 4200, 9000, 20_000, 50_000])
def test_a_disk_that_is_full_at_any_point_leaves_a_journal_that_opens(tmp_path: Path, limit: int) -> None:
    command = [sys.executable, "-c", LIMITED, str(tmp_path), str(limit)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    *durable, last = done.stdout.splitlines()
    assert "cannot be written" in last, done
    storage = opened(tmp_path)
    assert len(storage.records()) >= len(durable)
    storage.append(RECORDS)
    storage.close()


def test_a_database_whose_making_was_cut_short_is_made_anew(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    with closing(sqlite3.connect(made / DATABASE, isolation_level=None)) as database:
        database.execute("PRAGMA cache_size=1")
        database.execute("BEGIN")
        database.execute("CREATE TABLE t (x)")
        database.executemany("INSERT INTO t VALUES (?)", [(bytes(1000),)] * 100)  # more than the cache holds
        for name in (DATABASE, f"{DATABASE}-journal"):
            data = (made / name).read_bytes()
            assert data
            (tmp_path / name).write_bytes(data[:40] if name == DATABASE else data)
    storage = opened(tmp_path)
    storage.append(RECORDS)
    assert storage.records() == RECORDS
    storage.close()


@pytest.mark.skipif(not Path("/proc/self/fdinfo").exists(), reason="needs a directory in which even root cannot write")
def test_a_directory_that_cannot_be_written_in() -> None:
    with pytest.raises(StorageError, match=r"fdinfo/journal\.sqlite: cannot be opened: unable to open"):
        opened(Path("/proc/self/fdinfo"))


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        opened(tmp_path / "file" / "data")


def test_a_failed_append_loses_nothing_of_what_was_there(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.append(RECORDS)
    storage._database.execute("PRAGMA max_page_count=4")
    with pytest.raises(StorageError, match="cannot be written"):
        storage.append([Record("commit", b"fits"), Record("commit", bytes(1 << 20))])
    storage.close()
    again = opened(tmp_path)
    assert again.records() == RECORDS  # and not the half of it that did fit
    again.close()


class Counting(Storage):
    """Counts its transactions, each of which takes `sync_s` longer than it has to."""

    transactions = 0
    sync_s = 0.005

    def append(self, records) -> None:
        time.sleep(self.sync_s)
        self.transactions += 1
        super().append(records)


def test_what_waits_for_a_slow_disk_shares_its_transactions_and_closing_writes_the_rest(tmp_path: Path) -> None:
    storage = Counting(tmp_path, agent=AGENT, network="n")
    told: list[int] = []
    writer = JournalWriter(storage, durable=told.append, failed=told.append)
    for token in range(1, 3001):
        writer.write(Persist(token, (Record("commit", b"%d" % token), Record("commit", b"and"))))
    writer.close()
    assert told == sorted(set(told)) and told[-1] == 3000
    assert 3 <= storage.transactions == len(told) < 100  # never more than 1024 at once, never one by one
    again = opened(tmp_path)
    assert [one.data for one in again.records()[::2]] == [b"%d" % token for token in range(1, 3001)]
    again.close()


class Broken(Storage):
    """Has a bug in its third transaction."""

    transactions = 0

    def append(self, records) -> None:
        self.transactions += 1
        if self.transactions == 3:
            raise ZeroDivisionError
        super().append(records)


def test_a_thread_that_a_bug_ends_says_so_and_writes_nothing_more(tmp_path: Path) -> None:
    storage, told, done = Broken(tmp_path, agent=AGENT, network="n"), [], threading.Event()

    def durable(token: int) -> None:
        told.append(token)
        done.set()

    def failed(error: Exception) -> None:
        told.append(type(error))
        done.set()

    writer = JournalWriter(storage, durable=durable, failed=failed)
    for token in range(1, 6):
        writer.write(Persist(token, (Record("commit", b"%d" % token),)))
        if token < 4:
            assert done.wait(10)
            done.clear()
    writer.close()
    assert told == [1, 2, ZeroDivisionError]
    again = opened(tmp_path)
    assert [one.data for one in again.records()] == [b"1", b"2"]
    again.close()

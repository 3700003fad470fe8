"""The journal on disk: what went in comes out, and a database that is not ours, or not whole, is refused and kept."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from knhk_mesh.effects import Record
from knhk_mesh.errors import StorageError
from knhk_mesh.storage import DATABASE, Storage

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


def test_a_directory_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be made"):
        opened(tmp_path / "file" / "data")


def test_a_failed_append_loses_nothing_of_what_was_there(tmp_path: Path) -> None:
    storage = opened(tmp_path)
    storage.append(RECORDS)
    storage._database.execute("PRAGMA max_page_count=4")
    with pytest.raises(StorageError, match="cannot be written"):
        storage.append([Record("commit", bytes(1 << 20))])
    assert storage.records() == RECORDS
    storage.close()

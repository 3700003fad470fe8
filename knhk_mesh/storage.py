"""The journal on disk: SQLite in WAL mode with synchronous=FULL, so that what `append` returned from is durable.

One table of records in the order in which the node journalled them; `meta` says whose they are.  The file is locked for
as long as it is open, so that two processes never write one journal.  A database that is damaged, newer than
this program or another's is refused and left as it is: what can still be saved from it is for a person to decide.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path

from knhk_mesh.effects import Record
from knhk_mesh.errors import StorageError

DATABASE = "journal.sqlite"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x6B6E686B  # "knhk"

_SCHEMA = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE records (place INTEGER PRIMARY KEY, kind TEXT NOT NULL, data BLOB NOT NULL) STRICT;
"""


class Storage:
    """The journal of one agent in `directory`, made if it is not there.  Raises StorageError.

    After it is made, all calls come from one thread at a time.
    """

    def __init__(self, directory: Path, *, agent: bytes, network: str) -> None:
        self.path = directory / DATABASE
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{directory}: cannot be made: {error.strerror}") from None
        try:
            self._database = self._open(agent, network.encode())
        except sqlite3.OperationalError as error:
            why = "another process has it open" if "locked" in str(error) else str(error)
            raise StorageError(f"{self.path}: cannot be opened: {why}") from None
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{self.path}: is damaged ({error}); it is kept as it is") from None

    def _open(self, agent: bytes, network: bytes) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (application,) = database.execute("PRAGMA application_id").fetchone()
            tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            if tables or version or application:
                self._check(database, version, application, agent, network)
            database.execute("PRAGMA journal_mode=WAL")
            database.execute("PRAGMA synchronous=FULL")
            # Before anything is written: a schema that is there twice must fail here, and so must a locked file.
            database.execute("BEGIN IMMEDIATE")
            if not tables:
                for statement in _SCHEMA.strip().splitlines():
                    database.execute(statement)
                database.execute(f"PRAGMA user_version={SCHEMA_VERSION}")
                database.execute(f"PRAGMA application_id={APPLICATION_ID}")
                database.executemany("INSERT INTO meta VALUES (?, ?)", [("agent", agent), ("network", network)])
            database.execute("COMMIT")
        except BaseException:
            database.close()
            raise
        return database

    def _check(
        self, database: sqlite3.Connection, version: int, application: int, agent: bytes, network: bytes
    ) -> None:
        if application != APPLICATION_ID:
            raise StorageError(f"{self.path}: is not a journal of this program; it is kept as it is")
        if version != SCHEMA_VERSION:
            raise StorageError(f"{self.path}: has schema {version}, this program knows {SCHEMA_VERSION}")
        found = [row[0] for row in database.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            raise StorageError(f"{self.path}: is damaged ({'; '.join(map(str, found))[:200]}); it is kept as it is")
        meta = dict(database.execute("SELECT name, value FROM meta"))
        if meta.get("agent") != agent:
            raise StorageError(f"{self.path}: belongs to agent {bytes(meta.get('agent', b'')).hex()}, not to this one")
        if meta.get("network") != network:
            said = bytes(meta.get("network", b"")).decode(errors="replace")
            raise StorageError(f'{self.path}: belongs to the network "{said}", not to this one')

    def records(self) -> list[Record]:
        """Everything that was appended, in order.  Raises StorageError."""
        try:
            rows = self._database.execute("SELECT kind, data FROM records ORDER BY place")
            return [Record(kind, data) for kind, data in rows]
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{self.path}: cannot be read: {error}") from None

    def append(self, records: Iterable[Record]) -> None:
        """Append `records` in one transaction; they are durable when this returns.  Raises StorageError."""
        rows = [(record.kind, record.data) for record in records]
        try:
            self._database.execute("BEGIN IMMEDIATE")
            self._database.executemany("INSERT INTO records (kind, data) VALUES (?, ?)", rows)
            self._database.execute("COMMIT")
        except sqlite3.DatabaseError as error:
            raise StorageError(f"{self.path}: cannot be written: {error}") from None

    def close(self) -> None:
        """Give the file back."""
        self._database.close()

"""The journal on disk: SQLite in WAL mode with synchronous=FULL, so that what `append` returned from is durable.

One table of records in the order in which the node journalled them; `meta` says whose they are.  The file is locked for
as long as it is open, so that two processes never write one journal.  A database that is damaged, newer than
this program or another's is refused and left as it is: what can still be saved from it is for a person to decide.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from knhk_mesh.effects import Record
from knhk_mesh.errors import StorageError, one_line

DATABASE = "journal.sqlite"
SCHEMA_VERSION = 1
APPLICATION_ID = 0x6B6E686B  # "knhk"
HEADER_BYTES = 100  # of every SQLite database; SQLite takes a shorter file for a new one

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
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL):
                raise StorageError(f"{self.path}: cannot be written: {error}") from None
            why = "another process has it open" if "locked" in str(error) else str(error)
            raise StorageError(f"{self.path}: cannot be opened: {why}") from None
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # SQLite's message may quote what is no text
            raise StorageError(f"{self.path}: is damaged ({one_line(str(error))}); it is kept as it is") from None

    def _look(self, agent: bytes, network: bytes) -> None:
        """Check what a killed process left, read-only, so that what is refused is left as it is.

        A connection that can write moves the WAL into the database when it closes, whatever is wrong with either.
        """
        if self._size("-journal"):  # it was killed while it made the database, and SQLite has yet to roll that back
            return
        size, wal = self._size(), self._size("-wal")
        if 0 < size < HEADER_BYTES or (wal and not size):
            raise StorageError(f"{self.path}: is damaged (it was cut off); it is kept as it is")
        if wal:
            uri = f"{self.path.absolute().as_uri()}?mode=ro"
            with closing(sqlite3.connect(uri, uri=True, timeout=0.2, isolation_level=None)) as database:
                self._check(database, agent, network)

    def _size(self, suffix: str = "") -> int:
        try:
            return self.path.with_name(DATABASE + suffix).stat().st_size
        except OSError:  # what it is that stands in the way, SQLite will say
            return 0

    def _open(self, agent: bytes, network: bytes) -> sqlite3.Connection:
        self._look(agent, network)
        database = sqlite3.connect(self.path, timeout=0.2, isolation_level=None, check_same_thread=False)
        try:
            database.execute("PRAGMA locking_mode=EXCLUSIVE")
            tables = self._check(database, agent, network)
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

    def _check(self, database: sqlite3.Connection, agent: bytes, network: bytes) -> bool:
        """Whether there is a journal in `database`, and not merely nothing yet; StorageError if it is not this one."""
        (version,) = database.execute("PRAGMA user_version").fetchone()
        (application,) = database.execute("PRAGMA application_id").fetchone()
        tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        if not tables and not version and not application:
            return False
        if application != APPLICATION_ID:
            raise StorageError(f"{self.path}: is not a journal of this program; it is kept as it is")
        if version != SCHEMA_VERSION:
            raise StorageError(f"{self.path}: has schema {version}, this program knows {SCHEMA_VERSION}")
        found = [row[0] for row in database.execute("PRAGMA quick_check(3)")]
        if found != ["ok"]:
            said = one_line("; ".join(map(str, found)))[:200]
            raise StorageError(f"{self.path}: is damaged ({said}); it is kept as it is")
        meta = dict(database.execute("SELECT name, value FROM meta"))
        if meta.get("agent") != agent:
            raise StorageError(f"{self.path}: belongs to agent {bytes(meta.get('agent', b'')).hex()}, not to this one")
        if meta.get("network") != network:
            said = bytes(meta.get("network", b"")).decode(errors="replace")
            raise StorageError(f'{self.path}: belongs to the network "{said}", not to this one')
        return True

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

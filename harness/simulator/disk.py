"""A simulated disk: an append-only journal with a cache that a crash can lose.

What is written stands in the cache at once and on the platter once a sync has completed.  A crash leaves

    keep            all that was written: the process died, the machine did not
    lose-unsynced   what was synced
    torn            what was synced, some of the rest, and a last record cut in the middle
    wipe            nothing

Records lie as length, checksum, bytes, as a real journal's do, so a torn record is found the way it is found in
life: by reading it.
"""

from __future__ import annotations

from random import Random
from zlib import crc32

import msgspec

from knhk_mesh.effects import Record

SYNC_NS_MIN = 300_000

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Record).decode


class Disk:
    """One node's disk.  `random` decides how long a sync takes, up to `sync_ns_max`, and where a record tears."""

    def __init__(self, random: Random, *, sync_ns_max: int = 2_000_000) -> None:
        self._sync_ns_range = max(0, sync_ns_max - SYNC_NS_MIN)
        self._random = random
        self._blocks: list[bytes] = []
        self._synced = 0
        self._last_sync = 0
        self.torn_found = 0

    def write(self, now: int, records: tuple[Record, ...]) -> tuple[int, int]:
        """Append; returns (when a sync begun now will have completed, the mark to give to `synced`)."""
        for record in records:
            data = _encode(record)
            self._blocks.append(len(data).to_bytes(4, "big") + crc32(data).to_bytes(4, "big") + data)
        span = SYNC_NS_MIN + int(self._random.random() * self._sync_ns_range)
        self._last_sync = max(self._last_sync, now + span)
        return self._last_sync, len(self._blocks)

    def synced(self, mark: int) -> None:
        """The sync that covers the first `mark` records has completed."""
        self._synced = max(self._synced, min(mark, len(self._blocks)))

    def crash(self, fate: str) -> int:
        """Leave what a crash of this fate leaves; returns how many records it took."""
        before = len(self._blocks)
        if fate == "wipe":
            self._blocks.clear()
        elif fate == "lose-unsynced":
            del self._blocks[self._synced :]
        elif fate == "torn" and self._synced < before:
            last = self._synced + int(self._random.random() * (before - self._synced))
            torn = self._blocks[last]
            self._blocks[last:] = [torn[: 1 + int(self._random.random() * (len(torn) - 1))]]
        self._synced = len(self._blocks)
        return before - len(self._blocks) + (fate == "torn" and before > 0 and self._is_torn())

    def read(self) -> list[Record]:
        """The records, up to the first that is torn; that one and its like are cut off, as recovery would."""
        records: list[Record] = []
        for block in self._blocks:
            data = block[8:]
            if (
                len(block) < 8
                or len(data) != int.from_bytes(block[:4], "big")
                or crc32(data) != int.from_bytes(block[4:8], "big")
            ):
                self.torn_found += 1
                break
            records.append(_decode(data))
        del self._blocks[len(records) :]
        self._synced = len(self._blocks)
        return records

    def _is_torn(self) -> bool:
        block = self._blocks[-1] if self._blocks else b""
        return len(block) < 8 or len(block) - 8 != int.from_bytes(block[:4], "big")

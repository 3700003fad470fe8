"""The thread that writes the journal, so that a sync never holds the node up.

What waits while a transaction is being synced goes into the next one together (group commit): the disk is asked
as often as it can answer, and not once a record.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable

from knhk_mesh.effects import Persist
from knhk_mesh.storage import Storage

BATCH_MAX = 1024


class JournalWriter:
    """Appends Persist effects to `storage` in order.

    `durable(token)` is called, from the thread, when everything up to that token is; `failed(error)` once, if the disk
    will not have it (StorageError) or a bug of ours ends the thread, and nothing is written from then on.
    """

    def __init__(
        self, storage: Storage, *, durable: Callable[[int], None], failed: Callable[[Exception], None]
    ) -> None:
        self._storage = storage
        self._durable = durable
        self._failed = failed
        self._queue: queue.SimpleQueue[Persist | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="journal", daemon=True)
        self._thread.start()

    def write(self, persist: Persist) -> None:
        """Queue `persist`; the node itself bounds how many wait, because it holds back what rests on them."""
        self._queue.put(persist)

    def close(self) -> None:
        """Write what is queued, then close the storage."""
        self._queue.put(None)
        self._thread.join()
        self._storage.close()

    def _run(self) -> None:
        while True:
            batch, last = self._next_batch()
            if batch:
                try:
                    self._storage.append(record for persist in batch for record in persist.records)
                except Exception as error:  # a thread that just ended would leave a node that never answers
                    self._failed(error)
                    return
                self._durable(batch[-1].token)
            if last:
                return

    def _next_batch(self) -> tuple[list[Persist], bool]:
        """At least one Persist, unless the end was reached: (what waits, whether that was the end)."""
        batch: list[Persist] = []
        one = self._queue.get()
        while one is not None:
            batch.append(one)
            if len(batch) == BATCH_MAX:
                return batch, False
            try:
                one = self._queue.get_nowait()
            except queue.Empty:
                return batch, False
        return batch, True

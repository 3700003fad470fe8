"""Random streams: one for each purpose, so that taking one thing out of a plan leaves all other choices alone.

Under a single shared stream, deleting an event shifts every later draw, and a schedule that failed no longer
does; with a stream for each (seed, names), only the deleted thing's own draws go.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random


def stream(seed: int, *names: int | str) -> Random:
    """The stream of `names` under `seed`: the same in every process and on every machine."""
    label = "/".join([str(seed), *map(str, names)]).encode()
    return Random(int.from_bytes(blake2b(label, digest_size=16, person=b"knhk.stream").digest(), "big"))

"""Random streams: one for each purpose, so that taking one thing out of a plan leaves all other choices alone.

Under a single shared stream, deleting an event shifts every later draw, and a schedule that failed no longer
does; with a stream for each (seed, names), only the deleted thing's own draws go.
"""

from __future__ import annotations

from hashlib import blake2b
from random import Random

_MASK = (1 << 64) - 1


def stream(seed: int, *names: int | str) -> Random:
    """The stream of `names` under `seed`: the same in every process and on every machine."""
    return Random(_seed(seed, names, 16))


def _seed(seed: int, names: tuple[int | str, ...], size: int) -> int:
    label = "/".join([str(seed), *map(str, names)]).encode()
    return int.from_bytes(blake2b(label, digest_size=size, person=b"knhk.stream").digest(), "big")


class LightStream:
    """SplitMix64 (Steele, Lea and Flood, OOPSLA 2014): a stream of 8 bytes of state, for things there are many of.

    A full mesh of 500 nodes has 250,000 links.  `random.Random` takes 2.5 KB and some 10 us to seed, which would
    cost more than all else that a link does; this draws a number in 0.5 us instead of 0.05.
    """

    __slots__ = ("_state",)

    def __init__(self, state: int) -> None:
        self._state = state & _MASK

    def random(self) -> float:
        """A float in [0, 1), of 53 bits."""
        self._state = z = (self._state + 0x9E3779B97F4A7C15) & _MASK
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((z ^ (z >> 31)) >> 11) * 2.0**-53


def light_stream(seed: int, *names: int | str) -> LightStream:
    """The light stream of `names` under `seed`: the same in every process and on every machine."""
    return LightStream(_seed(seed, names, 8))

"""PNCounter: a counter that goes up and down.

State: dot -> signed amount, one entry for each operation. Join: union. Value: the sum.

The textbook counter (Shapiro et al., INRIA RR-7506, 2011, specification 7) keeps one running total for each
actor and joins by maximum. That presumes that an actor's totals form one chain. A Byzantine author signs two
branches under the same sequence numbers, so two nodes that accepted the same commits in another order would
hold different totals, and the maximum of them loses one branch. An entry for each operation's own dot has
no chain to break: each branch counts, and a duplicate still counts once. The price is a state that grows
with the number of operations. The delta of an operation is its one entry (Almeida, Shoker and Baquero,
"Delta state replicated data types", J. Parallel Distrib. Comput. 111, 2018).

One dot has one amount, since a commit's id is a hash of its operations. A forged snapshot can claim another
all the same; the greater amount then wins, so that the join stays a join whatever it is fed.

Encoded: msgpack `[[commit id, index, amount], ...]`, ascending by dot.
"""

from __future__ import annotations

from typing import ClassVar, Self

import msgspec

from knhk_mesh.crdt.codec import read, require_canonical
from knhk_mesh.crdt.dot import Dot, InvalidOperation, check_dots, unknown_action

AMOUNT_MAX = 2**53
"""The largest amount of one operation: the integers that every JSON reader of a history holds exactly."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER: msgspec.msgpack.Decoder[list[tuple[bytes, int, int]]] = msgspec.msgpack.Decoder(list[tuple[bytes, int, int]])


class PNCounter:
    """A counter. Actions: `increment` and `decrement`, whose value is an amount from 1 to 2**53."""

    __slots__ = ("_amounts", "_sum")

    ACTIONS: ClassVar[tuple[str, ...]] = ("increment", "decrement")

    def __init__(self) -> None:
        self._amounts: dict[Dot, int] = {}
        # Kept beside the amounts because a counter is read far more often than it would be worth adding up.
        self._sum = 0

    @classmethod
    def check(cls, action: str, value: object) -> None:
        """Raise InvalidOperation unless (action, value) is a well-formed operation."""
        _signed(action, value)

    @classmethod
    def delta(cls, action: str, value: object, dot: Dot) -> Self:
        """The smallest state that holds the operation; raises InvalidOperation if it is ill-formed."""
        new = cls()
        new.apply(action, value, dot)
        return new

    def apply(self, action: str, value: object, dot: Dot) -> None:
        """Join the operation's delta into this state, in place and without building the delta."""
        self._count(dot, _signed(action, value))

    def prepare(self, action: str, value: object) -> object:
        """A client's request as the operation's value: for this type the same."""
        return value

    def absorb(self, delta: Self) -> None:
        """Join `delta` into this state, in place, in time of the size of `delta`."""
        # A state absorbed into itself changes no key, so iterating over it meanwhile is sound.
        for dot, amount in delta._amounts.items():
            self._count(dot, amount)

    def join(self, other: Self) -> Self:
        """The least upper bound, as a new state."""
        new = type(self)()
        new._amounts = dict(self._amounts)
        new._sum = self._sum
        new.absorb(other)
        return new

    def value(self) -> int:
        """The sum of the amounts, in constant time."""
        return self._sum

    def encode(self) -> bytes:
        """The canonical bytes: equal states, equal bytes."""
        return _ENCODER.encode([(*dot, amount) for dot, amount in sorted(self._amounts.items())])

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """The state that `encode` gave as `data`; raises InvalidOperation for any other bytes."""
        new = cls()
        entries = read(_DECODER, data, type_name="PNCounter")
        dots = check_dots([entry[:2] for entry in entries])
        for dot, (_, _, amount) in zip(dots, entries, strict=True):
            if not 1 <= abs(amount) <= AMOUNT_MAX:
                raise InvalidOperation(f"PNCounter: amount {amount}; its size is from 1 to {AMOUNT_MAX}")
            new._count(dot, amount)
        require_canonical(new.encode(), data, type_name="PNCounter")
        return new

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PNCounter):
            return NotImplemented
        return self._amounts == other._amounts

    def __le__(self, other: Self) -> bool:
        """The lattice order: `a <= b` if and only if `a.join(b) == b`."""
        theirs = other._amounts
        return all(dot in theirs and amount <= theirs[dot] for dot, amount in self._amounts.items())

    def __repr__(self) -> str:
        return f"PNCounter({self._sum} in {len(self._amounts)} operations)"

    def _count(self, dot: Dot, amount: int) -> None:
        known = self._amounts.get(dot)
        if known is None:
            self._amounts[dot] = amount
            self._sum += amount
        elif known < amount:
            self._amounts[dot] = amount
            self._sum += amount - known


def _signed(action: str, value: object) -> int:
    if action not in PNCounter.ACTIONS:
        raise unknown_action("PNCounter", action, PNCounter.ACTIONS)
    # `type() is`, not isinstance: True would count as one.
    if type(value) is not int:
        raise InvalidOperation(f"PNCounter: expected an integer amount, got {type(value).__name__}")
    if not 1 <= value <= AMOUNT_MAX:
        raise InvalidOperation(f"PNCounter: an amount is from 1 to {AMOUNT_MAX}")
    return value if action == "increment" else -value

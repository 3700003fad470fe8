"""What a client asks for, as the operations of one commit.

An operation says what happened at its source (which dots a remove has seen, which counter it raises), so that every
replica can apply it without asking; that is resolved here, against the source's own state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from knhk_mesh.commits import BODY_BYTES_MAX, OPERATIONS_MAX, Operation, check_operation, fits_a_commit
from knhk_mesh.crdt import TYPES, InvalidOperation
from knhk_mesh.requests import ClientOperation
from knhk_mesh.state import VersionedState


def prepare_operations(
    state: VersionedState, asked: Sequence[ClientOperation]
) -> tuple[list[Operation], tuple[dict[str, int], ...]]:
    """(operations, what each was resolved to: a remove to the number of its `dots`).  Raises InvalidOperation."""
    operations: list[Operation] = []
    resolved: list[dict[str, int]] = []
    for index, one in enumerate(asked):
        try:
            operation = _prepare(state, one)
        except InvalidOperation as error:
            raise InvalidOperation(f"operations[{index}]: {error}") from None
        operations.append(operation)
        value: Any = operation.value
        resolved.append({"dots": len(value[1])} if (one.type, one.action) == ("orset", "remove") else {})
    if not operations:
        raise InvalidOperation("operations: at least one")
    if not fits_a_commit(operations):
        raise InvalidOperation(f"operations: more than a commit holds ({OPERATIONS_MAX}, {BODY_BYTES_MAX} bytes)")
    return operations, tuple(resolved)


def _prepare(state: VersionedState, asked: ClientOperation) -> Operation:
    kind = TYPES.get(asked.type)
    if kind is None:
        raise InvalidOperation(f'unknown type "{asked.type}"; one of {", ".join(sorted(TYPES))}')
    current = state.data.get((asked.type, asked.object))
    value: Any = (current if current is not None else kind()).prepare(asked.action, asked.value)
    operation = Operation(asked.object, asked.type, asked.action, value)
    check_operation(operation)
    return operation

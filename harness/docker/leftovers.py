"""What runs have left in the engine, and its removal.

Everything that a run makes there carries OWNER, the harness that made it, as a label; what has an owner that is not
alive any more is a leftover.  Nothing without the label is ever touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any

from docker.errors import APIError

from harness.docker.engine import connect, engine_errors
from harness.errors import HostError
from harness.local.processes import is_owner_alive

OWNER = "knhk.owner"
RUN = "knhk.run"


def remove_owned(client: Any, label: str, wanted: Callable[[str], bool]) -> Iterator[str]:
    """Remove containers, then networks and volumes whose `label` has a value that is `wanted`; tells of each."""
    filters = {"label": label}
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        if wanted(container.labels[label]):
            yield from _remove(f"container {container.name}", partial(container.remove, force=True, v=True))
    for network in client.networks.list(filters=filters):
        if wanted((network.attrs.get("Labels") or {}).get(label, "")):
            yield from _remove(f"network {network.name}", network.remove)
    for volume in client.volumes.list(filters=filters):
        if wanted((volume.attrs.get("Labels") or {}).get(label, "")):
            yield from _remove(f"volume {volume.name}", partial(volume.remove, force=True))


def _remove(what: str, remove: Callable[[], object]) -> Iterator[str]:
    with suppress(APIError):  # gone already, or in the midst of it
        remove()
        yield what


def remove_leftovers() -> list[str]:
    """Remove everything whose owner is not alive; a line for each.  An engine that is not there has none."""
    try:
        client = connect()
        with engine_errors("clean"):
            try:
                return list(remove_owned(client, OWNER, lambda mark: bool(mark) and not is_owner_alive(mark)))
            finally:
                client.close()
    except HostError:
        return []

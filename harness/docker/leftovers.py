"""What runs have left in the engine, and its removal.

Everything that a run makes there carries OWNER, the harness that made it, as a label; what has an owner that is not
alive any more is a leftover.  Nothing without the label is ever touched, and what an owner elsewhere has made (in
another PID namespace, on another machine that uses this engine) only if `everything` is asked for: it may be in use.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from docker.errors import APIError, NotFound

from harness.docker.engine import connect, engine_errors, is_gone, reason
from harness.errors import HostError
from harness.local.leftovers import Cleaned, is_leftover
from harness.local.processes import owner_of

OWNER = "knhk.owner"
RUN = "knhk.run"


def remove_owned(client: Any, label: str, wanted: Callable[[str], bool]) -> Cleaned:
    """Remove containers, then networks and volumes whose `label` has a value that is `wanted`; tells of each.

    One that cannot be removed keeps no other from it.  Raises the engine's errors where it cannot be asked at all.
    """
    done = Cleaned([], [], [], [])
    for what, mark, remove in _labelled(client, label):
        if wanted(mark):
            _remove(what, remove, done)
    return done


def _labelled(client: Any, label: str) -> Iterator[tuple[str, str, Callable[[], object]]]:
    """(what it is, the label's value, how it is removed); what a network or volume is used by comes before it."""
    filters = {"label": label}
    for container in client.containers.list(all=True, filters=filters, ignore_removed=True):
        remove = partial(container.remove, force=True, v=True)
        yield f"container {container.name}", container.labels.get(label, ""), remove
    for network in client.networks.list(filters=filters):
        yield f"network {network.name}", (network.attrs.get("Labels") or {}).get(label, ""), network.remove
    for volume in client.volumes.list(filters=filters):
        mark = (volume.attrs.get("Labels") or {}).get(label, "")
        yield f"volume {volume.name}", mark, partial(volume.remove, force=True)


def _remove(what: str, remove: Callable[[], object], done: Cleaned) -> None:
    try:
        remove()
    except APIError as error:
        if not is_gone(error):
            done.stays.append(f"{what}: {reason(error)}")
        elif isinstance(error, NotFound):
            return  # somebody was quicker
    else:
        done.removed.append(what)


def remove_leftovers(*, everything: bool = False) -> Cleaned:
    """Remove everything whose owner is not alive; with `everything`, also what was made elsewhere.

    An engine that cannot be asked is told of as `unseen`.
    """
    try:
        client = connect()
        with engine_errors("docker"):
            try:
                elsewhere = [] if everything else _elsewhere(client)
                done = remove_owned(client, OWNER, lambda mark: bool(mark) and is_leftover(mark, everything=everything))
            finally:
                client.close()
    except HostError as error:
        return Cleaned([], [], [], [str(error)])
    done.elsewhere.extend(elsewhere)
    return done


def _elsewhere(client: Any) -> list[str]:
    return [what for what, mark, _ in _labelled(client, OWNER) if mark and owner_of(mark) == "elsewhere"]

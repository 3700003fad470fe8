"""What a run makes in the engine: two networks, containers with their volumes, all of it labelled and limited.

A thread cannot be cancelled, and makes things after the run that began it was given up.  So a workshop is closed first:
from then on it makes nothing more, and takes back what was being made at that moment.
"""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from docker.errors import APIError, DockerException
from docker.types import IPAMConfig, IPAMPool, LogConfig

from harness.docker.addresses import Subnet, random_subnet
from harness.docker.engine import engine_errors, reason
from harness.docker.leftovers import OWNER, RUN, remove_owned
from harness.errors import HostError
from harness.local.processes import owner_mark

USER_ID = 10001
USER = f"{USER_ID}:{USER_ID}"
SUBNET_TRIES = 10
PIDS_MAX = 256
ONE_CORE = 1_000_000_000
KINDS = ("mesh", "control")
PART = "knhk.part"


class Workshop:
    """Makes and removes the things of one run.  Every method blocks.  Raises HostError and the engine's own errors."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.run = secrets.token_hex(4)
        self.subnets: dict[str, Subnet] = {}
        self._closed = False

    def close(self) -> None:
        """Make nothing more.  May be repeated."""
        self._closed = True

    def _check_open(self) -> None:
        if self._closed:
            raise HostError("the run is being ended: nothing more is made")

    @property
    def labels(self) -> dict[str, str]:
        """By which `clean` finds what a harness has left."""
        return {OWNER: owner_mark(), RUN: self.run}

    def name(self, what: str) -> str:
        """A name that no other run has."""
        return f"knhk-{self.run}-{what}"

    def make_networks(self) -> None:
        """Both networks, each in a subnet that nothing else has."""
        for kind in KINDS:
            self.subnets[kind] = self._make_network(kind)

    def _make_network(self, kind: str) -> Subnet:
        """A network in a subnet that nothing else has."""
        for _ in range(SUBNET_TRIES):
            self._check_open()
            subnet = random_subnet()
            ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=subnet.gateway)])
            try:
                made = self.client.networks.create(
                    self.name(kind), driver="bridge", ipam=ipam, labels=self.labels, check_duplicate=True
                )
            except APIError as error:
                if "overlap" in str(error).lower():
                    continue
                raise HostError(f"network {kind}: {reason(error)}") from None
            except DockerException as error:
                raise HostError(f"network {kind}: {reason(error)}") from None
            self._keep_if_open(made.remove)
            return subnet
        raise HostError(f"network {kind}: no subnet is free, of {SUBNET_TRIES} tried; docker network prune may help")

    def _keep_if_open(self, remove: Callable[[], object]) -> None:
        """What was made while the workshop was closed is taken back at once."""
        if self._closed:
            with suppress(DockerException):
                remove()
            self._check_open()

    def make_volume(self, name: str) -> None:
        """A volume that carries this run's label; one that is there already is the one."""
        self._check_open()
        made = self.client.volumes.create(name, labels=self.labels)
        self._keep_if_open(made.remove)

    def make_container(
        self,
        name: str,
        image: str,
        command: list[str] | None,
        address: Callable[[Subnet], str],
        memory: str,
        mounts: dict[str, str] | None = None,
    ) -> Any:
        """Nothing in it is privileged, everything has a limit, and it runs as USER_ID whatever its image says."""
        self._check_open()
        api = self.client.api
        endpoint = api.create_endpoint_config(ipv4_address=address(self.subnets["mesh"]))
        host = api.create_host_config(
            binds={volume: {"bind": place, "mode": "rw"} for volume, place in (mounts or {}).items()},
            mem_limit=memory,
            memswap_limit=memory,
            nano_cpus=ONE_CORE,
            pids_limit=PIDS_MAX,
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            read_only=True,
            tmpfs={"/tmp": "size=16m"},
            log_config=LogConfig(type=LogConfig.types.JSON, config={"max-size": "20m", "max-file": "1"}),
        )
        made = api.create_container(
            image,
            entrypoint=command[:1] if command else None,
            command=command[1:] if command else None,
            name=self.name(name),
            user=USER,
            labels={**self.labels, PART: name},
            host_config=host,
            networking_config=api.create_networking_config({self.name("mesh"): endpoint}),
        )
        control = address(self.subnets["control"])
        api.connect_container_to_network(made["Id"], self.name("control"), ipv4_address=control)
        container = self.client.containers.get(made["Id"])
        self._keep_if_open(partial(container.remove, force=True, v=True))
        return container

    def remove_all(self) -> list[str]:
        """Everything that carries this run's label, and the client; returns a line for each thing that stays.

        After `close`, and once no thread makes anything any more.
        """
        self.close()
        try:
            with engine_errors("the end of the run"):
                return remove_owned(self.client, RUN, lambda run: run == self.run).stays
        except HostError as error:
            return [str(error)]
        finally:
            self.client.close()


def own_directory(name: str) -> bytes:
    """An empty directory as a tar archive, owned by who runs in the containers.

    A volume's own root may be another's: it is what the image has at that place, or root's where that has nothing.
    """
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(_owned_by_the_node(entry))
    return archive.getvalue()


def archive_of(directory: Path) -> bytes:
    """The files of `directory` as a tar archive, owned by who runs in the containers."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for path in sorted(directory.iterdir()):
            tar.add(path, arcname=path.name, filter=_owned_by_the_node)
    return archive.getvalue()


def _owned_by_the_node(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    entry.uid = entry.gid = USER_ID
    entry.uname = entry.gname = ""
    return entry


def last_words(container: Any) -> str:
    """The last line of a container's log."""
    try:
        lines = container.logs(tail=20).decode(errors="replace").strip().splitlines()
    except (DockerException, OSError):
        lines = []
    return str(lines[-1].strip()) if lines else "it said nothing"

"""What a run makes in the engine: two networks, containers with their volumes, all of it labelled and limited."""

from __future__ import annotations

import io
import secrets
import tarfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from docker.errors import APIError, DockerException
from docker.types import IPAMConfig, IPAMPool, LogConfig

from harness.docker.addresses import Subnet, random_subnet
from harness.docker.engine import reason
from harness.docker.leftovers import OWNER, RUN, remove_owned
from harness.errors import HostError
from harness.local.processes import owner_mark

USER_ID = 10001
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
            subnet = random_subnet()
            ipam = IPAMConfig(pool_configs=[IPAMPool(subnet=str(subnet), gateway=subnet.gateway)])
            try:
                self.client.networks.create(
                    self.name(kind), driver="bridge", ipam=ipam, labels=self.labels, check_duplicate=True
                )
            except APIError as error:
                if "overlap" in str(error).lower():
                    continue
                raise HostError(f"network {kind}: {reason(error)}") from None
            except DockerException as error:
                raise HostError(f"network {kind}: {reason(error)}") from None
            return subnet
        raise HostError(f"network {kind}: no subnet is free, of {SUBNET_TRIES} tried; docker network prune may help")

    def make_container(
        self,
        name: str,
        image: str,
        command: list[str] | None,
        address: Callable[[Subnet], str],
        memory: str,
        mounts: dict[str, str] | None = None,
    ) -> Any:
        """Nothing in it is privileged, and everything has a limit."""
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
            labels={**self.labels, PART: name},
            host_config=host,
            networking_config=api.create_networking_config({self.name("mesh"): endpoint}),
        )
        control = address(self.subnets["control"])
        api.connect_container_to_network(made["Id"], self.name("control"), ipv4_address=control)
        return self.client.containers.get(made["Id"])

    def remove_all(self) -> None:
        """Everything that carries this run's label, and the client."""
        with suppress(DockerException):
            list(remove_owned(self.client, RUN, lambda run: run == self.run))
        self.client.close()


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

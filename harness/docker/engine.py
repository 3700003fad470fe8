"""The Docker engine, and what can be wrong with it, each in one line that says what to do."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from harness.errors import HostError

NODE_IMAGE = "knhk-node"
RELAY_IMAGE = "knhk-relay"
LIAR_IMAGE = "knhk-liar"
HOW_TO_BUILD = "compose/build-images makes it"
TIMEOUT_S = 60


def connect() -> Any:
    """A client of the engine that the environment names.  Raises HostError."""
    try:
        client = docker.from_env(timeout=TIMEOUT_S)
    except DockerException as error:
        raise HostError(f"docker: {reason(error)}") from None
    return client


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """What the engine refuses, as a HostError of one line that says what was being done."""
    try:
        yield
    except (DockerException, OSError) as error:
        raise HostError(f"{doing}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """One line for a person, with the way out where there is one."""
    said = " ".join(str(getattr(error, "explanation", None) or error).split())
    lower = said.lower()
    if isinstance(error, ImageNotFound) or "no such image" in lower:
        return f"the image is missing ({said[:200]}); {HOW_TO_BUILD}"
    if "permission denied" in lower and "sock" in lower:
        return "permission to use the Docker daemon is denied: join the group docker, or be root"
    if any(one in lower for one in ("no such file or directory", "connection refused", "connection aborted")):
        return f"no Docker daemon answers: start dockerd, or set DOCKER_HOST ({said[:200]})"
    if "no space left" in lower:
        return f"the disk is full ({said[:200]})"
    if "is already in use by container" in lower:
        return f"the name is taken ({said[:200]}); python -m harness clean removes what was left behind"
    return said[:300]


def is_gone(error: APIError) -> bool:
    """Whether the engine does not know the thing any more, or is removing it already."""
    return isinstance(error, NotFound) or "removal" in str(error)


@cache
def problem_here(images: tuple[str, ...]) -> str | None:
    """Why no container can be run here, a line; None if one can."""
    try:
        client = connect()
        try:
            with engine_errors("docker"):
                client.ping()
                for image in images:
                    try:
                        client.images.get(image)
                    except ImageNotFound:
                        return f"no image {image}: {HOW_TO_BUILD}"
        finally:
            client.close()
    except HostError as error:
        return str(error)
    return None


def build_on_node_image(directory: Path, place: str, *, name: str) -> str:
    """The node's image with the files of `directory` at `place`, called `name`; returns the name.  Raises HostError."""
    client = connect()
    try:
        with tempfile.TemporaryDirectory() as context, engine_errors(f"image {name}"):
            shutil.copytree(directory, Path(context) / "files", ignore=shutil.ignore_patterns("__pycache__"))
            (Path(context) / "Dockerfile").write_text(f"FROM {NODE_IMAGE}\nCOPY files {place}\n")
            client.images.build(path=context, tag=name, rm=True, forcerm=True)
    finally:
        client.close()
    return name

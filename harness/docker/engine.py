"""The Docker engine, and what can be wrong with it, each in one line that says what to do."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from harness.docker.sources import LABEL, digest_of_sources
from harness.errors import HostError

NODE_IMAGE = "knhk-node"
RELAY_IMAGE = "knhk-relay"
LIAR_IMAGE = "knhk-liar"
OWN_IMAGES = (NODE_IMAGE, RELAY_IMAGE, LIAR_IMAGE)
TIMEOUT_S = 60
SOCKET = Path("/var/run/docker.sock")
"""Where an engine listens when nobody says otherwise."""
SILENCES = ("filenotfound", "no such file", "refused", "connection aborted", "name or service not known")
"""By what requests says, in lower case, that nobody answers at an address."""


def connect() -> Any:
    """A client of the engine that the environment names.  Raises HostError."""
    try:
        client = docker.from_env(timeout=TIMEOUT_S)
    except (DockerException, OSError) as error:
        raise HostError(f"docker: {reason(error)}") from None
    except (ValueError, ImportError) as error:  # an address that cannot be read, or one for which a package is missing
        raise HostError(f"docker: {_bad_address(error)}") from None
    return client


def is_expected() -> bool:
    """Whether there should be an engine: the environment names one, or the place where one listens is there."""
    return bool(os.environ.get("DOCKER_HOST")) or SOCKET.exists()


def remedy(problem: str) -> str:
    """What to do where no engine answers, if `problem` does not say it.  One who has named an engine needs no other."""
    named = os.environ.get("DOCKER_HOST")
    if "permission" in problem:
        return ""
    if named:
        return f"DOCKER_HOST is {named}: unset it, or name an engine that answers"
    if SOCKET.exists():
        return f"start dockerd: {SOCKET} is there, and nobody answers at it"
    return "on Debian: apt install docker.io, then start dockerd"


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """What the engine refuses, as a HostError of one line that says what was being done."""
    try:
        yield
    except (DockerException, OSError) as error:
        raise HostError(f"{doing}: {reason(error)}") from None


def reason(error: BaseException) -> str:
    """One line for a person, with the way out where there is one.

    Whether a daemon answers is told by the kind of error, not by its text: one that says "no such file" of a program
    in an image has answered.
    """
    said = " ".join(str(getattr(error, "explanation", None) or error).split())
    lower = said.lower()
    if not isinstance(error, APIError):
        return _no_answer(said)
    if isinstance(error, ImageNotFound) or "no such image" in lower:
        return f"the image is missing ({said[:200]}); {how_to_get(said)}"
    if "no space left" in lower:
        return f"the disk is full ({said[:200]})"
    if "is already in use by container" in lower:
        return f"the name is taken ({said[:200]}); python -m harness clean removes what was left behind"
    return said[:300]


def _no_answer(said: str) -> str:
    """Of what docker-py and requests say before any daemon has spoken."""
    lower = said.lower()
    if "permission denied" in lower:
        return "permission to use the Docker daemon is denied: join the group docker, or be root"
    if any(one in lower for one in SILENCES):
        return f"no Docker daemon answers: start dockerd, or set DOCKER_HOST ({said[:200]})"
    if "timed out" in lower:
        return f"the Docker daemon does not answer in time ({said[:200]})"
    named = os.environ.get("DOCKER_HOST")
    return f"{said[:300]} (DOCKER_HOST is {named})" if named else said[:300]


def _bad_address(error: BaseException) -> str:
    said = " ".join(str(error).split())
    return f"DOCKER_HOST cannot be used: {os.environ.get('DOCKER_HOST', '')!r}: {said[:200]}"


def how_to_get(image: str) -> str:
    """Where an image comes from: ours are built here, and of another only its author knows."""
    if any(own in image for own in OWN_IMAGES):
        return "compose/build-images makes it"
    return "build it, or docker pull it: it is the subject's own"


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
                        found = client.images.get(image)
                    except ImageNotFound:
                        return f"no image {image}: {how_to_get(image)}"
                    if image in OWN_IMAGES and _is_stale(found):
                        return f"image {image} is of other sources than these: compose/build-images makes it anew"
        finally:
            client.close()
    except HostError as error:
        return str(error)
    return None


def _is_stale(image: Any) -> bool:
    """Whether one of our images was built from other files than those that are here."""
    here = digest_of_sources()
    return here is not None and image.labels.get(LABEL) != here


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

"""The subject: which program a run's nodes are, as a TOML file that docs/node-contract.md describes.

    name        what it is called in reports
    command     how a node is started; "{config}" stands for its configuration file
    types       which of gset, pncounter, orset it has
    transports  which of quic, tcp its links run over
    image       the image in which the command is run by the backend docker
    offers      what it does beyond the required part of the contract, see OFFERS

Without one, the subject is the reference mesh.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import msgspec

from harness.campaign import Transport, split_place
from harness.errors import BadInput

OFFERS = ("events", "visibility", "clock", "peers", "ticks", "failpoints", "stable", "byzantine")
CONFIG = "{config}"


class Subject(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A subject, as decoded; the module's docstring explains the fields."""

    name: str
    command: tuple[str, ...]
    types: tuple[Literal["gset", "pncounter", "orset"], ...] = ("gset", "pncounter", "orset")
    transports: tuple[Transport, ...] = ("quic", "tcp")
    offers: tuple[
        Literal["events", "visibility", "clock", "peers", "ticks", "failpoints", "stable", "byzantine"], ...
    ] = ()
    image: str = ""
    directory: Path = Path()

    def command_for(self, config: Path) -> list[str]:
        """The command that starts a node with this configuration file; a relative program is in `directory`."""
        return [one.replace(CONFIG, str(config)) for one in self.command]


REFERENCE = Subject(
    name="knhk_mesh",
    command=(sys.executable, "-m", "knhk_mesh", "run", "--config", CONFIG),
    offers=("events", "visibility", "clock", "peers", "ticks", "stable", "byzantine"),
    directory=Path(__file__).resolve().parent.parent,
)


def read_subject(path: Path | None) -> Subject:
    """The subject in a TOML file; the reference mesh for None.  Raises BadInput."""
    if path is None:
        return REFERENCE
    try:
        subject = msgspec.toml.decode(path.read_bytes(), type=Subject)
    except OSError as error:
        raise BadInput(str(path), "", f"cannot be read: {error.strerror}") from None
    except msgspec.ValidationError as error:
        place, problem = split_place(str(error))
        raise BadInput(path.name, place, problem) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadInput(path.name, "", f"is not TOML: {error}") from None
    if not subject.command or not any(CONFIG in one for one in subject.command):
        raise BadInput(path.name, "command", f"does not say where {CONFIG} goes")
    if not subject.types or not subject.transports:
        raise BadInput(path.name, "types" if not subject.types else "transports", "names none")
    return msgspec.structs.replace(subject, directory=path.resolve().parent)

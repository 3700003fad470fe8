"""Which versions a run was made with, for the history's header."""

from __future__ import annotations

import platform
from functools import cache
from importlib import metadata

PACKAGES = ("knhk-harness", "msgspec", "pynacl")


@cache
def versions() -> dict[str, str]:
    """Package to version; "uninstalled" for one that runs from a checkout alone."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = "uninstalled"
    return found

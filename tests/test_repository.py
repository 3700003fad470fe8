"""The repository's own promises, checked as code is.

Each check is a function from a directory to the complaints it has about it, in a stable order.
The repository must give none, and a small tree with one planted violation must give that one:
a check that cannot fail would not be worth its run. Python is read with `ast`, never imported
or compiled, so that a module which does not even import is still judged. The last tests hold
`conftest.py` to the profiles that CONTRIBUTING.md promises.
"""

import ast
import fnmatch
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from packaging.requirements import Requirement

from tests.conftest import NIGHTLY_EXAMPLES, PROFILES, chosen_profile

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("knhk_mesh", "harness", "faults", "checkers")
README_LINES = 15

# The patterns are spelt so that none of them matches its own source.
PRIVATE_TEXT = {
    "a path of one machine": re.compile(r"(?<![\w.~}-])/(?:work|root|home/\w+|Users/\w+)/"),
    "a registry's address": re.compile(r"https?:(?=//)[^\s\"'<>]*(?:pypi|pythonhosted|/simple/|//registry\.)"),
}

Check = Callable[[Path], list[str]]


# --- what is looked at -------------------------------------------------------------------------


def tracked_files(root: Path) -> list[Path]:
    """Every file that git tracks under `root`, sorted.

    Where git cannot say (an unpacked archive, nothing added yet, a checkout of another user's),
    everything that `.gitignore` does not name stands in for it: more than is tracked, never less.
    """
    named: list[str] = []
    if (root / ".git").exists() and shutil.which("git"):
        listed = subprocess.run(["git", "-C", root, "ls-files", "-z"], capture_output=True, text=True)
        named = [name for name in listed.stdout.split("\0") if name]
    files = [root / name for name in named] or [path for path in root.rglob("*") if not ignored(path, root=root)]
    return sorted(path for path in files if path.is_file())


def ignored(path: Path, *, root: Path) -> bool:
    """Whether a plain pattern of `root/.gitignore` (a name, or a glob of one) names a part of `path`."""
    listed = root / ".gitignore"
    patterns = [".git", *(listed.read_text().split() if listed.is_file() else [])]
    return any(
        fnmatch.fnmatch(part, pattern.strip("/")) for part in path.relative_to(root).parts for pattern in patterns
    )


def texts(root: Path) -> Iterator[tuple[Path, str]]:
    """Each tracked file that holds text, by git's own test (no NUL in its first 8,000 bytes)."""
    for path in tracked_files(root):
        data = path.read_bytes()
        if b"\0" not in data[:8000]:
            yield path, data.decode(errors="replace")


def modules(root: Path) -> list[Path]:
    """Every Python file of the four packages, `__init__` and `__main__` included."""
    return [
        path for path in tracked_files(root) if path.suffix == ".py" and path.relative_to(root).parts[0] in PACKAGES
    ]


def project(root: Path) -> dict[str, Any]:
    """`pyproject.toml`, parsed."""
    return tomllib.loads((root / "pyproject.toml").read_text())


# --- the checks --------------------------------------------------------------------------------


def private_text(root: Path) -> list[str]:
    """Lines that only make sense on the machine where they were written."""
    return [
        f"{path.relative_to(root)}:{number}: {what}"
        for path, text in texts(root)
        for number, line in enumerate(text.splitlines(), start=1)
        for what, pattern in PRIVATE_TEXT.items()
        if pattern.search(line)
    ]


def readme_without_commands(root: Path) -> list[str]:
    """The two commands that do everything, where the README's first lines do not name them."""
    readme = root / "README.md"
    first = "\n".join(readme.read_text().splitlines()[:README_LINES]) if readme.is_file() else ""
    return [
        f"README.md: {command!r} is not in its first {README_LINES} lines"
        for command in ("make campaign", "make test")
        if command not in first
    ]


def undocumented_modules(root: Path) -> list[str]:
    """Public modules that do not say what they decide."""
    return [
        f"{path.relative_to(root)}: no docstring"
        for path in modules(root)
        if (path.name.startswith("__") or not path.name.startswith("_"))
        and not ast.get_docstring(ast.parse(path.read_text()))
    ]


def misdeclared_packages(root: Path) -> list[str]:
    """Packages that are missing from a wheel, or from the eyes of the layer contracts.

    The first for want of a line in `pyproject.toml`; the second for want of an `__init__.py`,
    without which import-linter passes a directory by in silence.
    """
    listed = set(project(root)["tool"]["setuptools"]["packages"])
    held = modules(root)
    present = {".".join(path.parent.relative_to(root).parts) for path in held}
    whole = {".".join(path.parent.relative_to(root).parts) for path in held if path.name == "__init__.py"}
    return [
        *(f"pyproject.toml: package {name} is not listed" for name in sorted(present - listed)),
        *(f"pyproject.toml: package {name} holds no module" for name in sorted(listed - present)),
        *(f"{name.replace('.', '/')}: no __init__.py" for name in sorted(present - whole)),
    ]


def unshipped_data(root: Path) -> list[str]:
    """Files beside the modules that no `package-data` pattern takes into a wheel."""
    shipped = project(root)["tool"]["setuptools"].get("package-data", {})
    forgotten = []
    for path in tracked_files(root):
        relative = path.relative_to(root)
        if relative.parts[0] not in PACKAGES or path.suffix == ".py":
            continue
        # Patterns are relative to the package that they are listed under; "*" stands for every one.
        owners = [(parent, ".".join(parent.parts)) for parent in relative.parents if parent.parts]
        patterns = [(owner, glob) for owner, name in owners for glob in (*shipped.get(name, ()), *shipped.get("*", ()))]
        if not any(fnmatch.fnmatch(str(relative.relative_to(owner)), glob) for owner, glob in patterns):
            forgotten.append(f"{relative}: in no package-data")
    return forgotten


def loose_requirements(root: Path) -> list[str]:
    """Requirements without a pin that satisfies them in `constraints.txt`, and its lines that pin nothing."""
    lines = (line.strip() for line in (root / "constraints.txt").read_text().splitlines())
    pins = [line for line in lines if line and not line.startswith("#")]
    unpinned = [pin for pin in pins if not re.fullmatch(r"[\w.-]+==[\w.+!-]+", pin)]
    versions = {canonical(name): version for name, _, version in (pin.partition("==") for pin in pins)}
    table = project(root)["project"]
    asked = [
        *table["dependencies"],
        *(one for extra in table["optional-dependencies"].values() for one in extra),
    ]
    return [
        *(f"constraints.txt: {pin!r} is not of the form name==version" for pin in unpinned),
        *(
            f"constraints.txt: nothing that satisfies {text!r}"
            for text in asked
            if versions.get(canonical(Requirement(text).name), "") not in Requirement(text).specifier
        ),
    ]


def canonical(name: str) -> str:
    """A distribution's name as registries compare it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


CHECKS = (
    private_text,
    readme_without_commands,
    undocumented_modules,
    misdeclared_packages,
    unshipped_data,
    loose_requirements,
)


# --- the repository keeps them, and each can fail -----------------------------------------------


MANIFEST = """
[project]
dependencies = ["pynacl>=1.5"]
optional-dependencies = { dev = ["ruff>=0.6"] }
[tool.setuptools]
packages = ['harness', 'harness.sim']
package-data = { harness = ["campaigns/*.toml"], "*" = ["py.typed"] }
"""

SOUND = {
    ".gitignore": "store/\n*.egg-info/\n",
    "README.md": "# A subject\n\n    make campaign\n    make test\n",
    "constraints.txt": "# why\nPyNaCl==1.5.0\nruff==0.6.1\n",
    "harness/__init__.py": '"""What drives."""',
    "harness/_private.py": "",
    "harness/campaigns/one.toml": "",
    "harness/py.typed": "",
    "harness/sim/__init__.py": '"""What pretends."""',
    "pyproject.toml": MANIFEST,
    "store/history.json": "on /" + "root/ of somebody",
}

# One file that spoils the sound tree, and what must be said of it. Private texts are assembled
# from parts, since this file is among those that are searched.
PLANTED: list[tuple[Check, str, str, str]] = [
    (private_text, "docs/a.md", "a\nsee /" + "work/main", "docs/a.md:2: a path of one machine"),
    (private_text, "a.toml", "x = '/" + "home/kim/x'", "a.toml:1: a path of one machine"),
    (private_text, "a.py", "'file:///" + "root/x'", "a.py:1: a path of one machine"),
    (private_text, ".ci/run", "pip -i https://" + "pypi.example/", ".ci/run:1: a registry's address"),
    (private_text, "a.txt", "http://mirror/" + "simple/", "a.txt:1: a registry's address"),
    (readme_without_commands, "README.md", "make test", "'make campaign' is not in"),
    (readme_without_commands, "README.md", "make test" + "\n" * 15 + "make campaign", "'make campaign' is"),
    (undocumented_modules, "harness/plan.py", "x = 1", "harness/plan.py: no docstring"),
    (undocumented_modules, "harness/__init__.py", "# why", "harness/__init__.py: no docstring"),
    (misdeclared_packages, "faults/__init__.py", "", "package faults is not listed"),
    (misdeclared_packages, "pyproject.toml", MANIFEST.replace(", 'harness.sim'", ""), "is not listed"),
    (misdeclared_packages, "pyproject.toml", MANIFEST.replace("s = [", "s = ['x', "), "x holds no module"),
    (unshipped_data, "harness/schema.json", "{}", "harness/schema.json: in no package-data"),
    (loose_requirements, "constraints.txt", "ruff==0.6.1", "nothing that satisfies 'pynacl>=1.5'"),
    (loose_requirements, "constraints.txt", "PyNaCl==1.4\nruff==0.6.1", "nothing that satisfies 'pynacl>"),
    (loose_requirements, "constraints.txt", "PyNaCl==1.5\nruff==0.6.1\nx>=1", "'x>=1' is not of the form"),
]


@pytest.mark.parametrize("check", CHECKS)
def test_the_repository_keeps_its_promises(check: Check) -> None:
    assert check(ROOT) == []


@pytest.mark.parametrize("check", CHECKS)
def test_a_sound_tree_raises_no_complaint(check: Check, tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    assert check(tmp_path) == []


@pytest.mark.parametrize(("check", "name", "text", "complaint"), PLANTED)
def test_a_planted_violation_is_found(check: Check, name: str, text: str, complaint: str, tmp_path: Path) -> None:
    plant(tmp_path, SOUND | {name: text})
    [found] = check(tmp_path)
    assert complaint in found


def test_a_directory_that_the_layer_contracts_cannot_see_is_found(tmp_path: Path) -> None:
    plant(tmp_path, SOUND)
    (tmp_path / "harness/sim/__init__.py").rename(tmp_path / "harness/sim/heap.py")
    assert misdeclared_packages(tmp_path) == ["harness/sim: no __init__.py"]


def test_every_check_is_shown_to_fail() -> None:
    assert {check for check, *_ in PLANTED} == set(CHECKS)


def test_the_files_looked_at_are_those_of_the_repository() -> None:
    """No promise is kept by looking at nothing."""
    files = tracked_files(ROOT)
    assert {ROOT / name for name in ("Makefile", "pyproject.toml", "tests/test_repository.py")} <= set(files)
    assert {path.relative_to(ROOT).parts[0] for path in modules(ROOT)} == set(PACKAGES)
    assert not [path for path in files if ".git" in path.parts or ".venv" in path.parts]


def plant(root: Path, files: dict[str, str]) -> None:
    """Write a small tree: texts by relative path."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


# --- the profiles of tests/conftest.py ----------------------------------------------------------


@pytest.mark.parametrize(
    ("environment", "profile"),
    [
        ({}, "default"),
        ({"CI": "true"}, "ci"),
        ({"HYPOTHESIS_PROFILE": "nightly"}, "nightly"),
        ({"CI": "true", "HYPOTHESIS_PROFILE": "nightly"}, "nightly"),
        ({"CI": "true", "HYPOTHESIS_PROFILE": ""}, "ci"),
    ],
)
def test_the_environment_chooses_the_profile(environment: dict[str, str], profile: str) -> None:
    assert chosen_profile(environment=environment) == profile


def test_an_unknown_profile_is_refused_with_the_known_ones() -> None:
    with pytest.raises(pytest.UsageError, match=r"HYPOTHESIS_PROFILE: unknown profile 'hourly'; one of default, ci"):
        chosen_profile(environment={"HYPOTHESIS_PROFILE": "hourly"})


def test_no_profile_times_its_examples_and_nightly_looks_longest() -> None:
    profiles = {name: settings.get_profile(name) for name in PROFILES}
    assert {profile.deadline for profile in profiles.values()} == {None}
    assert profiles["ci"].derandomize
    assert profiles["nightly"].max_examples == NIGHTLY_EXAMPLES >= 20_000

"""How hard the property tests look: one of three Hypothesis profiles, chosen by the environment.

`HYPOTHESIS_PROFILE` names one; without it, `CI=true` means `ci`, and anything else `default`.
pytest's own `--hypothesis-profile` outranks both.

No profile has a deadline: on a shared machine a limit of 200 ms for an example measures the
neighbours. A test leaves `max_examples` to the profile; one that sets its own is out of the
nightly run's reach.
"""

import os
from collections.abc import Mapping

import pytest
from hypothesis import settings

NIGHTLY_EXAMPLES = 20_000

settings.register_profile("default", deadline=None, max_examples=100)
# Derandomised, so that a change is judged by what it changed and not by the draw of the day.
settings.register_profile("ci", deadline=None, max_examples=100, derandomize=True, print_blob=True)
settings.register_profile("nightly", deadline=None, max_examples=NIGHTLY_EXAMPLES, print_blob=True)

PROFILES = ("default", "ci", "nightly")


def chosen_profile(*, environment: Mapping[str, str]) -> str:
    """Return the profile that an environment asks for; `pytest.UsageError` if there is none such."""
    unnamed = "ci" if environment.get("CI") == "true" else "default"
    name = environment.get("HYPOTHESIS_PROFILE") or unnamed
    if name not in PROFILES:
        raise pytest.UsageError(f"HYPOTHESIS_PROFILE: unknown profile {name!r}; one of {', '.join(PROFILES)}")
    return name


def pytest_configure() -> None:
    """Load the profile before any test module, and so any property, is imported."""
    settings.load_profile(chosen_profile(environment=os.environ))

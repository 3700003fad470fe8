"""What tests of both transports have in common."""

import pytest

from tests.transport.members import KINDS


@pytest.fixture(params=sorted(KINDS))
def kind(request: pytest.FixtureRequest) -> str:
    """Each transport in its turn, by name."""
    return request.param

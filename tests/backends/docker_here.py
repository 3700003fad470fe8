"""Whether tests that need containers can run here, and the one reason if not."""

import pytest

from harness.docker.engine import NODE_IMAGE, RELAY_IMAGE, problem_here

PROBLEM = problem_here((NODE_IMAGE, RELAY_IMAGE))
needs_docker = pytest.mark.skipif(PROBLEM is not None, reason=f"containers: {PROBLEM}")

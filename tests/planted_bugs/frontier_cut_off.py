"""A member that tells the beginning of a frontier that is too wide, and is counted as if that were all."""

SHOWS = "property tests/test_member.py::test_a_frontier_that_is_too_wide_is_gathered_before_it_is_told"


def plant():
    from knhk_mesh import member

    member.DEPENDENCIES_MAX = 1 << 40

"""The root is a function of the set alone."""

from hashlib import blake2b

from hypothesis import given
from hypothesis import strategies as st

from knhk_mesh.merkle import EMPTY_ROOT, MerkleSet, _hash

IDS = st.integers(0, 40).map(lambda number: blake2b(b"%d" % number, digest_size=32).digest())

CROWDED = IDS.map(lambda one: bytes([one[0] % 2]) + one[1:])  # in two leaves, so that the order within one matters


def root_of(members):
    tree = MerkleSet()
    for member in members:
        tree.add(member)
    return tree.root()


@given(st.lists(IDS), st.integers(0, 5))
def test_any_way_to_one_set_gives_one_root(toggles, ask_every):
    tree, members = MerkleSet(), set()
    for step, member in enumerate(toggles):
        (tree.remove if member in members else tree.add)(member)
        members ^= {member}
        if ask_every and step % ask_every == 0:
            tree.root()
    assert tree.root() == root_of(sorted(members)) == root_of(sorted(members, reverse=True))


@given(st.sets(IDS), st.sets(IDS))
def test_different_sets_have_different_roots(one, other):
    assert (root_of(sorted(one)) == root_of(sorted(other))) == (one == other)


def test_the_empty_set_has_its_root_again():
    tree = MerkleSet()
    assert tree.root() == EMPTY_ROOT
    tree.add(bytes(32))
    assert tree.root() != EMPTY_ROOT
    tree.remove(bytes(32))
    assert tree.root() == EMPTY_ROOT


def test_a_leaf_and_an_inner_node_over_the_same_bytes_differ():
    """Without domain separation, a set whose ids are hashes of leaves could have the root of another set."""
    assert len({_hash(name, bytes(512)) for name in (b"leaf", b"inner", b"root")}) == 3


@given(st.sets(IDS) | st.sets(CROWDED))
def test_the_root_is_what_its_definition_says(members):
    """Written from the module's docstring with nothing of the module's, so a node in another language agrees."""

    def h(name, data):
        return blake2b(data, digest_size=32, person=b"knhk." + name).digest()

    leaves = [h(b"leaf", b"".join(sorted(one for one in members if one[0] == first))) for first in range(256)]
    inner = [h(b"inner", b"".join(leaves[at : at + 16])) for at in range(0, 256, 16)]
    assert root_of(sorted(members)) == h(b"root", b"".join(inner))

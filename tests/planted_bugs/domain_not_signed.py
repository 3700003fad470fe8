"""A vote without a domain of its own: its bytes could be taken for a statement of another kind."""

SHOWS = "campaign minority-readonly.toml"


def plant():
    from knhk_mesh import quorum

    quorum.VOTE_DOMAIN = bytes(16)

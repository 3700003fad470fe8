"""A signature that does not cover the dependencies: whoever passes a commit on may take its past away."""

SHOWS = "campaign forgers.toml"
SHOWS_LOCAL = "forgers.toml"


def plant():
    from knhk_mesh import commits

    def believed(network, wire, verify=commits.verify):
        _, net, author, incarnation, seq, prev, _, _, clock = commits._HEADER.unpack(wire.header)
        deps = tuple(wire.deps[at : at + 32] for at in range(0, len(wire.deps), 32))
        if net != network or not verify(author, wire.header, wire.signature):
            raise commits.BadCommit("signature")
        body = commits._open_body(wire.body)
        return commits.Commit(
            id=commits.commit_id(wire.header),
            author=author,
            incarnation=incarnation,
            seq=seq,
            prev=prev,
            deps=deps,
            clock=clock,
            operations=body.operations,
            proof=body.proof,
            accused=commits.check_proof(network, body.proof, verify) if body.proof else None,
            parents=deps if seq == 0 else (prev, *deps),
            wire=wire,
        )

    replace_everywhere(commits.open_commit, believed)


def replace_everywhere(what, by):
    """Modules import the function by its name, and functions have it as a default."""
    import harness.simulator.backend
    import knhk_mesh.commits
    import knhk_mesh.node
    import knhk_mesh.replica

    for module in (harness.simulator.backend, knhk_mesh.commits, knhk_mesh.node, knhk_mesh.replica):
        if getattr(module, "open_commit", None) is what:
            module.open_commit = by
    for function in (knhk_mesh.node.Node.__init__, knhk_mesh.replica.Replica.__init__):
        defaults = dict(function.__kwdefaults__)
        function.__kwdefaults__ = {name: by if value is what else value for name, value in defaults.items()}

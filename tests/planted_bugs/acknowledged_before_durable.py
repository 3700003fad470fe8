"""An acknowledgement that leaves before the write is durable, and then the power fails."""

SHOWS = "campaign power-cuts.toml"


def plant():
    from knhk_mesh.output_commit import OutputCommit

    release = OutputCommit.release

    def at_once(self, records, effects):
        held_before = len(self._held_back)
        out = list(release(self, records, effects))
        while len(self._held_back) > held_before:
            out.append(self._held_back.pop()[1])
        return out

    OutputCommit.release = at_once

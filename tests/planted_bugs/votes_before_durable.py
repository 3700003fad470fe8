"""A vote that leaves before it and its commit are durable."""

SHOWS = "campaign stable-power-cuts.toml"


def plant():
    from knhk_mesh.effects import Send
    from knhk_mesh.output_commit import OutputCommit

    release = OutputCommit.release

    def votes_first(self, records, effects):
        out = list(release(self, records, effects))
        held = [one for one in self._held_back if isinstance(one[1], Send) and b"\xa5votes" in one[1].frame[:8]]
        for one in held:
            self._held_back.remove(one)
        return [*out, *(effect for _, effect in held)]

    OutputCommit.release = votes_first

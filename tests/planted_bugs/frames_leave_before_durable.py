"""Frames that leave before the commit in them is durable, and then the power fails."""

SHOWS = "campaign power-cuts.toml"


def plant():
    from knhk_mesh.effects import Send
    from knhk_mesh.output_commit import OutputCommit

    release = OutputCommit.release

    def frames_at_once(self, records, effects):
        out = list(release(self, records, effects))
        for held in [held for held in self._held_back if isinstance(held[1], Send)]:
            self._held_back.remove(held)
            out.append(held[1])
        return out

    OutputCommit.release = frames_at_once

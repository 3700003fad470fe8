"""A node that throws out commits whose clock is more than five minutes from its own wall clock."""

SHOWS = "campaign clock-skew.toml"
SHOWS_LOCAL = "clock-skew.toml"


def plant():
    from knhk_mesh.replica import Replica

    merge = Replica.merge

    def strict(self, now, wires, **rest):
        def clock_ms(wire):
            return int.from_bytes(wire.header[200:208], "big") >> 16

        near = [wire for wire in wires if abs(clock_ms(wire) - now.wall // 1_000_000) <= 300_000]
        return merge(self, now, near, **rest)

    Replica.merge = strict

"""A member that writes a certificate once there is a next one: a crash takes the last that it has given."""

SHOWS = "campaign restarted-voters.toml"


def plant():
    from knhk_mesh.ballots import Ballots

    keep = Ballots._keep

    def one_behind(self, certificate):
        before = len(self._journal)
        keep(self, certificate)
        late = self._journal[before:]
        del self._journal[before:]
        self._journal += self.__dict__.pop("_late", [])
        self.__dict__["_late"] = late

    Ballots._keep = one_behind

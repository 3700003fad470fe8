"""The proxies by name, and what Toxiproxy makes of create, populate, update and reset.

Names are resolved before anything is changed, and every change is then made in one go: the handlers of two requests
never see each other's half.
"""

from __future__ import annotations

from typing import Any

from faults.relay_udp.addresses import Address, AddressError, resolve
from faults.relay_udp.direction import TOXICS_MAX
from faults.relay_udp.proxy import Proxy
from faults.relay_udp.timers import Timers
from faults.relay_udp.toxics import Toxic, check_name, parse, update
from faults.relay_udp.wire import ApiError, as_fields, bad_body, decode, flag_of, text_of

PROXIES_MAX = 4096


class Registry:
    """All proxies of one relay; each method is one request of the API, and raises ApiError."""

    def __init__(self, *, seed: int, timers: Timers) -> None:
        self.proxies: dict[str, Proxy] = {}
        self._seed = seed
        self._timers = timers

    def get(self, name: str) -> Proxy:
        """404 `proxy not found`."""
        if name not in self.proxies:
            raise ApiError("proxy not found", 404)
        return self.proxies[name]

    async def create(self, body: bytes) -> Proxy:
        """400 bad body or missing field, 409 `proxy already exists`, 500 if it cannot listen."""
        wanted = _Wanted(decode(body), place="the body", missing="")
        addresses = await _resolve(wanted.listen, wanted.upstream)
        if wanted.name in self.proxies:
            raise ApiError("proxy already exists", 409)
        return self._put(wanted, addresses)

    async def populate(self, body: bytes) -> tuple[list[Proxy], ApiError | None]:
        """The proxies of an array, and the error that ended it: those before it are there all the same."""
        try:
            entries = decode(body)
            if not isinstance(entries, list | None):
                raise bad_body("an array of proxies")
            wanted = [
                _Wanted(one, place=f"proxy {number}", missing=f" at proxy {number}")
                for number, one in enumerate(entries or [], start=1)
            ]
        except ApiError as error:
            return [], error
        addresses = [await _resolve(one.listen, one.upstream) for one in wanted]
        made: list[Proxy] = []
        for one, found in zip(wanted, addresses, strict=True):
            try:
                made.append(self._put_or_keep(one, found))
            except ApiError as error:
                return made, error
        return made, None

    async def update(self, name: str, body: bytes) -> Proxy:
        """404, 400 bad body, 500 if it cannot listen: it is then disabled."""
        proxy = self.get(name)
        fields = as_fields(decode(body), "the body")
        listen, upstream = text_of(fields, "listen", proxy.listen), text_of(fields, "upstream", proxy.upstream)
        enabled = flag_of(fields, "enabled", proxy.enabled)
        addresses = await _resolve(listen, upstream)
        if self.get(name) is not proxy:
            raise ApiError("proxy not found", 404)
        if str(_listen(addresses)) != proxy.listen or upstream != proxy.upstream:
            proxy.stop()
            proxy.listen, proxy.upstream = listen, upstream
        if enabled and not proxy.enabled:
            proxy.start(_listen(addresses), addresses[1])
        elif not enabled:
            proxy.stop()
        return proxy

    def remove(self, name: str) -> None:
        """404."""
        self.get(name).stop()
        del self.proxies[name]

    async def reset(self) -> None:
        """Enable every proxy and remove every toxic; 500 at the first that cannot listen."""
        for name, proxy in list(self.proxies.items()):
            if not proxy.enabled:  # only then is anything looked up: a heal must not wait for a name server
                addresses = await _resolve(proxy.listen, proxy.upstream)
                if self.proxies.get(name) is not proxy:
                    continue
                if not proxy.enabled:
                    proxy.start(_listen(addresses), addresses[1])
            for direction in (proxy.up, proxy.down):
                direction.remove(*direction.toxics)

    def close(self) -> None:
        """Close every socket."""
        for proxy in self.proxies.values():
            proxy.stop()

    def add_toxic(self, proxy: str, body: bytes) -> Toxic:
        """404, 400, 409 in the order of `toxics.parse`."""
        found = self.get(proxy)
        toxic = parse(decode(body), taken=frozenset(found.toxics()))
        direction = found.direction(toxic.direction)
        if len(direction.toxics) >= TOXICS_MAX:
            raise ApiError(f"at most {TOXICS_MAX} toxics in one direction", 400)
        direction.add(toxic)
        return toxic

    def get_toxic(self, proxy: str, name: str) -> Toxic:
        """404 for either."""
        toxics = self.get(proxy).toxics()
        if name not in toxics:
            raise ApiError("toxic not found", 404)
        return toxics[name]

    def update_toxic(self, proxy: str, name: str, body: bytes) -> Toxic:
        """404 for either, 400 bad body: the toxic is then as it was."""
        toxic = update(self.get_toxic(proxy, name), decode(body))
        self.get(proxy).direction(toxic.direction).replace(toxic)
        return toxic

    def remove_toxic(self, proxy: str, name: str) -> None:
        """404 for either."""
        toxic = self.get_toxic(proxy, name)
        self.get(proxy).direction(toxic.direction).remove(name)

    def _put(self, wanted: _Wanted, addresses: _Addresses) -> Proxy:
        if len(self.proxies) >= PROXIES_MAX and wanted.name not in self.proxies:
            raise ApiError(f"at most {PROXIES_MAX} proxies", 500)
        proxy = Proxy(wanted.name, wanted.listen, wanted.upstream, seed=self._seed, timers=self._timers)
        if wanted.enabled:
            proxy.start(_listen(addresses), addresses[1])
        self.proxies[wanted.name] = proxy
        return proxy

    def _put_or_keep(self, wanted: _Wanted, addresses: _Addresses) -> Proxy:
        existing = self.proxies.get(wanted.name)
        if existing is not None:
            if str(_listen(addresses)) == existing.listen and wanted.upstream == existing.upstream:
                return existing
            existing.stop()
        return self._put(wanted, addresses)


class _Wanted:
    """A proxy as a body asks for it.  Raises ApiError 400; `missing` says which entry of an array it is."""

    def __init__(self, body: Any, *, place: str, missing: str) -> None:
        fields = as_fields(body, place)
        self.name = text_of(fields, "name", "")
        self.listen = text_of(fields, "listen", "")
        self.upstream = text_of(fields, "upstream", "")
        self.enabled = flag_of(fields, "enabled", True)
        for field in ("name", "upstream"):
            if not getattr(self, field):
                raise ApiError(f"missing required field: {field}{missing}", 400)
        check_name(self.name)


_Addresses = tuple[Address | AddressError, Address | None]


async def _resolve(listen: str, upstream: str) -> _Addresses:
    """Where to listen, or why that is nowhere; and the upstream address, None if there is none now.

    Toxiproxy dials for each connection, and so takes any upstream; we take it too, and resolve when it is enabled.
    """
    try:
        where: Address | AddressError = await resolve(listen, nowhere="::")
    except AddressError as error:
        where = error
    try:
        return where, await resolve(upstream, nowhere="127.0.0.1")
    except AddressError:
        return where, None


def _listen(addresses: _Addresses) -> Address:
    """Raises ApiError 500."""
    if isinstance(addresses[0], AddressError):
        raise ApiError(f"listen udp: {addresses[0]}", 500)
    return addresses[0]

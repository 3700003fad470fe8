"""What the relay has counted, as Prometheus text: the proof that a fault took effect.

    toxiproxy_proxy_received_bytes_total, toxiproxy_proxy_sent_bytes_total    as Toxiproxy names them
    relay_udp_received_total, relay_udp_forwarded_total                       datagrams
    relay_udp_lost_total{reason}              queue-full, send-failed; and of a proxy: unreachable
    relay_udp_effects_total{toxic,type,effect}
                                              dropped, delayed, duplicated, reordered, corrupted, throttled
    relay_udp_sessions, relay_udp_sessions_evicted_total, relay_udp_waiting

The counts live where they are made, as plain integers, and are read when somebody asks; a proxy that is deleted
takes its own with it, a toxic does not.
"""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from faults.relay_udp.registry import Registry

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Proxies(Collector):
    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def collect(self) -> Iterator[Metric]:
        yield from self._bytes()
        yield from self._datagrams()
        yield self._effects()
        yield from self._sessions()

    def _bytes(self) -> Iterator[Metric]:
        labels = ["direction", "proxy", "listener", "upstream"]
        received = CounterMetricFamily("toxiproxy_proxy_received_bytes", "payload received", labels=labels)
        sent = CounterMetricFamily("toxiproxy_proxy_sent_bytes", "payload sent on", labels=labels)
        for proxy in self._registry.proxies.values():
            for direction in (proxy.up, proxy.down):
                values = [direction.name, proxy.name, proxy.listen, proxy.upstream]
                received.add_metric(values, direction.received_bytes)
                sent.add_metric(values, direction.forwarded_bytes)
        yield from (received, sent)

    def _datagrams(self) -> Iterator[Metric]:
        labels = ["proxy", "direction"]
        received = CounterMetricFamily("relay_udp_received", "datagrams received", labels=labels)
        forwarded = CounterMetricFamily("relay_udp_forwarded", "datagrams sent on, copies included", labels=labels)
        lost = CounterMetricFamily("relay_udp_lost", "datagrams lost by no toxic", labels=[*labels, "reason"])
        waiting = GaugeMetricFamily("relay_udp_waiting", "datagrams under way", labels=labels)
        for proxy in self._registry.proxies.values():
            for direction in (proxy.up, proxy.down):
                where = [proxy.name, direction.name]
                received.add_metric(where, direction.received)
                forwarded.add_metric(where, direction.forwarded)
                waiting.add_metric(where, direction.waiting)
                lost.add_metric([*where, "queue-full"], direction.queue_full)
                lost.add_metric([*where, "send-failed"], direction.send_failed)
            lost.add_metric([proxy.name, "upstream", "unreachable"], proxy.unreachable)
        yield from (received, forwarded, lost, waiting)

    def _effects(self) -> Metric:
        labels = ["proxy", "direction", "toxic", "type", "effect"]
        effects = CounterMetricFamily("relay_udp_effects", "what toxics did to datagrams", labels=labels)
        for proxy in self._registry.proxies.values():
            for direction in (proxy.up, proxy.down):
                for (toxic, kind, effect), times in direction.effects().items():
                    effects.add_metric([proxy.name, direction.name, toxic, kind, effect], times)
        return effects

    def _sessions(self) -> Iterator[Metric]:
        sessions = GaugeMetricFamily("relay_udp_sessions", "client addresses known", labels=["proxy"])
        evicted = CounterMetricFamily("relay_udp_sessions_evicted", "sessions closed for others", labels=["proxy"])
        for proxy in self._registry.proxies.values():
            sessions.add_metric([proxy.name], proxy.sessions)
            evicted.add_metric([proxy.name], proxy.sessions_evicted)
        yield from (sessions, evicted)


def exposition(registry: Registry) -> bytes:
    """All counts, in Prometheus' text format."""
    collectors = CollectorRegistry(auto_describe=False)
    collectors.register(_Proxies(registry))
    return generate_latest(collectors)

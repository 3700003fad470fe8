"""A relay for datagrams that speaks Toxiproxy 2.12.0's HTTP API, so that one client drives faults on TCP and on UDP.

    wire       a body of JSON, read as Go's decoder reads it; the errors of the API
    toxics     a toxic as data: what may be asked for, and which fault it is
    timers     one timerfd and one heap: what is delayed leaves on time
    direction  the toxics, the decisions and the counts of one way through a proxy
    proxy      sockets and sessions
    registry   the proxies by name: create, populate, reset
    metrics    the counts as Prometheus text
    api        HTTP

`python -m faults.relay_udp --listen 127.0.0.1:8474` runs it.  Every decision about a datagram is `faults.link`'s.
"""

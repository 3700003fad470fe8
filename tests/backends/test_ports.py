"""Ports: free for TCP and UDP, below the ephemeral range, and none given out twice in a row."""

import socket

import pytest

from harness.local import ports


def test_a_port_that_was_given_out_is_not_given_again_though_nobody_has_bound_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ports, "LOW", 20_000)
    monkeypatch.setattr(ports, "HIGH", 20_020)
    monkeypatch.setattr(ports, "_GIVEN", ports.deque(maxlen=1000))
    first, second = ports.free_ports(5), ports.free_ports(5)
    assert len({*first, *second}) == 10
    with pytest.raises(OSError, match="no 30 free ports from 20000 to 20020"):
        ports.free_ports(30)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_a_port_in_use_is_passed_over(kind: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_GIVEN", ports.deque(maxlen=1000))
    (port,) = ports.free_ports(1)
    monkeypatch.setattr(ports, "LOW", port)
    monkeypatch.setattr(ports, "HIGH", port + 1)
    monkeypatch.setattr(ports, "_GIVEN", ports.deque(maxlen=1000))
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind(("127.0.0.1", port))
        with pytest.raises(OSError, match="no 1 free ports"):
            ports.free_ports(1)
    assert ports.free_ports(1) == [port]

"""The ports that servers of the tests listen on are still free when they do."""

from __future__ import annotations

import socket
from pathlib import Path

import one_ceph
import one_machine


def test_the_system_gives_them_to_nobody_else() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(port < lowest for port in one_ceph.free_ports(20))


def test_none_comes_twice_and_none_is_taken() -> None:
    found = [*one_ceph.free_ports(20), *(one_machine.free_port() for _ in range(20))]
    assert len(set(found)) == 40
    with socket.create_server(("127.0.0.1", _following(found[-1]))):
        assert one_machine.free_port() == _following(_following(found[-1]))


def _following(port: int) -> int:
    return one_ceph._PORTS[(one_ceph._PORTS.index(port) + 1) % len(one_ceph._PORTS)]

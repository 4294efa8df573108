"""A port for a server that needs seconds to start is nobody else's meanwhile."""

import socket
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from lab.demo import free_ports
from lab.demo.free_ports import free_port

USUAL_LOWEST = 32_768
"""Of the ports that Linux gives away, unless somebody chose otherwise."""


def test_no_port_is_given_twice():
    ports = [free_port() for _ in range(200)]
    assert len(set(ports)) == len(ports)


def test_the_system_gives_none_of_them_to_whoever_asks_for_any():
    lowest, _ = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    if lowest < USUAL_LOWEST:
        pytest.skip(f"This system gives away ports from {lowest} on (ip_local_port_range).")
    assert 1024 < free_ports.FIRST < free_ports.LAST <= lowest
    assert all(free_ports.FIRST <= free_port() < free_ports.LAST for _ in range(200))


def test_a_port_that_somebody_listens_on_is_left_out(monkeypatch):
    first = free_port()
    monkeypatch.setattr(free_ports, "FIRST", first)
    monkeypatch.setattr(free_ports, "LAST", first + 2)
    with closing(socket.create_server(("127.0.0.1", first))):
        assert {free_port() for _ in range(4)} == {first + 1}
        with closing(socket.create_server(("", first + 1))), pytest.raises(OSError, match="is free"):
            free_port()


def test_processes_that_start_together_are_given_different_ones():
    program = "from lab.demo.free_ports import free_port; print(*(free_port() for _ in range(100)))"
    given = [
        subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    assert set(given[0]).isdisjoint(given[1])

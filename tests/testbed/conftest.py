"""Beds with a real HAProxy; without one these tests are skipped."""

import os
import socket
import sys
import tempfile

import pytest

from hymarl.registry import ConfigError
from hymarl.testbed.bed import Bed, find_haproxy, ports_from


@pytest.fixture(scope="session")
def haproxy():
    if sys.platform != "linux":
        pytest.skip("the testbed needs Linux")
    try:
        return find_haproxy(None)
    except ConfigError as error:
        pytest.skip(str(error))


@pytest.fixture
def first_port():
    """The first of twenty ports that are free, and that no other worker of pytest takes meanwhile."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 7
    for port in range(20_000 + 100 * worker, 32_000, 700):
        sockets = []
        try:
            for offset in range(20):
                for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
                    sockets.append(socket.socket(socket.AF_INET, kind))
                    sockets[-1].bind(("127.0.0.1", port + offset))
        except OSError:
            continue
        else:
            return port
        finally:
            for one in sockets:
                one.close()
    pytest.skip("no twenty ports are free")


@pytest.fixture
def folder():
    """An empty one with a short path: the path of a socket in it has at most 107 characters."""
    with tempfile.TemporaryDirectory() as path:
        yield path


@pytest.fixture
def make_bed(haproxy, first_port, folder):
    """``make_bed("leastconn", [16, 32], n_proxies=1)``: servers with one CPU each, not yet started."""

    def make(balance, weights, n_proxies=1, program=haproxy, cpus=None):
        cpus = cpus or [1] * len(weights)
        ports = ports_from(first_port, n_proxies, len(weights))
        return Bed(program, ports, balance, weights, cpus, cpus[::-1], 32, 128, folder)

    return make

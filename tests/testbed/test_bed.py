"""HAProxy itself: where it places requests, and that nothing of a bed is left, whatever happens."""

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from hymarl.agent.haproxy import RuntimeApi
from hymarl.registry import ConfigError

from ..envs.loadbalance.slow_proxy import SlowProxy


def placed(bed, weights, n, change=None):
    """The servers that HAProxy gives n requests to which never end, one after the other; it may be told new weights."""
    api, found = RuntimeApi(bed.socket_of(0), "be"), []
    with ExitStack() as stack:
        stack.callback(api.close)
        before = [0] * len(weights)
        for k in range(n):
            if change is not None and k == change[0]:
                api.set_weights({f"s{j}": w for j, w in change[1].items()})
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", bed.ports.proxies[0])))
            connection.sendall(b"GET /?w=1000 HTTP/1.1\r\nHost: x\r\n\r\n")
            for _ in range(2000):
                now = [counters.ongoing for counters in api.counters().values()]
                if sum(now) > sum(before):
                    break
                time.sleep(0.001)
            found.append(next(j for j in range(len(weights)) if now[j] > before[j]))
            before = now
    return found


def test_leastconn_is_what_the_simulator_is_tested_against(make_bed):
    weights, change = [1, 2, 4, 16], (14, {0: 9, 2: 3})
    with make_bed("leastconn", weights) as bed:
        found = placed(bed, weights, 30, change)
    proxy, expected = SlowProxy("leastconn", weights, None), []
    for k in range(30):
        for j, weight in change[1].items() if k == change[0] else ():
            proxy.change(j, weight=weight)
        expected.append(proxy.choose())
        proxy.change(expected[-1], 1)
    assert found == expected


def test_round_robin_gives_as_many_turns_as_weights_say(make_bed):
    with make_bed("roundrobin", [1, 2, 4]) as bed:
        found = placed(bed, [1, 2, 4], 14)
    assert [found[:7].count(j) for j in range(3)] == [found[7:].count(j) for j in range(3)] == [1, 2, 4]


def test_sed_by_lua_is_the_simulators(make_bed):
    weights = [16, 32, 64]  # least (n + 1) / w; ties at random, so the numbers after each round of seven are known
    with make_bed("sed", weights) as bed:
        found = placed(bed, weights, 14)
    assert [found.count(j) for j in range(3)] == [2, 4, 8]
    assert (found[0], found[:7].count(0)) == (2, 1)


def test_ports_in_use_are_named(make_bed):
    bed = make_bed("leastconn", [1, 1])
    with socket.socket() as other:
        other.bind(("127.0.0.1", bed.ports.servers[1]))
        with pytest.raises(ConfigError, match=rf"in use are {bed.ports.servers[1]}; choose another first port"), bed:
            pass


def test_a_start_that_fails_leaves_nothing(make_bed, folder):
    bed = make_bed("no_such_algorithm", [1, 1])
    with pytest.raises(ConfigError, match=r"did not start.*unknown algorithm|did not start.*balance"), bed:
        pass
    assert bed.ended()
    assert not os.listdir(folder)
    with make_bed("leastconn", [1, 1]):  # its ports are free again
        pass


PROGRAM = """
import sys, time
from hymarl.testbed.bed import Bed, find_haproxy, ports_from
two, ports = [1, 1], ports_from(int(sys.argv[1]), 2, 2)
with Bed(find_haproxy(None), ports, "leastconn", two, two, two, 32, 128, sys.argv[2]) as bed:
    print(*(process.pid for process in bed._running), flush=True)
    time.sleep(60)
"""


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_survives_the_program(haproxy, first_port, folder, number):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", PROGRAM, str(first_port), folder]
    program = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment)
    assert program.stdout is not None
    pids = [int(pid) for pid in program.stdout.readline().split()]
    assert len(pids) == 3
    assert all(map(alive, pids))
    program.send_signal(number)
    program.wait(20)
    program.stdout.close()
    for _ in range(200):
        if not any(map(alive, pids)):
            break
        time.sleep(0.05)
    assert not any(map(alive, pids))
    if number == signal.SIGINT:
        assert not os.listdir(folder)

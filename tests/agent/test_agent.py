"""The agent: what it makes of counters and a log, what it may do, and that it drives a HAProxy that runs."""

import asyncio
import math
import re
import socket
import subprocess
import sys
import time

import numpy as np
import pytest

from hymarl.agent.flows import Counters, Finished, Flows
from hymarl.agent.haproxy import HAProxy, RequestLog, RuntimeApi
from hymarl.agent.pilot import NO_LIMITS, Limits, Pilot
from hymarl.agent.settings import settings_of
from hymarl.agent.site import Settable, SiteError
from hymarl.envs.loadbalance.live import BEGAN, FINISHED, GOES_ON
from hymarl.envs.loadbalance.traffic import Traffic
from hymarl.registry import ConfigError
from hymarl.testbed import client
from hymarl.testbed.processes import start_module, stop

from ..testbed.conftest import first_port, folder, haproxy, make_bed  # noqa: F401


def kinds(events):
    return [(int(e["kind"]), int(e["server"]), round(float(e["start"]), 3), round(float(e["time"]), 3)) for e in events]


def test_beginnings_come_from_counters_and_are_corrected_by_the_log():
    flows, up = Flows(2, 20, durations=True), lambda ongoing, begun: Counters(ongoing, begun, 16, True)
    events, arrivals = flows.events([up(0, 7), up(0, 0)], [], 10.0)
    assert (len(events), arrivals) == (0, 0)  # what began before it looked
    events, arrivals = flows.events([up(2, 9), up(0, 0)], [], 11.0)
    assert arrivals == 2
    assert kinds(events) == [
        *((BEGAN, 0, 10.25, 10.25), (BEGAN, 0, 10.75, 10.75)),
        *((GOES_ON, 0, 10.25, 11.0), (GOES_ON, 0, 10.75, 11.0)),
    ]
    finished = [(0, Finished("a", 10.6, 11.5)), (1, Finished("b", 11.2, 11.4))]  # the second began since, too
    events, arrivals = flows.events([up(1, 9), up(1, 2)], finished, 12.0)
    assert arrivals == 2
    assert kinds(events) == [
        (FINISHED, 0, 10.6, 11.5),
        *((BEGAN, 1, 11.2, 11.2), (FINISHED, 1, 11.2, 11.4), (GOES_ON, 0, 10.25, 12.0)),
        *((BEGAN, 1, 11.5, 11.5), (GOES_ON, 1, 11.5, 12.0)),
    ]
    assert {int(e["flow"]) for e in events if e["kind"] == GOES_ON} <= set(range(20))


def test_nothing_grows_old_that_began_and_ended_between_two_looks():
    """Else it would take the place of another, which would stay for ever."""
    flows, random, now, begun, going = Flows(1, 50, durations=True), np.random.default_rng(0), 0.0, 0, []
    flows.events([Counters(0, 0, 16, True)], [], now)
    for _ in range(300):
        starts = now + np.sort(random.uniform(0, 1, random.poisson(5)))
        going += [(s, s + random.exponential(0.6)) for s in starts]
        begun, now = begun + len(starts), now + 1.0
        over = sorted((e, s) for s, e in going if e <= now)
        going = [(s, e) for s, e in going if e > now]
        counters = [Counters(len(going), begun, 16, True)]
        events, _ = flows.events(counters, [(0, Finished("a", s, e)) for e, s in over], now)
        on = events[events["kind"] == GOES_ON]
        assert len(on) == len(going)
        assert (events["kind"] == FINISHED).sum() == len(over)
        assert np.sort(on["start"]) == pytest.approx(np.sort([s for s, _ in going]), abs=1.0)


@pytest.mark.parametrize(
    ("wanted", "present", "configured", "expected"),
    [
        (16, 16, 16, 16),
        (40, 16, 16, 24),
        (4, 16, 16, 11),
        (200, 60, 16, 64),
        (1, 5, 16, 4),
        (3, 2, 2, 3),
        (256, 200, 200, 256),
    ],
)
def test_limits_of_a_weight(wanted, present, configured, expected):
    limits = Limits(step=1.5, span=4.0, blind_s=math.inf)
    assert limits.apply(wanted, present, configured, HAProxy.settable) == expected


@pytest.mark.parametrize(
    ("wanted", "present", "expected"), [(1.1, 1.0, 1.1), (9.0, 1.0, 1.5), (0.1, 1.0, 2 / 3), (9.0, 3.0, 4.0)]
)
def test_limits_of_a_weight_that_is_a_real_number(wanted, present, expected):
    limits = Limits(step=1.5, span=4.0, blind_s=math.inf)
    assert limits.apply(wanted, present, 1.0, Settable(1e-6, 1e6, whole=False)) == pytest.approx(expected)


def test_settings_of_an_environment_are_those_of_its_option(option):
    settings = settings_of("lb_haproxy", {"rule": "latency"})
    assert vars(settings) == option("env", "lb_haproxy", rule="latency")[1]
    for name in ("two_step", "nonsense", "../env/lb_haproxy"):
        with pytest.raises(ConfigError):
            settings_of(name, {})


def test_a_haproxy_that_is_not_there_is_named(tmp_path):
    with pytest.raises(SiteError, match=re.escape(f"HAProxy does not answer at {tmp_path / 'no.sock'}: No such file")):
        RuntimeApi(tmp_path / "no.sock", "be").counters()


def test_a_server_without_weight_is_left_alone(make_bed):  # noqa: F811
    with make_bed("leastconn", [16, 16, 0]) as bed:
        site = HAProxy(RuntimeApi(bed.socket_of(0), "be"), RequestLog("127.0.0.1", bed.ports.logs[0], "be"), 1.0)
        pilot = Pilot(site, settings_of("lb_haproxy", {"rule": "latency"}), NO_LIMITS, False, 0, print)
        pilot.connect()
        site.set_weights({"s0": 20, "s1": 40, "s2": 8})
        assert site.weights() == {"s0": 20, "s1": 40, "s2": 0}
        _, avail = pilot.look()
        pilot.restore()
        assert site.weights() == {"s0": 16, "s1": 16, "s2": 0}
        site.close()
    assert avail.tolist() == [[True, True, False]]


def test_what_fails_is_told_once_and_a_drained_server_stays_drained(make_bed):  # noqa: F811
    said = []
    with make_bed("leastconn", [16, 16, 16]) as bed:
        path = bed.socket_of(0)
        site = HAProxy(RuntimeApi(path, "be"), RequestLog("127.0.0.1", bed.ports.logs[0], "be"), 1.0)
        pilot = Pilot(site, settings_of("lb_haproxy", {"rule": "latency"}), NO_LIMITS, False, 0, said.append)
        pilot.connect()
        operator = RuntimeApi(path, "be")
        operator._command("set server be/s1 weight 0")
        pilot.look()
        site.close()
        path.rename(path.with_suffix(".away"))  # HAProxy cannot be asked
        for _ in range(3):
            with pytest.raises(SiteError) as failed:
                pilot.look()
            pilot.lost(str(failed.value))
            pilot.lost("it cannot be told")
        assert len(said) == 2
        path.with_suffix(".away").rename(path)
        pilot.restore()
        assert site.weights() == {"s0": 16, "s1": 0, "s2": 16}
        operator.close()
        site.close()


def test_a_balancer_that_is_seen_but_not_obeyed_says_so_once(make_bed):  # noqa: F811
    """As with a socket whose level is below admin."""
    said = []
    with make_bed("leastconn", [16, 16]) as bed:
        site = HAProxy(RuntimeApi(bed.socket_of(0), "be"), RequestLog("127.0.0.1", bed.ports.logs[0], "be"), 1.0)
        pilot = Pilot(site, settings_of("lb_haproxy", {"rule": "latency"}), NO_LIMITS, False, 0, said.append)
        pilot.connect()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as log:
            for k in range(3):
                log.sendto(b"hymarl be s0 %d %d 200" % (k, k + 1), ("127.0.0.1", bed.ports.logs[0]))
                pilot.look()
                pilot.lost("Permission denied")
            assert len(said) == 1
            pilot.restore()
            log.sendto(b"hymarl be s0 1 2 200", ("127.0.0.1", bed.ports.logs[0]))
            pilot.look()
        assert said[1:] == ["requests are seen again"]
        site.close()


def test_no_torch_is_imported():
    code = "import sys, hymarl.agent.command, hymarl.agent.pilot; sys.exit('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": ":".join(filter(None, sys.path))}).returncode
        == 0
    )


@pytest.fixture
def driven(make_bed, tmp_path):  # noqa: F811
    """What an agent said while it drove a HAProxy under traffic, the weights it set, and those at the end."""

    def run(*arguments, log_port=None, seconds=5.0):
        with make_bed("leastconn", [16, 16], cpus=[1, 4]) as bed:
            api, said = RuntimeApi(bed.socket_of(0), "be"), tmp_path / "said.txt"
            site = ("--site", "haproxy", "--socket", str(bed.socket_of(0)), "--backend", "be")
            where = ("--log", f"127.0.0.1:{log_port or bed.ports.logs[0]}")
            agent = start_module("agent.command", [*site, *where, *arguments], said)
            try:
                for _ in range(1200):
                    if said.exists() and "driving be" in said.read_text():
                        break
                    time.sleep(0.05)
                random = np.random.default_rng(0)
                times = np.cumsum(random.exponential(1 / 40, int(seconds * 40)))
                flows = Traffic(times, np.zeros(len(times), np.int64), random.exponential(0.08, len(times)))
                found = []

                async def play():
                    async def watch():
                        while True:
                            found.append([c.weight for c in api.counters().values()])
                            await asyncio.sleep(0.1)

                    watching = asyncio.create_task(watch())
                    await client.play(flows, bed.ports.proxies, time.monotonic() + 0.1, 2.0)
                    watching.cancel()

                asyncio.run(play())
                before = [c.weight for c in api.counters().values()]
                agent.terminate()
                assert agent.wait(20) == 0
                after = [c.weight for c in api.counters().values()]
            finally:
                stop([agent])
                api.close()
            return said.read_text(), np.array(found), before, after

    return run


def test_it_leans_to_the_faster_server_within_limits_and_sets_the_configured_weights_at_the_end(driven):
    said, weights, before, after = driven("--max-step", "1.2", "--max-span", "2")
    assert before[0] < 16 < before[1]
    assert (weights.max(), weights.min()) <= (32, 16)
    assert weights.min() >= 8
    assert after == [16, 16]
    assert "the configured weights are set" in said


def test_a_dry_run_only_says_what_it_would_set(driven):
    said, weights, _, after = driven("--dry-run", seconds=3.0)
    assert (weights == 16).all()
    assert after == [16, 16]
    assert re.search(r"would set s0 \d+, s1 \d+|would set s[01] \d+", said)


def test_without_sight_it_steps_back(driven, first_port):  # noqa: F811
    said, weights, *_ = driven("--blind-after", "0.5", log_port=first_port + 90, seconds=3.0)
    assert "the log has told of no finished request for 0.5 s although requests begin; setting the configured" in said
    assert (weights == 16).all()

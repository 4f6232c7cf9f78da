"""The queues against theory, against a slow simulation, and against conservation laws."""

import math

import numpy as np
import pytest

from hymarl.envs.loadbalance.parameters import RULES
from hymarl.envs.loadbalance.traces import DYNAMIC, Trace, write_trace

ONE_SERVER = {"balancers": 1, "ack_rate": 0.0, "reservoir": 1, "decay": 1.0, "dt": 10.0}


def mean_time_mmc(cpus, rho, size):
    """Mean completion time of M/M/c (Erlang C)."""
    a = rho * cpus
    waits = a**cpus / math.factorial(cpus) / (1 - rho)
    waits /= waits + sum(a**k / math.factorial(k) for k in range(cpus))
    return size * (1 + waits / (cpus * (1 - rho)))


def mean_jct(env, play):
    return play(env, "ecmp", env.n_envs)[1]["jct_mean"].mean() / 1e3


@pytest.mark.parametrize(("rho", "flows"), [(0.5, 400_000), (0.8, 2_000_000)])
@pytest.mark.parametrize(("cpus", "service"), [(1, "ps"), (1, "fifo"), (4, "fifo"), (4, "ps")])
def test_mean_completion_time_of_exponential_jobs_is_that_of_theory(make_env, play, rho, flows, cpus, service):
    rows = 16
    steps = round(flows * 0.2 / (rho * cpus) / 10.0 / rows)
    changes = {"cpus": [cpus], "service": service, "rho": rho, "episode_limit": steps, "warmup": 100.0}
    env = make_env(n_envs=rows, workers=1000, **ONE_SERVER, **changes)
    assert mean_jct(env, play) == pytest.approx(mean_time_mmc(cpus, rho, 0.2), rel=0.03)


def test_processor_sharing_does_not_care_about_the_distribution_of_sizes(make_env, play):
    changes = {"cpus": [1], "rho": 0.5, "episode_limit": 1000, "warmup": 100.0, "workers": 1000}
    env = make_env(n_envs=16, size_dist="lognormal", size_sigma=1.0, **ONE_SERVER, **changes)
    assert mean_jct(env, play) == pytest.approx(0.2 / (1 - 0.5), rel=0.03)


class SlowServer:
    """One server, simulated by working off every flow in every little piece of time."""

    def __init__(self, cpus, limit, places, dt, speeds):
        self.cpus, self.limit, self.places = cpus, limit, places
        self.dt, self.speeds = dt, speeds
        self.now, self.left, self.born, self.jct, self.drops = 0.0, [], [], [], 0

    def run(self, until):
        while self.now < until:
            instant = int(self.now / self.dt + 1e-9)
            speed, end = self.speeds[instant], min(until, (instant + 1) * self.dt)
            if speed == 0.0:
                self.drops += len(self.left)
                self.left, self.born = [], []
            n = min(len(self.left), self.limit)
            rate = speed * min(1.0, self.cpus / n) if n else 0.0
            finish = self.now + min(self.left[:n]) / rate if rate else math.inf
            self.left = [x - rate * (min(finish, end) - self.now) if k < n else x for k, x in enumerate(self.left)]
            self.now = min(finish, end)
            if finish <= end:
                k = int(np.argmin(self.left[:n]))
                self.jct.append(self.now - self.born.pop(k))
                self.left.pop(k)

    def arrive(self, t, size):
        self.run(t)
        if len(self.left) == self.places or self.speeds[int(t / self.dt + 1e-9)] == 0.0:
            self.drops += 1
        else:
            self.left.append(size)
            self.born.append(t)


@pytest.mark.parametrize("scenario", ["static", "bg", "failure"])
@pytest.mark.parametrize("service", ["ps", "fifo"])
def test_one_server_does_exactly_what_a_slow_simulation_does(make_env, start, advance, tmp_path, scenario, service):
    random = np.random.default_rng(3)
    times, sizes = np.cumsum(random.exponential(0.1, 400)), random.exponential(0.2, 400)
    write_trace(Trace(times, sizes, np.full(400, DYNAMIC)), tmp_path / "trace.csv")
    env = make_env(
        balancers=1, cpus=[2], workers=3, max_clients=7, service=service, scenario=scenario, warmup=0.0,
        trace=str(tmp_path / "trace.csv"), trace_loop=False, episode_limit=400,
    )  # fmt: skip
    start(env)
    world, traffic = env.engine.world, env.engine.parameters.traffic
    slow = SlowServer(2, 3 if service == "ps" else 2, 7, 0.25, world.changes["speed"][0, :, 0].copy())
    for t, size in zip(traffic.trace_times, traffic.trace_sizes, strict=True):
        slow.arrive(t, size)
    slow.run(100.0)
    for _ in range(400):
        advance(env)
    episode = world.episode[0]
    assert (episode["arrived"], episode["dropped"]) == (400, slow.drops)
    assert slow.drops > 0
    assert world.jct[0, : episode["n_jct"]] == pytest.approx(slow.jct, abs=1e-9)


@pytest.mark.parametrize("scenario", ["static", "unknown", "misspec", "bg", "burst", "failure", "mixed"])
@pytest.mark.parametrize("service", ["ps", "fifo"])
def test_no_flow_is_lost(make_env, start, advance, follow, scenario, service):
    env = make_env(n_envs=4, rho=1.3, scenario=scenario, service=service, workers=4, max_clients=9)
    start(env)
    random = np.random.default_rng(0)
    world, places = env.engine.world, env.engine.world.free.shape[1]
    for step in range(env.spec.episode_limit):
        follow(env, RULES[step % len(RULES)])
        advance(env, random.integers(0, 4, (4, 4)))
        episode, load = world.episode, world.servers["load"]
        assert (episode["arrived"] == episode["finished"] + episode["dropped"] + load.sum(axis=1)).all()
        assert (world.pairs["count"].sum(axis=1) == load).all()
        assert (world.pairs["count"] >= 0).all()
        assert (load <= 9).all()
        assert (episode["n_free"] + load.sum(axis=1) == places).all()
        assert (world.servers["work"] > -1e-9).all()
    assert (episode["dropped"] > 0).any()


def test_remaining_work_is_that_of_the_flows(make_env, start, advance):
    env = make_env(n_envs=2, rho=0.95, workers=3)
    start(env)
    world = env.engine.world
    for _ in range(50):
        advance(env)
        for b in range(2):
            for j, server in enumerate(world.servers[b]):
                work = (world.slots[b, j, : server["busy"]]["mark"] - server["virtual"]).sum()
                for n in range(server["load"] - server["busy"]):
                    flow = world.backlog[b, j, (server["head"] + n) % world.backlog.shape[2]]
                    work += world.flows[b, flow]["size"]
                assert server["work"] == pytest.approx(work, abs=1e-9)


def test_servers_do_all_the_work_that_arrives(make_env, play):
    for rule in ("wcmp", "sed"):
        metrics = play(make_env(n_envs=32, episode_limit=400), rule, 64)[1]
        assert metrics["util_mean"].mean() == pytest.approx(0.85, rel=0.01)
        assert metrics["drops"].sum() == 0


def test_utilization_does_not_depend_on_who_does_the_work(make_env, play):
    quiet = {"n_envs": 8, "rho": 0.3, "episode_limit": 40}
    work = [play(make_env(**quiet), rule, 8)[1]["arrivals"] for rule in ("ecmp", "gsed")]
    assert (work[0] == work[1]).all()

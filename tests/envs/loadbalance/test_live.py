"""Balancers whose flows are reported: they see and do what the simulator's do for the same flows."""

import numpy as np
import pytest

from hymarl.components.rng import derive, draw, uniform
from hymarl.envs.loadbalance import live
from hymarl.envs.loadbalance.draws import DECISIONS, STREAM_NUMBERS
from hymarl.envs.loadbalance.live import BEGAN, EVENT, FINISHED, GOES_ON
from hymarl.envs.loadbalance.traffic import traffic

from .slow_proxy import play

STEPS, WORKERS = 60, 32
SMALL = {"cpus": [1, 2, 4], "balancers": 3, "warmup": 0.0, "episode_limit": STEPS, "action_delay": 0.0}
VARIANTS = [
    {"ack_rate": 0.0},
    {"features": "all", "ack_rate": 8.0, "obs_unit": "size", "obs_own_arrivals": True},
    {"rule": "pretrained", "ack_rate": 0.0},
    {"rule": "latency", "latency_gain": 0.1, "fill": "zero_fill", "ack_rate": 0.0, "decay_norm": True},
]


def ongoing(env):
    """(server, balancer, start) of the flows in the simulator, in the order in which it goes through them."""
    world = env.engine.world
    for j, server in enumerate(world.servers[0]):
        places = [*world.slots[0, j, : server["busy"]]["flow"]]
        places += [world.backlog[0, j, (server["head"] + k) % 160] for k in range(server["load"] - server["busy"])]
        for flow in world.flows[0, places]:
            yield j, int(flow["balancer"]), float(flow["start"])


@pytest.fixture
def history(make_env, seeds, start, advance):
    """An episode: per step the observation and weights of the simulator, and what was reported of flows."""

    def run(**changes):
        env, choose, seen, waiting = make_env("lb_haproxy", **{**SMALL, **changes}), np.random.default_rng(2), [], []
        start(env)
        for _ in range(STEPS):
            actions = choose.integers(0, 3, (1, 3))
            step = advance(env, actions)
            world = env.engine.world
            seen.append(
                (actions[0], step.obs[0].copy(), world.pairs["weight"][0].copy(), world.pairs["count"][0].copy())
            )
            waiting.append(list(ongoing(env)))
        seed = seeds([0])
        key = derive(seed, STREAM_NUMBERS[DECISIONS])
        numbers = (float(uniform(draw(key, n))[0]) for n in range(10**6))
        cpus = env.engine.world.servers["cpus"][0]
        flows = traffic(env.engine.parameters, env.engine.sizes, seed[0])
        done, _ = play(flows, cpus, env.dispatch, np.array([s[2] for s in seen]), env.dt, numbers)
        return env, int(seed[0]), seen, done, waiting

    return run


def events_of(done, waiting, dt):
    """What is reported in each step: beginnings and ends in the order of time, then what goes on."""
    left = [(j, i, start) for j, i, start in waiting[-1]]
    began = sorted([(start, i, j, None) for i, j, start, _ in done] + [(start, i, j, None) for j, i, start in left])
    ended = [(end, i, j, start) for i, j, start, end in done]
    place = {round(start, 6): n % 400 for n, (start, *_) in enumerate(began)}
    merged = sorted(began + ended, key=lambda event: event[0])
    for k, going in enumerate(waiting):
        rows = []
        for t, i, j, start in merged:
            if k * dt < t <= (k + 1) * dt:
                first = t if start is None else start
                rows.append((BEGAN if start is None else FINISHED, i, j, place[round(first, 6)], first, t))
        rows += [(GOES_ON, i, j, place[round(start, 6)], start, (k + 1) * dt) for j, i, start in going]
        yield np.array(rows, EVENT)


@pytest.mark.parametrize("changes", VARIANTS)
def test_reported_flows_give_the_observations_and_weights_of_the_simulator(history, changes):
    env, seed, seen, done, waiting = history(**changes)
    assert len(done) > 200
    watch = live.Live(env, 3, seed)
    watch.observe(0.0, np.zeros((3, 3), np.int64), np.zeros(3, np.int64))
    for k, (events, (actions, obs, weights, counts)) in enumerate(
        zip(events_of(done, waiting, env.dt), seen, strict=True)
    ):
        assert watch.decide(actions) == pytest.approx(weights, rel=1e-9)
        watch.report(events)
        begun = np.bincount(events["balancer"][events["kind"] == BEGAN], minlength=3)
        found, avail = watch.observe((k + 1) * env.dt, counts, begun)
        assert found == pytest.approx(obs, abs=1e-6)
        assert avail.all()


def test_counting_times_from_later_on_changes_nothing(history, monkeypatch):
    """Statistics of a balancer that has been watched for a week, and began to count times anew again and again."""
    env, seed, seen, done, waiting = history(**VARIANTS[0])
    observations = []
    for begin, often in ((0.0, live.MOST_GROWTH), (7 * 86400.0, 0.2)):
        monkeypatch.setattr(live, "MOST_GROWTH", often)
        watch = live.Live(env, 3, seed)
        for k, (events, (*_, counts)) in enumerate(zip(events_of(done, waiting, env.dt), seen, strict=True)):
            events["start"] += begin
            events["time"] += begin
            watch.report(events)
            found, _ = watch.observe(begin + (k + 1) * env.dt, counts, np.zeros(3, np.int64))
            observations.append(found)
    half = len(observations) // 2
    assert np.array(observations[:half]) == pytest.approx(np.array(observations[half:]), abs=1e-5)

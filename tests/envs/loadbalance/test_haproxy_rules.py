"""HAProxy's rules: every decision against a slow simulation of it, on the traffic that an episode lists."""

import numpy as np
import pytest

from hymarl.components.rng import derive, draw, uniform
from hymarl.envs.loadbalance.draws import DECISIONS, STREAM_NUMBERS
from hymarl.envs.loadbalance.traffic import traffic

from .slow_proxy import play

SETTINGS = {"cpus": [1, 1, 2, 4], "balancers": 3, "warmup": 0.0, "episode_limit": 80, "weight_unit": 16}


@pytest.fixture
def both(make_env, seeds, start, advance):
    """An episode of the simulator and of the slow simulation, under the weights that the simulator had."""

    def run(rule, actions=None, **changes):
        env = make_env(n_envs=2, **{**SETTINGS, "dispatch": rule, **changes})
        start(env)
        world, p, weights, choose = env.engine.world, env.engine.parameters, [], np.random.default_rng(1)
        shape = (2, env.spec.n_agents)
        for _ in range(80):
            last = advance(env, choose.integers(0, 4, shape) if actions is None else np.full(shape, actions))
            weights.append(world.pairs["weight"].copy())
        seed = seeds(range(2))
        key, sizes = derive(seed, STREAM_NUMBERS[DECISIONS]), env.engine.sizes
        for b in range(2):
            numbers = (float(uniform(draw(key[b : b + 1], n))[0]) for n in range(10**6))
            done, refused = play(
                traffic(p, sizes, seed[b]), env.cpus, rule, np.array(weights)[:, b], p.scenario.dt, numbers
            )
            n = int(world.episode["n_jct"][b])
            assert n > 200
            assert world.jct[b, :n] == pytest.approx([end - start for *_, start, end in done], rel=1e-6)
            assert (world.label[b, :n] // 2).tolist() == [i for i, *_ in done]
            assert dict(zip(env.spec.metric_names, last.metrics[b], strict=True))["drops"] == refused
        return np.array(weights), refused

    return run


@pytest.mark.parametrize("rule", ["leastconn", "roundrobin", "random_n"])
def test_every_flow_takes_as_long_as_where_it_is_placed_as_haproxy_would(both, rule):
    weights, _ = both(rule)
    assert set(weights.ravel()) <= set(range(1, 257))
    assert len(set(weights.ravel())) > 50


def test_servers_that_are_full_refuse_as_many(both):
    assert both("roundrobin", rho=3.0, max_clients=160, workers=32)[1] > 50


def test_weights_outside_of_those_haproxy_has_are_the_nearest_of_them(both):
    weights, _ = both("leastconn", actions=3, clip=9.0, delta=3.0)
    assert {1.0, 256.0} <= set(weights.ravel())


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        # Idle ones first, whatever their weight; then keys of 256 (n + 1) / w; of equals, who changed longest ago.
        ("leastconn", [0, 1, 2, 2, 2, 1, 2, 2, 1]),
        ("roundrobin", [2, 1, 2, 0, 2, 1, 2, 2, 1]),
    ],
)
def test_sequences_computed_by_hand(make_env, start, advance, rule, expected):
    settings = {"cpus": [1, 2, 4], "balancers": 1, "warmup": 0.0, "episode_limit": 2000}
    env = make_env(**settings, size_mean=1000.0, rho=1e4, dt=0.0002, rule=rule, warmup_rule=rule)
    start(env)
    placed, count = [], np.zeros(3)
    while len(placed) < len(expected):  # about one flow in 70 steps, and none ever finishes
        advance(env)
        new = env.engine.world.pairs["count"][0, 0].copy()
        placed += np.repeat(np.arange(3), (new - count).astype(int)).tolist()
        count = new
    assert placed == expected

"""The data plane: rules, and control from outside."""

import numpy as np
import pytest

from hymarl.envs.contract.vector_env import Dispatching
from hymarl.envs.loadbalance.parameters import RULES


def course(env, start, advance, rule, weights=None, steps=40):
    """Observations and rewards under a rule."""
    start(env)
    env.control(rule, weights)
    steps = [advance(env) for _ in range(1)] + [None] * (steps - 1)
    out = [(steps[0].obs.copy(), steps[0].reward.copy())]
    for _ in steps[1:]:
        step = advance(env)
        out.append((step.obs.copy(), step.reward.copy()))
    env.control(None, None)
    return [np.stack(x) for x in zip(*out, strict=True)]


def same(first, second):
    return all(np.array_equal(x, y) for x, y in zip(first, second, strict=True))


def test_sed_with_equal_weights_is_lsq(make_env, start, advance):
    env = make_env(n_envs=4)
    lsq = course(env, start, advance, "lsq")
    for weight in (1.0, 0.3):
        assert same(lsq, course(env, start, advance, "sed", np.full((4, 4, 4), weight)))
    assert not same(lsq, course(env, start, advance, "sed"))


def test_sed_with_nominal_weights_is_what_doing_nothing_is(make_env, start, advance):
    env = make_env(n_envs=4, action_mode="favour0")
    sed = course(env, start, advance, "sed")
    assert same(sed, course(env, start, advance, None))
    assert same(sed, course(env, start, advance, "sed", np.array([2.0, 2.0, 4.0, 4.0])))
    assert same(sed, course(env, start, advance, "sed_true"))


def test_control_lasts_until_it_is_released(make_env, start, advance):
    env = make_env(n_envs=2)
    assert isinstance(env, Dispatching)
    favor_3 = np.full((2, 4), 3)
    outcomes = []
    for actions in (favor_3, np.zeros((2, 4), np.int64)):
        env.control("sed", None)
        start(env)
        for _ in range(5):
            controlled = advance(env, actions).obs.copy()
        env.control(None, None)
        for _ in range(5):
            free = advance(env, actions).obs.copy()
        outcomes.append((controlled, free))
    assert np.array_equal(outcomes[0][0], outcomes[1][0])
    assert not np.array_equal(outcomes[0][1], outcomes[1][1])


def test_control_refuses_what_it_does_not_know(make_env):
    env = make_env(n_envs=2)
    with pytest.raises(ValueError, match=r"no rule 'seed'.*choose one of: ecmp"):
        env.control("seed", None)
    with pytest.raises(ValueError, match="negative"):
        env.control("sed", np.full(4, -1.0))
    with pytest.raises(ValueError, match="broadcast"):
        env.control("sed", np.ones((2, 4, 5)))


@pytest.mark.parametrize("rule", [*RULES, None])
def test_only_known_servers_get_flows(make_env, start, advance, rule):
    env = make_env(n_envs=8, scenario="failure", slots=6)
    env.control(rule, None)
    start(env)
    world, unknown = env.engine.world, 0
    for _ in range(env.spec.episode_limit):
        before = world.servers["known"].copy()
        step = advance(env)
        assert (world.servers["load"][~before] == 0).all()
        assert (world.servers["load"][:, 4:] == 0).all()
        assert not step.obs.reshape(8, 4, 6, 12)[:, :, 4:].any()
        unknown += (~before[:, :4]).sum()
    assert unknown > 8 * 20


def shares_of(env, play, rule, **kwargs):
    """Mean number of flows on each server under a rule while hardly any flow meets another."""
    play(env, rule, env.n_envs, **kwargs)
    core = env.engine.world.servers["all_core"].sum(axis=0)
    return core / core.sum()


def test_shares_of_an_idle_cluster(make_env, play):
    """Scans start at any of the four servers and meet server 2 before 3 from three of them."""
    env = make_env(n_envs=64, rho=0.005, episode_limit=1000)
    expected = {
        "ecmp": [1 / 4] * 4,
        "wcmp": [1 / 6, 1 / 6, 1 / 3, 1 / 3],
        "awcmp": [1 / 6, 1 / 6, 1 / 3, 1 / 3],
        "lsq": [1 / 4] * 4,
        "lsq2": [1 / 4] * 4,
        "jsq": [1 / 4] * 4,
        "sed": [0, 0, 3 / 4, 1 / 4],
        "sed_tie": [0, 0, 3 / 4, 1 / 4],
        "sed2": [1 / 12, 1 / 12, 5 / 12, 5 / 12],
        "sed_true": [0, 0, 3 / 4, 1 / 4],
        "gsed": [0, 0, 3 / 4, 1 / 4],
        "lwl": [1 / 4] * 4,
    }
    assert set(expected) == set(RULES)
    for rule, shares in expected.items():
        assert shares_of(env, play, rule) == pytest.approx(shares, abs=0.05), rule


def test_wcmp_follows_the_weights_it_is_given(make_env, play):
    env = make_env(n_envs=32, rho=0.1, episode_limit=400)
    weights = np.array([5.0, 0.0, 3.0, 2.0])
    shares = shares_of(env, play, "wcmp", weights=lambda: weights)
    assert shares == pytest.approx(weights / 10, abs=0.02)


def test_learned_weights_can_drive_wcmp(make_env, start, advance):
    env = make_env(n_envs=16, dispatch="wcmp", rho=0.1, episode_limit=400)
    start(env)
    for _ in range(400):
        advance(env, np.zeros((16, 4), np.int64))
    weights = np.array([2, 2, 4, 4]) * np.exp(np.array([1.5, -0.75, -0.75, -0.75]))
    core = env.engine.world.servers["all_core"].sum(axis=0)
    assert core / core.sum() == pytest.approx(weights / weights.sum(), abs=0.03)


def test_ties_go_to_the_smaller_server_under_sed_tie(make_env, start, advance):
    """Full queues of (1, 1, 3, 3) flows on (2, 2, 4, 4) CPUs tie at 1 = (q + 1) / v."""
    for rule, first in (("sed_tie", {0, 1}), ("sed", {0, 1, 2, 3})):
        chosen = set()
        for episode in range(0, 64, 16):
            env = make_env(n_envs=16, balancers=1, size_mean=1000.0, rho=1e4, warmup=0.0, dt=0.001)
            start(env, episode)
            env.control(rule, None)
            counts = np.zeros((16, 4))
            for _ in range(100):  # about one flow in ten steps, and none ever finishes
                before, counts = counts, (advance(env), env.engine.world.pairs["count"][:, 0].copy())[1]
                tied = (before == [1, 1, 3, 3]).all(axis=1) & (counts.sum(axis=1) == 9)
                chosen |= set(np.flatnonzero((counts - before)[tied].sum(axis=0)))
        assert chosen == first


def test_oracles_know_what_is_hidden(make_env, play):
    """Where capacities are unknown, rules that know them do far better than those that do not."""
    env = make_env("lb_unknown", n_envs=16)
    jct = {rule: play(env, rule, 16)[1]["jct_mean"].mean() for rule in ("sed", "sed_true", "gsed", "jsq", "lwl")}
    assert jct["sed_true"] < 0.75 * jct["sed"]
    assert jct["gsed"] < 0.6 * jct["sed"]
    assert jct["jsq"] < jct["sed"]
    assert jct["lwl"] < 0.75 * jct["sed"]


def test_awcmp_probes_busy_threads(make_env, start, advance):
    env = make_env(n_envs=4, rho=1.5, workers=3)
    start(env)
    env.control("awcmp", None)
    world = env.engine.world
    for _ in range(20):
        load = world.servers["load"].copy()
        advance(env)
        expected = world.servers["nominal"] / (np.minimum(load, 3) + 1)
        assert world.pairs["weight"] == pytest.approx(np.repeat(expected[:, None], 4, axis=1))

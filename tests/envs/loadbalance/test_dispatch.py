"""The data plane: rules, and the weights they use."""

import numpy as np
import pytest

from hymarl.components.rng import Stream, derive, draw, uniform
from hymarl.envs.loadbalance.parameters import RULES
from hymarl.registry import ConfigError


@pytest.fixture
def course(make_env, start, advance):
    """Observations and rewards with some settings: ``course(rule="sed")``; the agents' actions are given or zeros."""

    def run(actions=0, **changes):
        env, out = make_env(n_envs=4, **changes), []
        start(env)
        for _ in range(40):
            step = advance(env, np.full((4, 4), actions))
            out.append(np.concatenate([step.obs.ravel(), step.reward]))
        return np.array(out)

    return run


def test_sed_with_equal_weights_is_lsq(course):
    lsq = course(rule="lsq")
    for weight in (1.0, 0.3):
        assert np.array_equal(lsq, course(rule="sed", random_levels=[weight]))
    assert not np.array_equal(lsq, course(rule="sed"))


def test_sed_with_nominal_weights_is_what_doing_nothing_is(course):
    sed = course(rule="sed")
    assert np.array_equal(sed, course(action_mode="favour0"))
    assert np.array_equal(sed, course(rule="sed_true"))


@pytest.mark.parametrize("rule", RULES)
def test_under_a_rule_actions_have_no_effect(course, rule):
    assert np.array_equal(course(rule=rule), course(3, rule=rule))


def test_without_a_rule_actions_have_an_effect(course):
    assert not np.array_equal(course(), course(3))


def test_random_levels_are_weights_by_episode_step_balancer_and_server(make_env, seeds, start, advance):
    levels = [1.0, 1.2, 1.4, 1.6, 1.8, 2.0]
    env, weights = make_env(n_envs=2, rule="sed", random_levels=levels, episode_limit=300), []
    start(env)
    for t in range(300):
        advance(env)
        weights.append(env.engine.world.pairs["weight"].copy())
        keys = derive(derive(seeds(range(2)), Stream.EXPLORATION), t)
        chances = uniform(draw(keys[:, None, None], np.arange(16).reshape(4, 4)))
        assert np.array_equal(weights[-1], np.array(levels)[(chances * 6).astype(int)])
    weights = np.array(weights)  # T B A S
    found, counts = np.unique(weights, return_counts=True)
    assert found.tolist() == levels
    assert counts / weights.size == pytest.approx([1 / 6] * 6, abs=0.02)
    flat = weights.reshape(300, -1)
    assert abs(np.corrcoef(flat.T) - np.eye(flat.shape[1])).max() < 0.3
    assert abs(np.corrcoef(flat[1:, 0], flat[:-1, 0])[0, 1]) < 0.2


def test_random_levels_do_not_depend_on_the_row_or_on_when_others_began(make_env, seeds, start, advance):
    env = make_env(n_envs=2, rule="sed", random_levels=[1.0, 2.0, 4.0], warmup=1.0)
    weights = env.engine.world.pairs["weight"]
    start(env)
    first = [(advance(env), weights[0].copy())[1] for _ in range(5)]
    env.reset(seeds([7, 0]), np.array([False, True]))
    assert all(np.array_equal((advance(env), weights[1])[1], expected) for expected in first)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"rule": "seed"}, "rule=seed is not a choice; did you mean 'sed'?"),
        ({"rule": "sed", "random_levels": []}, "random_levels must be at least one number above 0"),
        ({"rule": "sed", "random_levels": [1.0, 0.0]}, r"random_levels\[1\] must be above 0, got 0"),
        ({"random_levels": [1.0]}, "random_levels are weights of a rule, which is null; set rule=sed"),
    ],
)
def test_rules_and_levels_that_make_no_sense_are_refused(make_checked_env, changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        make_checked_env(**changes)


@pytest.mark.parametrize("rule", [*RULES, None])
def test_only_known_servers_get_flows(make_env, start, advance, rule):
    env = make_env(n_envs=8, scenario="failure", slots=6, rule=rule)
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


def shares_of(env, play, rule):
    """Mean number of flows on each server under a rule while hardly any flow meets another."""
    play(env, rule, env.n_envs)
    core = env.engine.world.servers["all_core"].sum(axis=0)
    return core / core.sum()


def test_shares_of_an_idle_cluster(make_env, play):
    """Scans start at any of the four servers and meet server 2 before 3 from three of them."""
    env = make_env(n_envs=64, rho=0.005, dt=2.5, episode_limit=100, latency_gain=0.0)
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
        "latency": [0, 0, 3 / 4, 1 / 4],
        "leastconn": [1 / 4] * 4,
        "roundrobin": [1 / 6, 1 / 6, 1 / 3, 1 / 3],
        "random_n": [1 / 6, 1 / 6, 1 / 3, 1 / 3],
    }
    assert set(expected) == set(RULES)
    for rule, shares in expected.items():
        assert shares_of(env, play, rule) == pytest.approx(shares, abs=0.05), rule


def test_wcmp_follows_the_weights_it_is_given(make_env, play):
    weights = [5.0, 0.5, 2.5, 2.0]
    env = make_env(n_envs=32, rho=0.1, episode_limit=400, nominal_weights=weights)
    assert shares_of(env, play, "wcmp") == pytest.approx(np.array(weights) / 10, abs=0.02)


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
            env = make_env(n_envs=16, balancers=1, size_mean=1000.0, rho=1e4, warmup=0.0, dt=0.001, rule=rule)
            start(env, episode)
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
    env = make_env(n_envs=4, rho=1.5, workers=3, rule="awcmp")
    start(env)
    world = env.engine.world
    for _ in range(20):
        load = world.servers["load"].copy()
        advance(env)
        expected = world.servers["nominal"] / (np.minimum(load, 3) + 1)
        assert world.pairs["weight"] == pytest.approx(np.repeat(expected[:, None], 4, axis=1))

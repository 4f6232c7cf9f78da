"""Same seed, same episode: whatever the policy, the other rows, their number and the threads."""

import numpy as np
import pytest
from numba import typeof

from hymarl.envs.contract.checker import check_environment
from hymarl.envs.loadbalance.simulation import play_rows

VARIANTS = {
    "default": {},
    "mixed": {"scenario": "mixed", "reward": "mix", "reward_scope": "local", "lb_split": 2.0},
    "failure": {"scenario": "failure", "obs_delay": 0.2, "action_delay": 0.2, "action_mode": "adjust", "slots": 6},
    "unknown": {"scenario": "unknown", "size_dist": "mix", "rho_range": [0.5, 0.9], "state": "privileged"},
}


def episodes(env, keys, steps=30):
    """Everything that ``steps`` steps return, ``[T, B, ...]``, under actions that depend on the row's key alone."""
    everything = np.ones(env.n_envs, np.bool_)
    out = [env.reset(keys, everything)]
    out = [[x.copy() for x in out[0]]]
    for t in range(steps):
        actions = (keys[:, None] >> np.uint64(t)) + np.arange(env.spec.n_agents, dtype=np.uint64)
        step = env.step((actions % np.uint64(env.spec.n_actions)).astype(np.int64), everything)
        out.append([x.copy() for x in step])
    return [np.stack(x) for x in zip(*out, strict=True)]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_row_does_not_depend_on_the_batch(make_env, seeds, variant):
    changes = {"episode_limit": 30, **VARIANTS[variant]}
    keys = seeds(range(5))
    together = episodes(make_env(n_envs=5, **changes), keys)
    turned = episodes(make_env(n_envs=5, **changes), keys[::-1])
    alone = episodes(make_env(n_envs=1, **changes), keys[3:4])
    for x, y, z in zip(together, turned, alone, strict=True):
        assert np.array_equal(x, y[:, ::-1])
        assert np.array_equal(x[:, 3:4], z)
    assert not np.array_equal(together[0][:, 0], together[0][:, 1])


@pytest.mark.parametrize("threads", [2, 3])
def test_threads_do_not_change_results(make_env, seeds, threads):
    keys = seeds(range(7))
    env = make_env(n_envs=7, threads=threads, episode_limit=30)
    threaded = episodes(env, keys)
    env.close()
    env.close()
    for x, y in zip(threaded, episodes(make_env(n_envs=7, episode_limit=30), keys), strict=True):
        assert np.array_equal(x, y)


def test_playing_again_gives_the_same(make_env, seeds):
    env, keys = make_env(n_envs=3, scenario="mixed", episode_limit=30), seeds(range(3))
    first = episodes(env, keys)
    episodes(env, seeds(range(3, 6)))
    for x, y in zip(first, episodes(env, keys), strict=True):
        assert np.array_equal(x, y)


@pytest.mark.parametrize("scenario", ["static", "mixed", "failure"])
def test_traffic_is_the_same_under_every_policy(make_env, start, advance, scenario):
    """Arrivals per balancer and step, and the sizes and entrances of flows seen at any time."""
    random, seen = np.random.default_rng(5), []
    for rule in (None, "ecmp", "gsed"):
        env = make_env(n_envs=3, scenario=scenario, agents=3, rule=rule, episode_limit=50)
        start(env)
        world, arrivals, flows = env.engine.world, [], set()
        for _ in range(env.spec.episode_limit):
            advance(env, random.integers(0, 4, (3, 3)))
            arrivals.append(world.balancers["arrivals"].copy())
            for b in range(3):
                busy = np.setdiff1d(np.arange(world.flows.shape[1]), world.free[b, : world.episode["n_free"][b]])
                flows |= {(b, f["start"], f["size"], f["balancer"]) for f in world.flows[b, busy]}
        seen.append((np.array(arrivals), flows))
    for arrivals, flows in seen[1:]:
        assert np.array_equal(arrivals, seen[0][0])
        common = {f[:2] for f in flows} & {f[:2] for f in seen[0][1]}
        assert len(common) > 100
        assert {f for f in flows if f[:2] in common} == {f for f in seen[0][1] if f[:2] in common}


def test_total_traffic_does_not_depend_on_the_number_of_balancers(make_env, play):
    arrivals = [play(make_env(n_envs=4, agents=a), "sed", 4)[1]["arrivals"] for a in (1, 2, 8)]
    assert (arrivals[0] == arrivals[1]).all()
    assert (arrivals[0] == arrivals[2]).all()


def test_rows_that_are_not_played_return_zeros_and_stand_still(make_env, start, seeds):
    env = make_env(n_envs=3)
    start(env)
    before = env.engine.world.episode["now"].copy()
    on = np.array([True, False, True])
    step = env.step(np.zeros((3, 4), np.int64), on)
    assert (env.engine.world.episode["now"] - before == np.where(on, 0.25, 0.0)).all()
    assert all(not x[1].any() for x in step)
    assert step.obs[0].any()
    again = env.reset(seeds(range(3)), ~on)
    assert not again.obs[[0, 2]].any()
    assert again.obs[1].any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract(make_env, variant):
    check_environment(make_env(n_envs=3, episode_limit=12, **VARIANTS[variant]), n_episodes=2)


def test_the_simulation_is_compiled_once_whatever_numbers_and_arrays_it_is_given(make_env, start):
    env = make_env(n_envs=2)
    step = start(env)
    compiled = len(play_rows.signatures)
    whole = {"delta": 1, "clip": 2, "leak": 1, "speed": 2, "dt": 1, "drop_penalty": 0, "cpus": [1, 2]}
    whole |= {"action_delay": 1, "obs_delay": 0, "size_mean": 1, "size_sigma": 1, "rho_range": [1, 1], "lb_split": 1}
    other = make_env(n_envs=2, **whole, trace=None)
    assert typeof(other.engine.parameters) == typeof(env.engine.parameters)
    where = np.broadcast_to(np.True_, 2)
    for actions in (step.avail.argmax(axis=-1).T.copy().T, np.broadcast_to(np.int32(0), (2, env.spec.n_agents))):
        env.step(actions, where)
    assert len(play_rows.signatures) == compiled

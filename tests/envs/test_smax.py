"""Battles of SMAX adapted."""

import sys

import numpy as np
import pytest

from hymarl.components import rng
from hymarl.components.rng import Stream
from hymarl.envs.contract.checker import check_environment
from hymarl.envs.smax import Smax
from hymarl.registry import ConfigError, build

pytest.importorskip("jaxmarl", reason="jaxmarl is not installed: pip install 'hymarl[smax]'")

EAST, STOP, ATTACK = 1, 4, 5


def battle(n_envs=3, agents=None, **changes):
    return Smax(agents, n_envs, **{"scenario": "3m", "kwargs": None, "episode_limit": None, "state": "own"} | changes)


@pytest.fixture(scope="module")
def env():
    """Compiled once: three marines against three."""
    return battle()


@pytest.fixture(scope="module")
def peaceful():
    """Enemies that do not shoot, and not much time."""
    return battle(kwargs={"enemy_shoots": False}, episode_limit=40)


def every(env):
    return np.ones(env.n_envs, np.bool_)


def start(env, seed=0):
    return env.reset(rng.keys(seed, Stream.TEST, np.arange(env.n_envs)), every(env))


def attack(now):
    """The first enemy in range, else eastwards, where the enemies come from; the dead stop."""
    actions = np.where(now.avail[..., ATTACK:].any(-1), ATTACK + now.avail[..., ATTACK:].argmax(-1), EAST)
    return np.where(now.avail[..., EAST], actions, STOP)


def play(env, act):
    """The time steps of the first row's episode."""
    steps = [start(env)]
    while not (steps[-1].terminated | steps[-1].truncated)[0]:
        steps.append(env.step(act(steps[-1]), every(env)))
    return steps


def test_contract(env):
    check_environment(env, n_episodes=2)


def test_sizes(env):
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (3, 8, 75, 72, 100)
    assert spec.metric_names == spec.headline_metrics == ("won",)


def test_battle_is_the_library_s(env):
    import jax
    from jaxmarl.environments.smax import HeuristicEnemySMAX, map_name_to_scenario

    raw = HeuristicEnemySMAX(scenario=map_name_to_scenario("3m"))
    seed = int(rng.keys(0, Stream.TEST, np.arange(3))[1])
    key = jax.random.wrap_key_data(np.array([seed >> 32, seed % 2**32], np.uint32), impl="threefry2x32")
    obs, state = raw.reset(jax.random.fold_in(key, 0))
    now, t = start(env), 0
    while not (now.terminated | now.truncated)[1]:
        avail = raw.get_avail_actions(state)
        assert np.allclose(now.obs[1], [obs[name] for name in raw.agents], atol=1e-5)
        assert np.allclose(now.state[1], obs["world_state"], atol=1e-4)
        assert np.array_equal(now.avail[1], [avail[name] for name in raw.agents])
        t += 1
        actions = attack(now)
        given = dict(zip(raw.agents, actions[1], strict=True))
        obs, state, rewards, dones, _ = raw.step_env(jax.random.fold_in(key, t), state, given)
        assert len({float(reward) for reward in rewards.values()}) == 1  # all allies get the same
        now = env.step(actions, every(env))
        assert now.reward[1] == pytest.approx(float(rewards["ally_0"]), abs=1e-5)
        assert now.terminated[1] == dones["__all__"]
    assert t > 5
    alive = np.asarray(state.state.unit_alive)
    assert now.metrics[1, 0] == (alive[:3].any() and not alive[3:].any())


@pytest.mark.parametrize("state", ["concat", "mean"])
def test_state_may_be_made_of_observations(env, state):
    made = battle(state=state)
    now, own = start(made), start(env)
    assert np.array_equal(now.obs, own.obs)
    assert np.array_equal(now.state, now.obs.mean(axis=1) if state == "mean" else now.obs.reshape(3, -1))
    assert now.state.shape == (3, made.spec.state_dim)
    waiting = made.reset(rng.keys(0, Stream.TEST, np.arange(3)), np.array([True, False, True]))
    assert waiting.state.any(axis=1).tolist() == [True, False, True]


def test_victory(peaceful):
    steps = play(peaceful, attack)
    assert steps[-1].terminated[0]
    assert [now.metrics[0, 0] for now in steps] == [0.0] * (len(steps) - 1) + [1.0]
    assert sum(now.reward[0] for now in steps) == pytest.approx(2.0, abs=1e-4)  # all their health, and the bonus


def test_victory_at_the_time_limit_is_a_termination(peaceful):
    before = play(peaceful, attack)[:-1]
    now = start(peaceful)
    for _ in before[1:]:
        now = peaceful.step(attack(now), every(peaceful))
    peaceful._t[:] = peaceful.spec.episode_limit - 1
    now = peaceful.step(attack(now), every(peaceful))
    assert (now.terminated[0], now.truncated[0]) == (True, False)


def test_defeat(peaceful):
    last = play(peaceful, lambda now: np.where(now.avail[..., 0], 0, STOP))[-1]  # into the wall, which kills
    assert last.terminated[0]
    assert not last.truncated[0]
    assert not last.metrics[0, 0]
    assert not last.obs[0].any()
    assert last.avail[0].tolist() == [[False] * STOP + [True] + [False] * 3] * 3


def test_time_limit(peaceful):
    steps = play(peaceful, lambda now: np.full((3, 3), STOP))
    assert len(steps) - 1 == peaceful.spec.episode_limit == 40
    assert steps[-1].truncated.all()
    assert not steps[-1].terminated.any()
    assert not steps[-1].metrics.any()


def test_both_words_of_a_seed_count(env):
    one = env.reset(np.array([1, 2, 1 + 2**32], np.uint64), every(env)).state
    assert len({tuple(row) for row in one.tolist()}) == 3
    assert one.tolist()[0] == env.reset(np.array([1, 1, 1], np.uint64), every(env)).state.tolist()[2]


def test_battles_do_not_depend_on_how_many_there_are(env):
    alone = battle(1)
    key = rng.keys(4, Stream.TEST, np.arange(1))
    a, b = alone.reset(key, every(alone)), env.reset(np.tile(key, 3), every(env))
    while not (a.terminated | a.truncated)[0]:
        assert np.array_equal(a.obs[0], b.obs[2])
        b = env.step(np.tile(attack(a), (3, 1)), every(env))
        a = alone.step(attack(a), every(alone))
    assert b.terminated[2] == a.terminated[0]


def test_number_of_agents():
    spec = battle(1, agents=2, scenario=None, kwargs={"num_enemies": 4}).spec
    assert (spec.n_agents, spec.n_actions) == (2, 9)
    assert battle(1, scenario="5m_vs_6m", agents=5).spec.n_agents == 5


def test_numbers_per_unit_type_can_be_given():
    health = {"unit_type_health": [30.0, 90.0, 90.0, 90.0, 20.0, 50.0]}
    assert battle(1, kwargs=health)._functions.battle.unit_type_health.tolist()[0] == 30


@pytest.mark.parametrize(
    ("agents", "changes", "message"),
    [
        (0, {"scenario": None}, "agents must be at least 1, got 0"),
        (4, {}, "agents=4, but env.scenario=3m has 3 allies"),
        (None, {"scenario": "3n"}, "there is no scenario '3n'; did you mean '3m'"),
        (None, {"kwargs": {"map_widht": 30}}, "SMAX has no argument 'map_widht'; did you mean 'map_width'"),
        (None, {"kwargs": {"max_steps": 3}}, "leave max_steps out of env.kwargs"),
        (None, {"kwargs": {"observation_type": "list"}}, "SMAX cannot be made with {'observation_type': 'list'}"),
        (None, {"episode_limit": 0}, "episode_limit must be at least 1, got 0"),
    ],
)
def test_mistakes_get_a_sentence(option, agents, changes, message):
    with pytest.raises(ConfigError) as caught:
        build("env", *option("env", "smax", **changes), agents, 2)
    assert message in str(caught.value)


def test_missing_package_gets_a_sentence(option, monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxmarl.environments.smax", None)
    with pytest.raises(ConfigError, match=r"env=smax: .*pip install 'hymarl\[smax\]'") as caught:
        build("env", *option("env", "smax", scenario="8m"), None, 1)
    assert isinstance(caught.value.__cause__.__cause__, ImportError)


def test_environments_with_the_same_settings_share_what_is_compiled(env):
    assert battle(2)._functions is env._functions
    assert battle(2, episode_limit=7)._functions is not env._functions

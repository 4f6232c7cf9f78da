"""Gymnasium environments in the tuple style."""

# ruff: noqa: NPY002  (some environments draw from the global generator)

import random
import sys
from itertools import pairwise
from types import ModuleType

import numpy as np
import pytest

from hymarl.envs.contract.checker import check_environment
from hymarl.registry import ConfigError


@pytest.fixture
def parts(play):
    """Plays a task of `tuple_games`: ``parts(agents=…, n_envs=…, task=…)``."""

    def make(task="Parts-v0", agents=None, n_envs=1, **changes):
        return play("gymnasium", agents, n_envs, task=task, package="tuple_games", **changes)

    return make


def test_sizes_are_padded_to_the_largest_agent(parts):
    game = parts()
    spec = game.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (2, 3, 3, 6, 4)
    now = game.start()
    assert now.avail[0].tolist() == [[True, True, False], [True, True, True]]
    assert now.obs[0, 0, 2] == 0
    assert np.array_equal(now.state[0], now.obs[0].ravel())


@pytest.mark.parametrize(
    ("reward", "common", "paid"),
    [
        ("sum", False, [1]),
        ("mean", False, [0.5]),
        ("individual", False, [[0, 1]]),
        ("sum", True, [1]),
        ("mean", True, [1]),
        ("individual", True, [[1, 1]]),
    ],
)
def test_rewards_of_all_and_of_each_agent(parts, reward, common, paid):
    game = parts(reward=reward, kwargs={"common": common})
    assert game.start().reward.tolist() == np.zeros_like(paid).tolist()
    assert game.go(0, 1).reward.tolist() == paid


def test_agent_that_dies_early_is_idle_and_the_others_go_on(parts):
    game = parts()
    game.start()
    now = game.go(0, 2)
    assert not (now.terminated | now.truncated).any()
    assert not now.obs[0, 1].any()
    assert now.avail[0, 1].tolist() == [True, False, False]
    now = game.go(1, 0)
    assert (now.terminated[0], now.truncated[0], now.reward[0]) == (True, False, 1)


@pytest.mark.parametrize(
    ("task", "changes", "limit"),
    [
        ("Parts-v0", {}, 4),
        ("Parts-v0", {"kwargs": {"lists": False}}, 4),
        ("Parts-v0", {"kwargs": {"honest": True}, "at_limit": "terminated"}, 4),
        ("Parts-v0", {"episode_limit": 2}, 2),
        ("Parts-v0", {"kwargs": {"steps": 6}}, 6),
        ("Limited-v0", {}, 3),
        ("Limited-v0", {"kwargs": {"steps": 2}}, 2),
        ("Limited-v0", {"episode_limit": 7}, 7),
        ("Endless-v0", {"episode_limit": 5}, 5),
    ],
)
def test_time_limits_truncate(parts, task, changes, limit):
    game = parts(task, **changes)
    assert game.spec.episode_limit == limit
    game.start()
    for t in range(1, limit + 1):
        now = game.go(0, 0)
        assert (now.terminated[0], now.truncated[0]) == (False, t == limit)
    assert now.obs[0, 1, 0] == limit  # the real last observation


def test_end_at_the_limit_can_be_meant(parts):
    game = parts(at_limit="terminated")
    game.start()
    for _ in range(4):
        now = game.go(0, 0)
    assert (now.terminated[0], now.truncated[0]) == (True, False)


def test_masks_of_the_info(parts):
    game = parts(kwargs={"masked": True})
    assert game.start().avail[0].tolist() == [[True, False, False], [True, True, False]]
    assert game.go(0, 0).avail[0].tolist() == [[True, True, False], [True, True, True]]


def test_metrics_are_the_infos_that_were_asked_for(parts):
    game = parts(metrics=["won", "lost?"])
    assert game.spec.metric_names == game.spec.headline_metrics == ("won", "lost")
    game.start()
    assert game.go(0, 0).metrics.tolist() == [[0.1, 0]]


def test_masks_and_state_of_methods(parts):
    game = parts("Fight-v0", episode_limit=9, metrics=["battle_won"])
    assert (game.spec.n_actions, game.spec.state_dim) == (3, 3)
    assert game.start().avail[0].tolist() == [[False, True, True]] * 2
    assert game.go(1, 2).state.tolist() == [[1, 2, 1]]
    game.go(1, 1)
    now = game.go(1, 1)
    assert (now.terminated[0], now.metrics[0, 0], now.reward[0]) == (True, 1, 1.5)


def test_smaclite_starts_without_the_last_actions_of_another_episode(play, monkeypatch):
    monkeypatch.setitem(sys.modules, "smaclite", ModuleType("smaclite"))
    play("gymnasium", task="Fight-v0", package="tuple_games", episode_limit=9)  # registers the double
    game = play("smaclite", n_envs=3, task="Fight-v0")
    assert game.spec.episode_limit == 120
    game.start()
    game.go(1, 2)
    assert not game.start(1).state.any()
    check_environment(game.env)


def test_global_generators_are_the_episodes_own(parts):
    """The same draws in any row, whatever this process draws, which does not notice."""
    random.seed(1)
    np.random.seed(1)
    expected = random.random(), np.random.rand(3).tolist()
    random.seed(1)
    np.random.seed(1)
    game = parts(n_envs=3)
    first = game.episode()
    assert (random.random(), np.random.rand(3).tolist()) == expected
    again = game.episode()
    assert np.array_equal(first[-1].obs, again[-1].obs)
    assert len(set(first[0].obs[:, 1, 1])) == 3
    check_environment(game.env)


def test_pictures(parts):
    game = parts(n_envs=2, kwargs={"render_mode": "rgb_array"})
    game.start()
    game.go(0, 0)
    assert game.env.scene(1).pixels.tolist() == np.ones((2, 3, 3)).tolist()
    with pytest.raises(ValueError, match=r"render_mode=None: set 'env.kwargs=\{render_mode: rgb_array\}'"):
        parts().env.scene(0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 3}, "agents=3, but env.task=Parts-v0 has 2 agents; .* in env.agents_kwarg"),
        ({"task": "Part-v0"}, "knows no task 'Part-v0'; did you mean 'Parts-v0'"),
        ({"task": "qqqqqqqqqqq"}, "knows no task 'qqqqqqqqqqq'; does env.package name what registers it"),
        ({"task": "Alone-v0"}, r"the action_space must be a Tuple with one space per agent, it is Discrete\(2\)"),
        ({"task": "Endless-v0"}, "does not say how long an episode can be; set env.episode_limit="),
        ({"agents": 0}, "agents must be at least 1, got 0"),
        ({"kwargs": {"color": 1}}, "Parts-v0: it cannot be made: TypeError: .*unexpected keyword argument 'color'"),
        ({"episode_limit": 9}, "env.episode_limit=9, but it ends its episodes after 4 steps"),
    ],
)
def test_settings_that_do_not_fit_are_explained(parts, changes, message):
    with pytest.raises(ConfigError, match=message):
        parts(**changes)


def test_missing_packages_are_named(play, monkeypatch):
    monkeypatch.setitem(sys.modules, "rware", None)
    with pytest.raises(
        ConfigError, match=r"'rware' cannot be imported: .*needs more packages: pip install 'hymarl\[rw"
    ):
        play("rware")


def test_rware_gives_the_numbers_of_the_library(play):
    import gymnasium
    import rware  # noqa: F401

    game = play("rware", n_envs=2)
    steps = game.episode(limit=40)
    env = gymnasium.make("rware-tiny-2ag-v2", disable_env_checker=True)
    observations, _ = env.reset(seed=int(game.keys()[1] >> np.uint64(33)))
    g = np.random.default_rng(0)
    for now, after in pairwise(steps):
        assert np.array_equal(now.obs[1], np.array(observations))
        joint = g.random(now.avail.shape).argmax(axis=-1)[1]
        observations, rewards, _, _, _ = env.step(joint.tolist())
        assert after.reward[1] == sum(rewards)

"""Environments with PyMARL's interface, as they are."""

# ruff: noqa: NPY002  (such environments draw from the global generator)

import random
import sys

import numpy as np
import pytest

from hymarl.envs.contract.checker import check_environment
from hymarl.registry import ConfigError


@pytest.fixture
def duel(play):
    def make(kind="Duel", agents=None, n_envs=1, **changes):
        return play("pymarl", agents, n_envs, entry_point=f"pymarl_games:{kind}", **changes)

    return make


@pytest.fixture
def starcraft(play, monkeypatch):
    """The doubles of `pymarl_games` under the names of SMAC and SMACv2."""
    import pymarl_games

    for module in ("smac.env", "smacv2.env.starcraft2.wrapper"):
        monkeypatch.setitem(sys.modules, module, pymarl_games)
    return play


def test_numbers_are_the_environments(duel):
    game = duel()
    spec = game.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (2, 3, 3, 2, 4)
    now = game.start()
    seed = int(game.keys()[0] >> np.uint64(33))
    random.seed(seed)
    np.random.seed(seed)
    chance = random.random(), np.random.randint(1000)
    assert np.array_equal(now.obs[0], np.array([[0, 0, chance[0]], [1, 0, chance[0]]], np.float32))
    assert now.state.tolist() == [[0, chance[1]]]
    assert now.avail[0].tolist() == [[True, False, True]] * 2
    now = game.go(1, 2)
    chance = random.random(), np.random.randint(1000)
    assert now.state.tolist() == [[1, chance[1]]]
    assert now.reward.tolist() == [3]


@pytest.mark.parametrize(
    ("kind", "changes", "last"),
    [
        ("Duel", {}, "truncated"),
        ("Duel", {"at_limit": "terminated"}, "terminated"),
        ("Duel", {"at_limit": "terminated", "kwargs": {"tells": True}}, "truncated"),
        ("Duel", {"at_limit": "terminated", "episode_limit": 3}, "truncated"),
        ("Newer", {"at_limit": "terminated"}, "truncated"),
    ],
)
def test_time_limits(duel, kind, changes, last):
    game = duel(kind, **changes)
    game.start()
    for t in range(1, game.spec.episode_limit + 1):
        now = game.go(0, 0)
        ended = t == game.spec.episode_limit
        assert (now.terminated[0], now.truncated[0]) == (ended and last == "terminated", ended and last == "truncated")


@pytest.mark.parametrize("kind", ["Duel", "Newer"])
def test_wins_terminate_and_count(duel, kind):
    game = duel(kind, metrics=["battle_won", "dead_allies?"])
    game.start()
    assert game.go(0, 2).metrics.tolist() == [[0, 0]]
    now = game.go(2, 2)
    assert (now.terminated[0], now.truncated[0], now.metrics.tolist()) == (True, False, [[1, 0]])


@pytest.mark.parametrize(("reward", "paid"), [("sum", [3]), ("mean", [1.5]), ("individual", [[1, 2]])])
def test_rewards_of_each_agent(duel, reward, paid):
    game = duel("Newer", reward=reward)
    game.start()
    assert game.go(1, 2).reward.tolist() == paid


def test_common_reward_stays_as_it_is(duel):
    game = duel(reward="mean")
    game.start()
    assert game.go(1, 2).reward.tolist() == [3]


def test_reset_gets_a_seed_if_it_takes_one(duel):
    game = duel("Newer")
    game.start()
    assert game.env._played(0)._env.seed == int(game.keys()[0] >> np.uint64(33))


@pytest.mark.parametrize("kind", ["Duel", "Newer"])
def test_contract_and_independence_of_what_the_process_draws(duel, kind):
    game = duel(kind, n_envs=3)
    check_environment(game.env)
    before = random.getstate()
    first = game.episode()
    assert random.getstate() == before
    random.random()
    again = game.episode()
    assert all(np.array_equal(a.state, b.state) for a, b in zip(first, again, strict=True))


def test_equal_in_any_number_of_workers(equal_in_workers):
    equal_in_workers("pymarl", entry_point="pymarl_games:Duel")


def test_number_of_agents_may_be_deep_in_the_arguments(duel):
    game = duel(agents=5, n_envs=3, agents_kwarg="units.n_units", kwargs={"units": {"n_units": 2}})
    assert game.spec.n_agents == 5
    assert duel(agents=3, agents_kwarg="n").spec.n_agents == 3


def test_smac_tells_its_time_limit_from_a_defeat(starcraft):
    game = starcraft("smac")
    assert game.spec.metric_names == ("battle_won", "dead_allies", "dead_enemies")
    game.start()
    for _ in range(4):
        now = game.go(0, 0)
    assert (now.terminated[0], now.truncated[0]) == (False, True)
    game.start()
    for _ in range(3):
        game.go(0, 0)
    now = game.go(2, 2)
    assert (now.terminated[0], now.truncated[0], now.metrics[0, 0]) == (True, False, 1)


def test_smacv2_takes_a_number_of_units(starcraft):
    assert starcraft("smacv2", n_envs=2).spec.n_agents == 5
    assert starcraft("smacv2", agents=10, n_envs=2).spec.n_agents == 10


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 3}, "agents=3, but env.entry_point=pymarl_games:Duel has 2 agents; .* in env.agents_kwarg"),
        ({"kind": "Unfinished"}, "lacks get_obs, get_state, get_avail_actions, get_env_info"),
        ({"kwargs": {"limit": None}}, "does not say how long an episode can be; set env.episode_limit="),
        (
            {"kwargs": {"color": 1}},
            "pymarl_games:Duel: it does not accept these env.kwargs: .*keyword argument 'color'",
        ),
        ({"agents": 0}, "agents must be at least 1, got 0"),
        ({"episode_limit": 5}, "env.episode_limit=5, but it ends its episodes after 4 steps"),
    ],
)
def test_settings_that_do_not_fit_are_explained(duel, changes, message):
    with pytest.raises(ConfigError, match=message):
        duel(**changes)


def test_agent_without_an_action_is_a_failure(duel):
    from hymarl.envs.contract.vector_env import EpisodeFailure

    with pytest.raises(EpisodeFailure, match=r"get_avail_actions\(\) leaves no action to agents \[1\]"):
        duel("Stuck").start()


def test_actions_are_an_array_of_its_own_and_tensors_are_read(duel):
    game = duel("Tensors", at_limit="terminated")
    game.start()
    joint = np.array([[1, 2]])
    now = game.env.step(joint, game.every)
    assert (now.reward.tolist(), now.terminated[0], joint.tolist()) == ([1], False, [[1, 2]])
    now = game.go(2, 2)
    assert (now.reward.tolist(), now.terminated[0], now.truncated[0]) == ([2], True, False)


def test_metrics_must_be_numbers(duel, monkeypatch):
    import pymarl_games

    from hymarl.envs.contract.vector_env import EpisodeFailure

    monkeypatch.setattr(pymarl_games.Duel, "step", lambda self, actions: (0, False, {"battle_won": "yes"}))
    game = duel(metrics=["battle_won"])
    game.start()
    with pytest.raises(EpisodeFailure, match="metrics: the info 'battle_won' is 'yes', which is not a number"):
        game.go(0, 0)


def test_there_is_no_picture(duel):
    with pytest.raises(ValueError, match="no picture"):
        duel().env.scene(0)


@pytest.mark.parametrize("chosen", ["smac", "smacv2"])
def test_missing_starcraft_is_explained(play, chosen):
    message = f"pip install git.https://github.com/oxwhirl/{chosen}.git, and StarCraft II"
    with pytest.raises(ConfigError, match=message):
        play(chosen)

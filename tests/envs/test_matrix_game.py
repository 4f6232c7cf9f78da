import re
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from omegaconf import OmegaConf

from hymarl.envs.matrix_game import MatrixGame
from hymarl.registry import ConfigError, build, check_settings

CONF = Path(__file__).parents[2] / "conf" / "env"
CLIMBING = [[11, -30, 0], [-30, 7, 0], [0, 6, 5]]


def game(name="matrix_game", agents=None, n_envs=1, **changes):
    values = OmegaConf.load(CONF / f"{name}.yaml")
    registered = values.pop("name")
    return build("env", registered, check_settings(MatrixGame, {**values, **changes}, name), agents, n_envs)


def start(env):
    return env.reset(np.zeros(env.n_envs, np.uint64), np.ones(env.n_envs, np.bool_))


def play(env, joint_actions):
    """Sum of rewards, and the last time step, of the same actions in every row."""
    start(env)
    total = 0.0
    for joint in joint_actions:
        last = env.step(np.tile(np.array(joint, np.int64), (env.n_envs, 1)), np.ones(env.n_envs, np.bool_))
        total += last.reward[0]
    return total, last


@pytest.mark.parametrize("first", range(3))
@pytest.mark.parametrize("second", range(3))
def test_climbing_pays_the_table(first, second):
    total, last = play(game(), [(first, second)])
    assert total == CLIMBING[first][second]
    assert last.terminated.all()
    assert not last.truncated.any()
    assert last.metrics[0, 0] == (first == second == 0)


def test_default_game_is_one_step_with_one_constant_observation():
    env = game()
    assert (env.spec.n_agents, env.spec.n_actions, env.spec.obs_dim, env.spec.episode_limit) == (2, 3, 1, 1)
    assert start(env).obs.tolist() == [[[1.0], [1.0]]]
    assert play(env, [(0, 0)])[1].obs.tolist() == [[[0.0], [0.0]]]  # the game is over


@pytest.mark.parametrize(
    ("joint_actions", "total"),
    [
        ([(0, 0), (0, 0)], 7),
        ([(0, 1), (1, 0)], 7),  # the second agent's first action does not matter
        ([(1, 0), (0, 0)], 0),
        ([(1, 1), (0, 1)], 1),
        ([(1, 0), (1, 0)], 1),
        ([(1, 1), (1, 1)], 8),
    ],
)
def test_two_step_game_of_the_qmix_paper(joint_actions, total):
    env = game("two_step")
    paid, last = play(env, joint_actions)
    assert paid == total
    assert last.terminated.all()
    assert last.metrics[0, 0] == (total == 8)


def test_two_step_game_shows_its_state_until_it_is_over():
    env = game("two_step")
    every = np.ones(1, np.bool_)
    assert start(env).state.tolist() == [[1, 0, 0]]
    now = env.step(np.array([[1, 0]]), every)
    assert now.state.tolist() == [[0, 0, 1]]
    assert now.obs.tolist() == [[[0, 0, 1], [0, 0, 1]]]
    assert not now.terminated.any()
    assert env.step(np.array([[1, 0]]), every).state.tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(
    ("joint_actions", "total"),
    [
        ([(0, 0)] * 9 + [(1, 1)], 13),
        ([(0, 0)] * 9 + [(0, 1)], 10),
        ([(1, 1)] * 10, 10),
        ([(1, 1)] * 9 + [(0, 0)], 9),
        ([(0, 0)] * 4 + [(1, 0)], 4),
        ([(1, 1)] * 6 + [(0, 0)], 6),
        ([(0, 1)], 0),
    ],
)
def test_ten_step_game_of_the_maven_paper(joint_actions, total):
    paid, last = play(game("ten_step"), joint_actions)
    assert paid == total
    assert last.terminated.all()
    assert last.metrics[0, 0] == (total == 13)


def test_repeated_game_counts_steps_and_the_best_sum():
    env = game(steps=25)
    total, last = play(env, [(0, 0)] * 25)
    assert total == 25 * 11
    assert last.metrics[0, 0] == 1
    assert play(env, [(0, 0)] * 24 + [(1, 1)])[1].metrics[0, 0] == 0
    assert env.spec.obs_dim == 1 + 25
    assert game(steps=25, observe_step=False).spec.obs_dim == 1
    assert start(env).obs[0, 0].tolist() == [1, 1] + [0] * 24


def test_early_ends_give_episodes_of_different_lengths():
    payoffs = [[[1, 2], [3, 4]], [[0, 0], [0, 5]]]
    env = game(payoffs=payoffs, next_state=[[[-1, 0], [0, 1]], 1], steps=4, n_envs=2)
    start(env)
    now = env.step(np.array([[0, 0], [1, 1]]), np.ones(2, np.bool_))
    assert now.terminated.tolist() == [True, False]
    now = env.step(np.array([[1, 1], [1, 1]]), np.array([False, True]))
    assert now.reward.tolist() == [0, 5]
    assert not any(array[0].any() for array in now)  # a row that is not stepped returns zeros
    assert play(env, [(1, 1)] * 4)[0] == 4 + 3 * 5
    assert play(env, [(1, 1)] * 4)[1].metrics[:, 0].tolist() == [1, 1]


def test_three_agents_with_different_numbers_of_actions():
    payoffs = [[[1, 2], [3, 4], [5, 6]], [[7, 8], [9, 10], [11, 12]]]
    env = game(agents=3, payoffs=payoffs)
    assert start(env).avail[0].tolist() == [[True, True, False], [True, True, True], [True, True, False]]
    assert play(env, [(1, 2, 1)])[0] == 12


def test_individual_rewards_are_copies_of_the_payoff():
    env = game(individual_rewards=True)
    start(env)
    assert env.spec.individual_rewards
    assert env.step(np.array([[1, 1]]), np.ones(1, np.bool_)).reward.tolist() == [[7, 7]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 8}, "agents=8, but the payoffs are for 2 agents"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"payoffs": [1, 2]}, "payoffs must nest once per agent, of which there are two or more"),
        ({"payoffs": [[1, 2], [3, 1e10]]}, "payoffs must be numbers from -1,000,000,000 to 1,000,000,000, got"),
        ({"payoffs": [[1, 2], [3, float("nan")]]}, "payoffs must be numbers from -1,000,000,000"),
        ({"payoffs": [[1, 2], [3]]}, "all of the same size"),
        ({"payoffs": [[10**400, 2], [3, 4]]}, "tables of numbers"),
        ({"payoffs": [["a", 2], [3, 4]]}, "tables of numbers"),
        ({"next_state": [0, 0, 0]}, "and with next_state once more for the states"),
        ({"payoffs": 3 * [0]} | {"next_state": [0, 0, 0]}, "nest once per agent"),
        ({"payoffs": 3 * [[[1, 2], [3, 4]]], "next_state": [0]}, "next_state is for 1 states, payoffs for 3"),
        ({"payoffs": [[[1, 2], [3, 4]]], "next_state": [1]}, "whole numbers from -1"),
        ({"payoffs": [[[1, 2], [3, 4]]], "next_state": [0.5]}, "whole numbers from -1"),
        ({"payoffs": [[[1, 2], [3, 4]]], "next_state": [[[0, 0, 0]]]}, "a number or have the shape"),
    ],
)
def test_tables_that_do_not_fit_are_explained(changes, message):
    with pytest.raises(ConfigError, match=re.escape(message)):
        game(**changes)


def shipped(option):
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        values = OmegaConf.to_container(compose("config", overrides=[f"env={option}"]).env)
    return build("env", values.pop("name"), values, None, 9)


@pytest.mark.parametrize(
    ("option", "best"),
    [("climbing", 11), ("penalty", 10), ("qtran_game", 8), ("qplex_game", 8), ("qplex_ridge", 10.4)],
)
def test_games_that_ship_have_two_agents_with_three_actions_and_one_step(option, best):
    env, every = shipped(option), np.ones(9, np.bool_)
    env.reset(np.zeros(9, np.uint64), every)
    step = env.step(np.array(list(np.ndindex(3, 3))), every)
    assert step.reward.max() == pytest.approx(best)
    assert step.terminated.all()
    np.testing.assert_array_equal(step.metrics[:, 0], np.isclose(step.reward, best))

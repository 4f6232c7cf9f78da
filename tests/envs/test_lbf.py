"""Level-Based Foraging: the library's numbers, and ends of episodes that are told apart."""

import sys
from itertools import pairwise

import numpy as np
import pytest

from hymarl.envs.contract.checker import check_environment
from hymarl.envs.contract.scene import Thing, Visible
from hymarl.registry import ConfigError

NOTHING = 0


def field(game, row=0):
    return game.env._played(row).unwrapped


@pytest.mark.parametrize(("agents", "task"), [(None, "8x8-2p-2f-coop"), (3, "8x8-3p-2f-coop")])
def test_numbers_of_the_library(play, agents, task):
    """Every episode is the one that a new environment of the library plays, also with more players than the task's."""
    import gymnasium

    game = play("lbf", agents, n_envs=2)
    for episode in range(3):
        steps = game.episode(episode)
        env = gymnasium.make(f"Foraging-{task}-v3", disable_env_checker=True)
        observations, _ = env.reset(seed=int(game.keys(episode)[1] >> np.uint64(33)))
        g = np.random.default_rng(episode)
        for now, after in pairwise(steps):
            assert np.array_equal(now.obs[1], np.array(observations))
            joint = g.random(now.avail.shape).argmax(axis=-1)[1]
            observations, rewards, over, _, _ = env.step(joint.tolist())
            assert after.reward[1] == np.float32(sum(rewards))
            assert over == (after.terminated[1] or after.truncated[1])
            if over:
                break
        assert over


@pytest.mark.parametrize("limit", [None, 7, 60])
def test_time_limit_truncates(play, limit):
    game = play("lbf", episode_limit=limit)
    assert game.spec.episode_limit == (limit or 50)
    game.start()
    for t in range(1, game.spec.episode_limit + 1):
        now = game.go(NOTHING, NOTHING)
        assert (now.terminated[0], now.truncated[0]) == (False, t == game.spec.episode_limit)


@pytest.mark.parametrize("t", [1, 7])
def test_last_food_terminates_also_at_the_limit(play, t):
    game = play("lbf", episode_limit=7)
    game.start()
    for _ in range(t - 1):
        game.go(NOTHING, NOTHING)
    field(game).field[:] = 0
    now = game.go(NOTHING, NOTHING)
    assert (now.terminated[0], now.truncated[0]) == (True, False)


def test_all_food_is_worth_one(play):
    """A player of level 2 beside food of level 2 takes it, the only food."""
    game = play("lbf", task="Foraging-5x5-2p-1f-v3")
    game.start()
    env = field(game)
    env.field[:] = 0
    env.field[2, 2] = 2
    env._food_spawned = 2
    env.players[0].position, env.players[0].level = (2, 1), 2
    env.players[1].position = (4, 4)
    env._gen_valid_moves()
    now = game.go(5, NOTHING)
    assert (now.reward[0], now.terminated[0]) == (1, True)


def test_contract(play):
    check_environment(play("lbf", 4, 3).env)


def test_equal_in_any_number_of_workers(equal_in_workers):
    equal_in_workers("lbf", agents=3)


def test_scene(play):
    game = play("lbf", 3, 2)
    assert isinstance(game.env, Visible)
    game.start()
    game.go(NOTHING, NOTHING, NOTHING)
    scene, env = game.env.scene(1), field(game, 1)
    assert (scene.height, scene.width, scene.caption) == (8, 8, "step 1, 2 food items left")
    squares = [thing for thing in scene.things if thing.shape == "square"]
    assert {(t.row, t.column, t.label) for t in squares} == {
        (r, c, str(env.field[r, c])) for r, c in np.argwhere(env.field)
    }
    row, column = env.players[2].position
    assert scene.things[-1] == Thing(row, column, str(env.players[2].level), "tab:green", "disc")


def test_mistakes_are_explained(play, monkeypatch):
    with pytest.raises(ConfigError, match=r"no task 'Foraging-8x8-2p-2f-v2'; did you mean .*Foraging-8x8-2p-2f-v3"):
        play("lbf", task="Foraging-8x8-2p-2f-v2")
    monkeypatch.setitem(sys.modules, "lbforaging", None)
    with pytest.raises(ConfigError, match=r"pip install 'hymarl\[lbf\]'"):
        play("lbf")

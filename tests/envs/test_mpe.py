"""The multi-agent particle environments: the library's numbers, teams and those that play against them."""

import sys
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest

from hymarl.envs.adapters import mpe_opponents
from hymarl.envs.adapters.parallel_game import Situation
from hymarl.envs.contract.checker import check_environment
from hymarl.registry import ConfigError

STAY, LEFT, RIGHT, DOWN, UP = range(5)


def raw(game, name, row, **kwargs):
    """The library's environment at the beginning of the first episode of a row."""
    env = import_module(f"mpe2.{name}").parallel_env(**kwargs)
    observations, _ = env.reset(seed=int(game.keys()[row] >> np.uint64(33)))
    return env, observations


@pytest.mark.parametrize("agents", [3, 5])
def test_spread_gives_the_numbers_of_the_library(play, agents):
    game = play("mpe", agents, 2)
    assert game.spec.n_agents == agents
    env, observations = raw(game, "simple_spread_v3", 1, N=agents)
    g = np.random.default_rng(0)
    steps = game.episode()
    assert len(steps) == 26
    for now, after in pairwise(steps):
        assert np.array_equal(now.obs[1], np.array(list(observations.values())))
        assert np.array_equal(now.state[1], env.state())
        joint = g.random(now.avail.shape).argmax(axis=-1)[1].tolist()
        observations, rewards, _, truncations, _ = env.step(dict(zip(env.possible_agents, joint, strict=True)))
        assert after.reward[1] == np.float32(sum(rewards.values()))
    assert after.truncated[1]
    assert all(truncations.values())


def test_speaker_and_listener_have_different_sizes(play):
    now = play("mpe_speaker_listener").start()
    assert now.avail[0].sum(axis=-1).tolist() == [3, 5]
    assert not now.obs[0, 0, 3:].any()
    assert now.obs[0, 0, :3].any()
    assert now.obs[0, 1, 2:8].all()  # where the landmarks are


@pytest.mark.parametrize(
    ("chosen", "name", "team", "other", "behavior"),
    [
        ("mpe_tag", "simple_tag_v3", "adversary", "agent_0", mpe_opponents.flee),
        ("mpe_adversary", "simple_adversary_v3", "agent", "adversary_0", mpe_opponents.approach_guarded_landmark),
    ],
)
def test_teams_play_against_a_script(play, chosen, name, team, other, behavior):
    game = play(chosen)
    env, observations = raw(game, name, 0)
    g = np.random.default_rng(0)
    steps = game.episode()
    members = [agent for agent in env.possible_agents if agent.startswith(team)]
    for now, after in pairwise(steps):
        assert np.array_equal(now.obs[0], np.array([observations[agent] for agent in members]))
        joint = dict(zip(members, g.random(now.avail.shape).argmax(axis=-1)[0].tolist(), strict=True))
        situation = Situation(other, tuple(env.possible_agents), observations[other], np.ones(5, np.bool_), None)
        observations, rewards, _, _, _ = env.step({**joint, other: behavior(situation)})
        assert after.reward[0] == np.float32(sum(rewards[agent] for agent in members))
    assert after.truncated[0]


@pytest.mark.parametrize(("chosen", "agents"), [("mpe_tag", 4), ("mpe_adversary", 3)])
def test_number_of_the_team(play, chosen, agents):
    game = play(chosen, agents, 3)
    assert game.spec.n_agents == agents
    check_environment(game.env, n_episodes=1)


@pytest.mark.parametrize(
    ("position", "pursuers", "obstacle", "action"),
    [
        ((0, 0), [(0.3, 0.1), (2, 2)], (5, 5), LEFT),
        ((0, 0), [(-0.3, 0.1), (2, 2)], (5, 5), RIGHT),
        ((0, 0), [(0.1, -0.3), (2, 2)], (5, 5), UP),
        ((0, 0), [(0.1, 0.3), (0.2, 0.3)], (5, 5), DOWN),
        ((0.95, 0), [(-1, 0), (-1, 0.1)], (5, 5), LEFT),  # rather near the pursuers than off the edge
        ((0, -0.95), [(0.2, 1), (0, 1)], (5, 5), UP),
        ((0, 0), [(3, 3), (-3, -3)], (0.0, 0.2), DOWN),
    ],
)
def test_prey_flees(position, pursuers, obstacle, action):
    observation = np.array([(0, 0), position, obstacle, *pursuers, (1, 1), (0.5, 0.5)], np.float32).ravel()
    names = ("adversary_0", "adversary_1", "agent_0", "agent_1")
    situation = Situation("agent_0", names, observation, np.ones(5, np.bool_), None)
    assert mpe_opponents.flee(situation) == action


def test_prey_is_hard_to_catch_at_random(play):
    """It gets away from a team that moves at random, and a prey that stays where it is does not."""
    caught = {}
    for behavior in ("hymarl.envs.adapters.mpe_opponents:flee", "parallel_games:chance"):
        game = play("mpe_tag", n_envs=20, others={"agent": behavior})
        caught[behavior] = sum(now.reward.sum() for now in game.episode())
    fleeing, careless = caught.values()
    assert fleeing < 0.5 * careless


@pytest.mark.parametrize(
    ("landmarks", "agents", "action"),
    [
        ([(1, 0), (-1, 0)], [(0.9, 0), (0, 1)], RIGHT),
        ([(1, 0), (-1, 0)], [(0, 1), (-0.9, 0.1)], LEFT),
        ([(0.1, -1), (0, 1)], [(0.1, -0.9), (3, 3)], DOWN),
        ([(0.1, -1), (0.02, 0.01)], [(3, 3), (0.02, 0.01)], STAY),
    ],
)
def test_adversary_goes_where_the_others_gather(landmarks, agents, action):
    observation = np.array([*landmarks, *agents], np.float32).ravel()
    names = ("adversary_0", "agent_0", "agent_1")
    situation = Situation("adversary_0", names, observation, np.ones(5, np.bool_), None)
    assert mpe_opponents.approach_guarded_landmark(situation) == action


def test_equal_in_any_number_of_workers(equal_in_workers):
    equal_in_workers("mpe")


def test_picture_without_a_screen(play, monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    game = play("mpe_tag", kwargs={"render_mode": "rgb_array"})
    game.start()
    assert game.env.scene(0).pixels.shape == (700, 700, 3)


def test_mistakes_are_explained(play, monkeypatch):
    with pytest.raises(
        ConfigError, match=r"agents=3, but env.entry_point=mpe2.simple_speaker_listener_v4:parallel_env has 2 agents"
    ):
        play("mpe_speaker_listener", 3)
    monkeypatch.setitem(sys.modules, "mpe2.simple_spread_v3", None)
    with pytest.raises(ConfigError, match=r"pip install 'hymarl\[mpe\]'"):
        play("mpe")

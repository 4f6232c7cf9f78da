"""All agents as one: the same episodes, seen and steered by a single agent."""

import copy
import itertools
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hymarl.components.rng import Stream, keys
from hymarl.components.spec import EnvSpec
from hymarl.envs.adapters.joint_agent import MOST_JOINT_ACTIONS, JointAgent, make_joint
from hymarl.envs.contract.checker import check_environment
from hymarl.envs.contract.scene import GridScene
from hymarl.envs.contract.vector_env import EpisodeFailure
from hymarl.registry import ConfigError, build

GAMES = {
    "two_step": (None, {}),
    "predator_prey": (3, {"size": 4, "prey": 2, "episode_limit": 12, "punishment": -2.0}),  # has unavailable actions
    "loadbalance": (2, {"episode_limit": 6, "warmup": 1.0}),
    "pymarl": (3, {"entry_point": "pymarl_games:Duel", "agents_kwarg": "n"}),
}


@pytest.fixture
def walk(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1])
    import walk

    return walk.Walk


@pytest.mark.parametrize("chosen", GAMES)
def test_one_agent_plays_the_episodes_of_all(play, chosen):
    agents, changes = GAMES[chosen]
    game, one = (play(chosen, agents, 3, **changes).env for _ in range(2))
    joint, spec = JointAgent(one), game.spec
    combinations = list(itertools.product(range(spec.n_actions), repeat=spec.n_agents))  # agent 0's changes slowest
    assert (joint.spec.n_agents, joint.spec.n_actions) == (1, len(combinations))
    assert (joint.spec.obs_dim, joint.spec.entities) == (spec.n_agents * spec.obs_dim, None)
    same = "state_dim", "episode_limit", "metric_names", "headline_metrics", "references", "individual_rewards"
    assert all(getattr(joint.spec, name) == getattr(spec, name) for name in same)
    seeds, running, g, closed = keys(0, Stream.TEST, range(3)), np.ones(3, np.bool_), np.random.default_rng(0), False
    ours, theirs = joint.reset(seeds, running), game.reset(seeds, running)
    while True:
        assert ours.obs.shape == (3, 1, joint.spec.obs_dim)
        assert np.array_equal(ours.obs.ravel(), theirs.obs.ravel())
        possible = [[all(row[i, u] for i, u in enumerate(parts)) for parts in combinations] for row in theirs.avail]
        assert ours.avail.tolist() == [[row] for row in possible]
        for name in ("state", "reward", "terminated", "truncated", "metrics"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name
        closed |= not theirs.avail[running].all()
        running &= ~(theirs.terminated | theirs.truncated)
        if not running.any():
            break
        chosen_now = np.where(ours.avail, g.random(ours.avail.shape), -1.0).argmax(axis=-1)
        chosen_now[~running] = len(combinations)  # anything
        parts = np.array([combinations[min(number, len(combinations) - 1)] for (number,) in chosen_now])
        ours, theirs = joint.step(chosen_now, running), game.step(parts, running)
    assert closed == (chosen in ("predator_prey", "pymarl"))


def test_it_keeps_the_contract(walk, play):
    agents, changes = GAMES["predator_prey"]
    for env in (walk(3), play("predator_prey", agents, 3, **changes).env):
        check_environment(JointAgent(env), n_episodes=1)


def test_a_failed_row_is_told_with_what_the_others_see(random_env):
    seeds, every = keys(0, Stream.TEST, range(3)), np.ones(3, np.bool_)
    joint = JointAgent(random_env(3, failures={int(seeds[1]): [0]}))
    now = joint.reset(seeds, every)
    actions = now.avail.argmax(axis=-1)
    given = tuple(joint.parts(actions)[1].tolist())
    with pytest.raises(EpisodeFailure, match="broken on purpose") as caught:
        joint.step(actions, every)
    assert [(failure.row, failure.actions) for failure in caught.value.failures] == [(1, given)]
    seen = caught.value.time_step
    assert (seen.obs.shape, seen.avail.shape) == ((3, 1, 8), (3, 1, 9))
    assert seen.obs.any(axis=(1, 2)).tolist() == seen.avail.any(axis=(1, 2)).tolist() == [True, False, True]


def test_pictures_are_those_of_the_environment(play, random_env):
    game = play("goal_swap")
    joint = JointAgent(copy.deepcopy(game.env))
    joint.reset(game.keys(), game.every)
    game.start()
    assert isinstance(joint.scene(0), GridScene)
    assert joint.scene(0) == game.env.scene(0)
    with pytest.raises(ValueError, match="this environment has no picture of itself"):
        JointAgent(random_env(1)).scene(0)


def test_what_makes_it_can_be_sent_to_another_process(settings):
    make = partial(make_joint, partial(build, "env", *settings("qtran_game"), None))
    assert pickle.loads(pickle.dumps(make))(2).spec.n_actions == 9


def sized(random_env, n_agents, n_actions):
    """An environment of these sizes, which is not played."""
    env = random_env(1)
    env.spec = EnvSpec(n_agents=n_agents, n_actions=n_actions, obs_dim=1, state_dim=1, episode_limit=1)
    return env


@pytest.mark.parametrize(
    ("n_agents", "n_actions", "number"),
    [(13, 2, "2^13 = 8,192"), (2, 65, "65^2 = 4,225"), (500, 20, "20^500"), (1, 4097, "4097^1 = 4,097")],
)
def test_too_many_joint_actions_are_refused(random_env, n_agents, n_actions, number):
    env = sized(random_env, n_agents, n_actions)
    with pytest.raises(ConfigError) as caught:
        make_joint(lambda _: env, 1)
    assert str(caught.value) == (
        f"joint=true: one agent that chooses for all would have {number} joint actions ({n_agents} agents with "
        f"{n_actions} actions each), and there can be 4,096; take fewer agents, fewer actions, or an algorithm whose "
        f"agents act on their own"
    )
    assert env.closed


def test_as_many_joint_actions_as_there_can_be(random_env):
    for n_agents, n_actions in ((12, 2), (6, 4), (2, 64), (1, 4096), (3, 1)):
        assert JointAgent(sized(random_env, n_agents, n_actions)).spec.n_actions == n_actions**n_agents
    assert MOST_JOINT_ACTIONS == 2**12


def test_individual_rewards_are_refused(random_env):
    env = random_env(1, individual_rewards=True)
    with pytest.raises(ConfigError, match="joint=true: one agent that chooses for all needs a common reward, but this"):
        make_joint(lambda _: env, 1)
    assert env.closed


def test_what_is_no_environment_is_refused():
    with pytest.raises(ConfigError, match=r"joint=true: builtins\.object must be a VectorEnv"):
        make_joint(lambda _: object(), 1)

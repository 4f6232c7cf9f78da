"""PettingZoo environments adapted, and ours exported."""

import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test

from hymarl.components import rng
from hymarl.components.rng import Stream
from hymarl.envs.adapters.pettingzoo_export import to_pettingzoo
from hymarl.envs.contract.checker import check_environment
from hymarl.envs.contract.vector_env import EpisodeFailure
from hymarl.envs.matrix_game import MatrixGame
from hymarl.envs.pettingzoo import PettingZoo

PICKY = "parallel_games:Picky"
A_3, A_4, B_0, B_1, B_2 = 0, 1, 0, 1, 2
"""Actions of the agents of `Uneven`, as numbers from 0."""


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def uneven(n_envs=1, agents=None, entry_point="parallel_games:Uneven", **changes):
    values = {"install": None, "kwargs": None, "agents_kwarg": None, "episode_limit": None, "reward": "sum"}
    values |= {"at_limit": "terminated", "metrics": [], "others": None, "global_random": True, "state": "own"}
    values |= changes
    return PettingZoo(agents, n_envs, entry_point=entry_point, **values)


def every(env):
    return np.ones(env.n_envs, np.bool_)


def start(env, seed=0):
    return env.reset(rng.keys(seed, Stream.TEST, np.arange(env.n_envs)), every(env))


def go(env, *joint):
    return env.step(np.tile(np.array(joint), (env.n_envs, 1)), every(env))


def climbing(steps=3):
    tables = [[11, -30, 0], [-30, 7, 0], [0, 6, 5]]
    return MatrixGame(
        None, 1, payoffs=tables, next_state=None, steps=steps, observe_step=True, individual_rewards=False
    )


def test_sizes_are_padded_to_the_largest_agent():
    spec = uneven().spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim, spec.episode_limit) == (2, 3, 3, 2, 4)
    assert uneven(kwargs={"has_state": False}).spec.state_dim == 6
    assert uneven(episode_limit=3).spec.episode_limit == 3


def test_observations_masks_and_actions_are_translated():
    env = uneven()
    now = start(env)
    assert now.obs[0].tolist() == [[1, 0, 0], [2, 0, 0]]
    assert now.avail[0].tolist() == [[True, False, False], [True, False, True]]  # masks from the infos, from the obs
    now = go(env, A_3, B_0)
    assert now.reward.tolist() == [3]  # the first agent's action 0 is its number 3
    assert now.obs[0].tolist() == [[1, 1, 0], [2, 1, 1]]
    assert now.avail[0].tolist() == [[True, True, False], [True, True, True]]


def test_state_is_its_own():
    seed = int(rng.keys(0, Stream.TEST, 0)[0] >> np.uint64(33))
    assert start(uneven()).state.tolist() == [[seed % 97, 0]]


@pytest.mark.parametrize(("kind", "kwargs"), [("Uneven", {"has_state": False}), ("NoState", {}), ("DictState", {})])
def test_state_that_is_not_there_is_all_observations(kind, kwargs):
    assert start(uneven(entry_point=f"parallel_games:{kind}", kwargs=kwargs)).state.tolist() == [[1, 0, 0, 2, 0, 0]]


def test_a_mistake_in_the_state_is_not_hidden():
    with pytest.raises(ValueError, match=r"cannot be played: AttributeError: .* no attribute 'forgotten'"):
        uneven(entry_point="parallel_games:BrokenState")


def test_mask_need_not_be_in_the_space():
    env = uneven(entry_point="parallel_games:Undeclared")
    assert start(env).obs[0].tolist() == [[0, 1, 1, 0, 0, 0, 0], [2, 0, 0, 0, 0, 0, 0]]
    now = go(env, A_3, B_0)
    assert now.obs[0].tolist() == [[0, 1, 0, 1, 0, 0, 0], [2, 1, 1, 0, 0, 0, 0]]
    assert now.avail[0].tolist() == [[True, True, False], [True, True, True]]


@pytest.mark.parametrize(("reward", "paid"), [("sum", [5]), ("mean", [2.5]), ("individual", [[3, 2]])])
def test_team_reward(reward, paid):
    env = uneven(reward=reward)
    assert env.spec.individual_rewards == (reward == "individual")
    start(env)
    assert go(env, A_3, B_2).reward.tolist() == paid


@pytest.mark.parametrize("kind", ["Uneven", "Lingering"])
def test_agent_that_dies_early_is_idle_and_the_others_go_on(kind):
    env = uneven(entry_point=f"parallel_games:{kind}")
    start(env)
    now = go(env, A_3, B_2)
    assert not now.terminated.any()
    assert now.obs[0].tolist() == [[1, 1, 0], [0, 0, 0]]
    assert now.avail[0].tolist() == [[True, True, False], [True, False, False]]
    for over in (False, False, True):
        now = go(env, A_3, B_0)
        assert (now.reward.tolist(), now.obs[0, 1].tolist()) == ([3], [0, 0, 0])  # nothing for the dead
        assert (now.terminated[0], now.truncated[0]) == (False, over)
    assert start(env).obs[0, 1].any()


@pytest.mark.parametrize("steps", [1, 3])
def test_last_step_counts_when_everybody_terminates(steps):
    env = uneven()
    start(env)
    for _ in range(steps):
        go(env, A_3, B_0)
    now = go(env, A_4, B_1)
    assert (now.terminated[0], now.truncated[0], now.reward.tolist()) == (True, False, [5])
    assert now.obs[0].tolist() == [[1, steps + 1, 0], [2, steps + 1, steps + 1]]


@pytest.mark.parametrize("limit", [None, 2])
def test_time_limit_truncates_with_the_real_last_observation(limit):
    env = uneven(episode_limit=limit)
    start(env)
    for t in range(1, env.spec.episode_limit + 1):
        now = go(env, A_3, B_0)
        assert now.truncated[0] == (t == env.spec.episode_limit)
    assert not now.terminated[0]
    assert now.obs[0, 1].tolist() == [2, t, t]
    assert now.reward.tolist() == [3]
    assert now.avail[0, 1].tolist() == [True, False, True]


def test_one_death_and_one_time_limit_is_a_truncation():
    env = uneven()
    start(env)
    go(env, A_3, B_2)
    for _ in range(3):
        now = go(env, A_3, B_0)
    assert (now.terminated[0], now.truncated[0]) == (False, True)
    assert now.obs[0].tolist() == [[1, 4, 0], [0, 0, 0]]


def test_cut_of_one_agent_and_a_later_win_is_a_truncation():
    env = uneven(kwargs={"b_until": 1})
    start(env)
    go(env, A_3, B_0)
    now = go(env, A_4, B_0)
    assert (now.terminated[0], now.truncated[0]) == (False, True)


@pytest.mark.parametrize(
    ("entry_point", "at_limit", "limit", "last"),
    [
        ("Clipped", "terminated", None, "terminated"),
        ("Clipped", "truncated", None, "truncated"),
        ("Clipped", "terminated", 3, "truncated"),
        ("Uneven", "truncated", None, "truncated"),
    ],
)
def test_what_the_end_at_the_limit_means(entry_point, at_limit, limit, last):
    env = uneven(entry_point=f"parallel_games:{entry_point}", at_limit=at_limit, episode_limit=limit)
    start(env)
    for t in range(1, env.spec.episode_limit + 1):
        now = go(env, A_3, B_0)
        ended = t == env.spec.episode_limit
        assert (now.terminated[0], now.truncated[0]) == (ended and last == "terminated", ended and last == "truncated")


def test_win_before_the_limit_is_a_termination_whatever_the_limit_means():
    env = uneven(entry_point="parallel_games:Clipped", at_limit="truncated")
    start(env)
    now = go(env, A_4, B_0)
    assert (now.terminated[0], now.truncated[0]) == (True, False)


@pytest.mark.parametrize("kwargs", [{}, {"has_state": False}])
def test_contract(kwargs):
    check_environment(uneven(3, kwargs=kwargs))


def test_environment_that_raises_loses_its_row_only_and_is_made_anew():
    env = uneven(2, kwargs={"raise_at": 2})
    start(env)
    env.step(np.array([[A_3, B_0], [A_3, B_0]]), np.array([True, False]))
    with pytest.raises(EpisodeFailure) as caught:
        env.step(np.array([[A_3, B_0], [A_3, B_2]]), every(env))
    (failure,) = caught.value.failures
    assert (failure.row, failure.actions) == (0, (A_3, B_0))
    assert failure.seed == rng.keys(0, Stream.TEST, 0)[0]
    assert failure.reason.startswith("RuntimeError: the board fell off the table (")
    assert caught.value.time_step.reward.tolist() == [0, 5]
    assert not caught.value.time_step.obs[0].any()
    now = env.reset(rng.keys(0, Stream.TEST, [0, 1]), np.array([True, False]))
    assert now.obs[0].any()
    env.step(np.array([[A_3, B_0], [A_3, B_0]]), np.array([True, False]))


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("Uneven", {"shrink_at": 1}, r"state has the shape \(1,\), expected \(2,\)"),
        ("Damaged", {"what": "ends"}, "agent 'a' plays, but neither the terminations nor the truncations that step"),
        ("Damaged", {"what": "mask", "number": 1}, "agent 'a' has 2 actions, but its action_mask is of the size 1"),
        ("Damaged", {"what": "mask", "number": 3}, "agent 'a' has 2 actions, but its action_mask is of the size 3"),
    ],
)
def test_departures_from_the_interface_are_failures(kind, kwargs, message):
    env = uneven(entry_point=f"parallel_games:{kind}", kwargs=kwargs)
    start(env)
    with pytest.raises(EpisodeFailure, match=message) as caught:
        go(env, A_3, B_0)
    assert not any(array.any() for array in caught.value.time_step)


def test_row_must_be_reset_after_its_failure():
    env = uneven(kwargs={"raise_at": 1})
    start(env)
    for _ in range(2):
        with pytest.raises(EpisodeFailure):
            go(env, A_3, B_0)


def test_agents_kwarg_passes_the_number():
    assert uneven(agents=1, agents_kwarg="n").spec.n_agents == 1
    assert uneven(agents=1, agents_kwarg="n", kwargs={"n": 2}).spec.n_agents == 1
    assert uneven(agents=2).spec.n_agents == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 8}, "agents=8, but env.entry_point=parallel_games:Uneven has 2 agents; .* in env.agents_kwarg"),
        ({"agents": 8, "agents_kwarg": "n"}, "agents=8, but env.entry_point=parallel_games:Uneven has 2 agents"),
        ({"entry_point": "parallel_games"}, "env.entry_point must read module:name, .*got 'parallel_games'"),
        (
            {"entry_point": "no_such_games:env"},
            "No module named 'no_such_games'; install its package, start .*PYTHONPATH",
        ),
        ({"entry_point": "parallel_games:nothing"}, "the module parallel_games has no 'nothing'"),
        ({"entry_point": "parallel_games:drawn"}, "agent 'a' has the action space Box"),
        ({"entry_point": "no_such_games:env", "install": "pip install games"}, "more packages: pip install games"),
        ({"entry_point": "parallel_games:endless"}, "set env.episode_limit="),
        (
            {"kwargs": {"color": 1}},
            "parallel_games:Uneven: it does not accept these env.kwargs: .*keyword argument 'color'",
        ),
        ({"agents": 0}, "agents must be at least 1, got 0"),
        ({"agents": -2, "agents_kwarg": "n"}, "agents must be at least 1, got -2"),
        ({"agents": 2, "agents_kwarg": "n.m", "kwargs": {"n": 3}}, "agents_kwarg=n.m: the keyword argument n is no"),
        ({"kwargs": {"n": 0}}, "possible_agents is empty: the environment has no agents"),
        ({"entry_point": PICKY}, r"Picky: it cannot be made: OSError: there is no display \(.*parallel_g"),
        ({"entry_point": PICKY, "kwargs": {"error": "ValueError"}}, r"ValueError: there is no display \(.*parallel_g"),
        ({"entry_point": PICKY, "kwargs": {"error": "TypeError"}}, r"TypeError: .* has no len\(\) \(.*parallel_g"),
        ({"entry_point": "parallel_games:FailingFirst"}, "FailingFirst: it cannot be played: KeyError: 'board'"),
        ({"episode_limit": 5}, "env.episode_limit=5, but it ends its episodes after 4 steps"),
        (
            {"others": {"c": "parallel_games:chance"}},
            "env.others: no agent's name begins with 'c'; the agents are a, b",
        ),
        ({"others": {"": "parallel_games:chance"}}, "leave no agent for the team; the agents are a, b"),
        ({"others": {"b": "parallel_games:nothing"}}, "the module parallel_games has no 'nothing'"),
    ],
)
def test_settings_that_do_not_fit_are_explained(changes, message):
    with pytest.raises(ValueError, match=message):
        uneven(**changes)


def test_metrics_are_means_over_the_agents_that_have_them():
    env = uneven(metrics=["score", "only", "none?"])
    assert env.spec.metric_names == env.spec.headline_metrics == ("score", "only", "none")
    start(env)
    assert go(env, A_3, B_0).metrics.tolist() == [[2, 1, 0]]
    assert go(env, A_3, B_0).metrics.tolist() == [[4, 1, 0]]


def test_scripted_agents_are_not_of_the_team():
    env = uneven(others={"b": "parallel_games:last_available"})
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_dim, spec.state_dim) == (1, 2, 2, 2)
    start(env)
    now = go(env, A_3)  # the other plays 2 and is gone
    assert (now.reward.tolist(), now.terminated[0], now.truncated[0]) == ([3], False, False)
    now = go(env, A_4)
    assert (now.reward.tolist(), now.terminated[0]) == ([4], True)


def test_episode_is_over_with_the_team():
    env = uneven(others={"a": "parallel_games:chance"}, kwargs={"has_state": False})
    assert env.spec.state_dim == 3
    start(env)
    now = go(env, B_2)
    assert (now.reward.tolist(), now.terminated[0], now.truncated[0]) == ([2], True, False)


def test_scripted_agents_draw_from_the_episode():
    check_environment(uneven(4, others={"b": "parallel_games:chance"}))


def test_pictures():
    env = uneven(2, kwargs={"render_mode": "rgb_array"})
    start(env)
    go(env, A_3, B_0)
    assert env.scene(0).pixels.tolist() == np.ones((2, 3, 3)).tolist()
    with pytest.raises(ValueError, match=r"set 'env.kwargs=\{render_mode: rgb_array\}'"):
        uneven().scene(0)


def test_an_adapted_environment_that_is_exported_passes_the_test_of_pettingzoo():
    parallel_api_test(to_pettingzoo(uneven()))


def test_round_trip_gives_equal_numbers():
    env, back = climbing(), uneven(entry_point="parallel_games:climbing", reward="mean")
    assert (back.spec.n_actions, back.spec.state_dim, back.spec.episode_limit) == (3, 4, 3)
    assert_equal(start(env), start(back))
    for actions in ([0, 0], [1, 0], [2, 1]):
        ours, theirs = go(env, *actions), go(back, *actions)
        assert_equal(ours, theirs)
    assert theirs.terminated[0]


@pytest.mark.parametrize("limit", [2, 100])
def test_export_gives_the_numbers_of_the_environment(limit):
    from walk import MOVE, Walk

    exported, env = to_pettingzoo(Walk(1, limit)), Walk(1, limit)
    observations, _ = exported.reset(seed=5)
    now = env.reset(rng.keys(5, Stream.TRAINING, 0), every(env))
    while exported.agents:
        assert np.array_equal(observations["agent_1"]["observation"], now.obs[0, 1])
        assert observations["agent_1"]["action_mask"].tolist() == [1, 0, 0, 0, 0, 0]
        assert np.array_equal(exported.state(), now.state[0])
        observations, rewards, terminations, truncations, infos = exported.step({"agent_0": MOVE, "agent_1": MOVE})
        now = go(env, MOVE, MOVE)
        assert rewards == {"agent_0": now.reward[0], "agent_1": now.reward[0]}
        assert terminations == dict.fromkeys(rewards, now.terminated[0])
        assert truncations == dict.fromkeys(rewards, now.truncated[0])
        assert infos["agent_0"]["position"] == now.metrics[0, 0]
    assert (now.terminated[0], now.truncated[0]) == (limit == 100, limit == 2)


def test_exported_observations_stay_as_they_are():
    from walk import MOVE, Walk

    class Reusing(Walk):
        def observe(self, where):
            self.out = super().observe(where) if self.t.max() == 0 else self.out
            self.out.obs[:] = self.t[0]
            return self.out

    env = to_pettingzoo(Reusing(1))
    first = env.reset(seed=0)[0]["agent_0"]["observation"]
    env.step({"agent_0": MOVE, "agent_1": MOVE})
    assert first.tolist() == [0, 0, 0, 0]


def test_export_continues_with_the_next_episode_and_repeats_with_a_seed():
    from walk import Walk

    env = to_pettingzoo(Walk(1), seed=3)
    episodes = [env.reset()[0]["agent_0"]["observation"] for _ in range(3)]
    assert not np.array_equal(episodes[0], episodes[1])
    again = [env.reset(seed=3), env.reset(), env.reset()]
    assert all(np.array_equal(a[0]["agent_0"]["observation"], b) for a, b in zip(again, episodes, strict=True))


def test_export_refuses_what_it_cannot_do():
    with pytest.raises(ValueError, match="n_envs=1, this one has 2"):
        to_pettingzoo(uneven(2))
    env = to_pettingzoo(uneven())
    with pytest.raises(ValueError, match=r"call reset\(\) first"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="no action for agent_1"):
        env.step({"agent_0": 0})
    with pytest.raises(ValueError, match="agent_1 cannot take action 3; there are the actions 0 to 2"):
        env.step({"agent_0": 0, "agent_1": 3})


def test_packages_are_needed_only_on_use():
    script = """
import sys
sys.modules["pettingzoo"] = sys.modules["gymnasium"] = None
import hymarl.envs.pettingzoo, hymarl.envs.adapters.pettingzoo_export
from hymarl.envs.matrix_game import MatrixGame
game = MatrixGame(None, 1, payoffs=[[1]], next_state=None, steps=1, observe_step=True, individual_rewards=False)
try:
    hymarl.envs.adapters.pettingzoo_export.to_pettingzoo(game)
except ImportError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "to_pettingzoo needs more packages: pip install 'hymarl[pettingzoo]'", done.stderr


def assert_equal(ours, theirs):
    for name in ("obs", "state", "avail", "reward", "terminated", "truncated"):
        assert np.array_equal(getattr(ours, name), getattr(theirs, name)), name

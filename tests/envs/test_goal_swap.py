"""The rules of goal swap, worked out by hand."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymarl.components.rng import Stream, keys
from hymarl.envs.goal_swap import GoalSwap
from hymarl.registry import ConfigError

UP, DOWN, LEFT, RIGHT = range(4)


def start(agents=2, size=5, limit=100, rows=1):
    env = GoalSwap(agents, rows, size=size, episode_limit=limit)
    return env, env.reset(keys(1, Stream.TEST, np.arange(rows)), np.ones(rows, np.bool_))


def play(env, *actions):
    """The steps of one row."""
    active = np.ones(1, np.bool_)
    return [env.step(np.array([joint]), active) for joint in actions]


def test_the_shortest_way_returns_8_65_in_4_steps():
    env, _ = start()
    steps = play(env, *[(DOWN, UP)] * 4)
    np.testing.assert_allclose([s.reward[0] for s in steps], [-0.65, -0.45, -0.25, 10], atol=1e-6)
    assert sum(float(s.reward[0]) for s in steps) == pytest.approx(8.65)
    assert [bool(s.terminated[0]) for s in steps] == [False, False, False, True]
    assert steps[-1].metrics[0, 0] == 1


def test_agents_start_in_opposite_corners_and_see_themselves_first():
    _, first = start()
    np.testing.assert_array_equal(first.obs[0], [[0, 0, 1, 1, 1, 0], [1, 1, 0, 0, 0, 1]])  # own, partner's, goal
    np.testing.assert_array_equal(first.state[0], [0, 0, 1, 1, 1, 0, 0, 1])
    assert first.avail.all()


def test_four_agents_go_from_corner_to_corner():
    _, first = start(agents=4)
    np.testing.assert_array_equal(first.state[0].reshape(2, 4, 2)[0], [[0, 0], [1, 0], [1, 1], [0, 1]])
    np.testing.assert_array_equal(first.state[0].reshape(2, 4, 2)[1], [[1, 0], [1, 1], [0, 1], [0, 0]])


def test_a_move_into_the_wall_stays_and_costs():
    env, _ = start()
    (step,) = play(env, (UP, RIGHT))
    np.testing.assert_array_equal(step.obs[0, :, :2], [[0, 0], [1, 1]])
    assert step.reward[0] == pytest.approx(-0.05 - 0.1 * 8 - 2 * 0.5)


def test_agents_that_would_share_a_cell_bounce_back():
    env, _ = start(size=3)  # agent 0 from (0, 0), agent 1 from (2, 2)
    play(env, (RIGHT, UP))  # (0, 1) and (1, 2)
    (step,) = play(env, (DOWN, LEFT))  # both to (1, 1)
    np.testing.assert_array_equal(step.obs[0, :, :2], [[0, 0.5], [0.5, 1]])
    assert step.reward[0] == pytest.approx(-0.05 - 0.1 * (3 + 1) - 2 * 0.5)


def test_one_that_moves_onto_one_that_stays_bounces_alone():
    env, _ = start(size=2)  # agent 0 at (0, 0) with goal (1, 0), agent 1 at (1, 1) with goal (0, 1)
    (step,) = play(env, (UP, LEFT))  # wall; to (1, 0)
    np.testing.assert_array_equal(step.obs[0, :, :2], [[0, 0], [1, 0]])
    (step,) = play(env, (DOWN, DOWN))  # to (1, 0), where agent 1 runs into the wall
    np.testing.assert_array_equal(step.obs[0, :, :2], [[0, 0], [1, 0]])
    assert step.reward[0] == pytest.approx(-0.05 - 0.1 * (1 + 2) - 0.5 - 0.5)


def test_whoever_is_bounced_into_may_bounce_too():
    env, _ = start(agents=4, size=2)  # 0 (0,0), 1 (1,0), 2 (1,1), 3 (0,1): a full square
    (step,) = play(env, (UP, UP, UP, UP))  # 0 and 3 into the wall, 1 and 2 onto them
    np.testing.assert_array_equal(step.obs[0, :, :2], [[0, 0], [1, 0], [1, 1], [0, 1]])
    assert step.reward[0] == pytest.approx(-0.05 - 0.1 * 4 - 2 * 0.5 - 2 * 0.5)
    (step,) = play(env, (DOWN, RIGHT, UP, LEFT))  # in a circle, nobody meets anybody
    assert step.terminated[0]
    assert step.reward[0] == 10


def test_an_agent_at_its_goal_stays_there():
    env, _ = start(size=2)
    (step,) = play(env, (DOWN, DOWN))  # agent 0 home, agent 1 into the wall
    (step,) = play(env, (UP, DOWN))
    np.testing.assert_array_equal(step.obs[0, 0, :2], [1, 0])
    assert step.reward[0] == pytest.approx(-0.05 - 0.1 - 0.5)


def test_the_limit_truncates():
    env, _ = start(limit=3)
    steps = play(env, *[(UP, DOWN)] * 3)
    assert [bool(s.truncated[0]) for s in steps] == [False, False, True]
    assert not steps[-1].terminated[0]
    assert steps[-1].metrics[0, 0] == 0


@given(agents=st.integers(1, 6), size=st.integers(3, 5), seed=st.integers(0, 2**32))
def test_agents_never_share_a_cell_and_end_where_they_belong(agents, size, seed):
    rng, rows = np.random.default_rng(seed), 3
    env, step = start(agents, size, limit=40, rows=rows)
    active = np.ones(rows, np.bool_)
    while active.any():
        before = step.state.copy()
        step = env.step(rng.integers(0, 4, (rows, agents)), active)
        places = step.state.reshape(rows, 2, agents, 2)
        for row in np.flatnonzero(active):
            assert len({tuple(place) for place in places[row, 0]}) == agents
            moved = np.abs(places[row, 0] - before[row].reshape(2, agents, 2)[0]).sum(axis=1)
            assert (moved < 1.001 / (size - 1)).all()
            home = (places[row, 0] == places[row, 1]).all()
            assert home == step.terminated[row] == step.metrics[row, 0]
        active &= ~(step.terminated | step.truncated)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 17}, "agents=17, but a grid of size 5 has room for 1 to 16 on its edge"),
        ({"limit": 0}, "episode_limit must be a whole number from 1 on, got 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        start(**changes)


def test_sizes_come_from_the_settings(component):
    env = component("env", "goal_swap", 3, 2, size=7)
    assert (env.spec.n_agents, env.spec.obs_dim, env.spec.state_dim, env.spec.n_actions) == (3, 8, 12, 4)
    with pytest.raises(ConfigError, match="env=goal_swap: agents=0"):
        component("env", "goal_swap", 0, 2)

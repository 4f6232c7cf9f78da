"""The rules of the meeting grid, worked out by hand."""

import numpy as np
import pytest

from hymarl.components.rng import Stream, keys
from hymarl.envs.meeting import Meeting

UP, DOWN, LEFT, RIGHT, STAY = range(5)


def start(agents=2, size=5, limit=50, rows=1, observe_others=True, first=0):
    env = Meeting(agents, rows, size=size, episode_limit=limit, observe_others=observe_others)
    return env, env.reset(keys(1, Stream.TEST, np.arange(first, first + rows)), np.ones(rows, np.bool_))


def cells(step, row=0, size=5):
    """Rows and columns of the agents, then of the goal."""
    return np.round(step.state[row].reshape(-1, 2) * (size - 1)).astype(int)


def towards(place, goal):
    """A move that brings one closer."""
    if place[0] != goal[0]:
        return DOWN if place[0] < goal[0] else UP
    if place[1] != goal[1]:
        return RIGHT if place[1] < goal[1] else LEFT
    return STAY


def test_meeting_on_the_goal_pays_and_ends_the_episode():
    env, step = start()
    *agents, goal = cells(step)
    distances = [int(np.abs(place - goal).sum()) for place in agents]
    rewards = []
    while not step.terminated[0]:
        *agents, goal = cells(step)
        step = env.step(np.array([[towards(place, goal) for place in agents]]), np.ones(1, np.bool_))
        rewards.append(float(step.reward[0]))
    assert len(rewards) == max(distances)
    assert rewards == pytest.approx([-0.01] * (len(rewards) - 1) + [10])
    assert step.metrics[0, 0] == 1
    assert not step.truncated[0]


def test_one_agent_on_the_goal_is_not_enough():
    env, step = start(limit=20)
    while not step.truncated[0]:
        first, _, goal = cells(step)
        step = env.step(np.array([[towards(first, goal), UP]]), np.ones(1, np.bool_))
        assert step.reward[0] == pytest.approx(-0.01) or (cells(step)[1] == goal).all()
    assert not step.terminated[0]
    assert step.metrics[0, 0] == 0


def test_observations_are_own_others_goal():
    _, step = start(agents=3)
    a, b, c, goal = step.state[0].reshape(4, 2)
    np.testing.assert_array_equal(step.obs[0], [[*a, *b, *c, *goal], [*b, *a, *c, *goal], [*c, *a, *b, *goal]])
    env, step = start(agents=3, observe_others=False)
    np.testing.assert_array_equal(step.obs[0], [[*a, *goal], [*b, *goal], [*c, *goal]])
    assert env.spec.obs_dim == 4


def test_starts_and_goals_differ_and_cover_the_grid():
    _, step = start(size=3, rows=2000)
    agents, goal = step.state.reshape(2000, 3, 2)[:, :2], step.state.reshape(2000, 3, 2)[:, 2:]
    assert not (agents == goal).all(axis=-1).any()
    for places in (agents[:, 0], agents[:, 1], goal[:, 0]):
        _, counts = np.unique(places, axis=0, return_counts=True)
        assert len(counts) == 9
        expected = 2000 / 9  # within 5 standard deviations of a uniform choice
        assert np.abs(counts - expected).max() < 5 * np.sqrt(expected)
    assert not (agents[:, 0] == agents[:, 1]).all(axis=-1).any()


def test_walls_hold_and_all_actions_are_available():
    env, step = start()
    for _ in range(6):
        step = env.step(np.array([[UP, LEFT]]), np.ones(1, np.bool_))
    first, second, _ = cells(step)
    assert first[0] == 0
    assert second[1] == 0
    assert step.avail.all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"agents": 0}, "agents=0, but a grid of size 5 has room for 1 to 24 besides the goal"),
        ({"agents": 4, "size": 2}, "agents=4, but a grid of size 2 has room for 1 to 3"),
        ({"limit": 0}, "episode_limit must be a whole number from 1 on, got 0"),
    ],
)
def test_impossible_settings_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        start(**changes)

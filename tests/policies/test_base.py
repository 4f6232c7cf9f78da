"""The explicit state of a policy."""

import numpy as np

from hymarl.components.rng import Stream, derive
from hymarl.components.spec import EnvSpec
from hymarl.policies.base import PolicyState

SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6)


def test_an_episode_begins_without_a_past():
    keys = np.array([5, 6, 7], np.uint64)
    state = PolicyState.start(SPEC, keys, steps=100)
    assert (state.t, state.steps, state.hidden) == (0, 100, None)
    keys[:] = 0  # the caller may use its array again
    assert state.keys.tolist() == [5, 6, 7]
    assert state.exploration.tolist() == derive(state.keys, Stream.EXPLORATION).tolist()
    assert (state.last_actions.dtype, state.last_actions.tolist()) == (np.int64, [[-1, -1]] * 3)


def test_time_counts_joint_actions_and_steps_count_environments():
    start = PolicyState.start(SPEC, np.zeros(3, np.uint64), steps=100)
    actions = np.array([[0, 1], [2, 0], [1, 1]])
    after = start.after(actions, hidden="h").after(actions + 1)
    assert (after.t, after.steps, after.hidden) == (2, 106, None)
    assert (after.last_actions == actions + 1).all()
    assert (start.t, start.steps) == (0, 100)

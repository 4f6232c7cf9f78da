"""States that are made of observations."""

import numpy as np
import pytest

from hymarl.envs.contract.team_state import of_observations, state_dim

OBS = np.array([[[0, 1], [2, 5], [4, 0]], [[6, 7], [8, 9], [1, 2]]], np.float32)  # B A O


@pytest.mark.parametrize(
    ("state", "made"),
    [
        ("own", [[0, 1, 2, 5, 4, 0], [6, 7, 8, 9, 1, 2]]),
        ("concat", [[0, 1, 2, 5, 4, 0], [6, 7, 8, 9, 1, 2]]),
        ("mean", [[2, 2], [5, 6]]),
    ],
)
def test_observations_become_a_state(state, made):
    assert of_observations(OBS, state).tolist() == made
    assert of_observations(OBS[1], state).tolist() == made[1]
    assert of_observations(OBS, state).dtype == np.float32
    assert state_dim(state, 3, 2) == len(made[0])


def test_an_own_state_has_its_own_size_where_it_is_asked_for():
    assert [state_dim(state, 3, 2, own=7) for state in ("own", "concat", "mean")] == [7, 6, 2]

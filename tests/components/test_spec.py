"""Sizes and the arrays a step of an environment returns."""

import dataclasses

import numpy as np
import pytest

from hymarl.components.spec import Entities, EnvSpec, TimeStep


@pytest.mark.parametrize("individual", [False, True])
def test_zeros_have_the_documented_shapes_and_types(individual):
    spec = EnvSpec(
        n_agents=2,
        n_actions=3,
        obs_dim=4,
        state_dim=5,
        episode_limit=6,
        metric_names=("a", "b", "c", "d", "e", "f", "g"),
        individual_rewards=individual,
    )
    found = {name: (x.shape, x.dtype) for name, x in TimeStep.zeros(spec, 8)._asdict().items()}
    assert found == {
        "obs": ((8, 2, 4), np.float32),
        "state": ((8, 5), np.float32),
        "avail": ((8, 2, 3), np.bool_),
        "reward": ((8, 2) if individual else (8,), np.float32),
        "terminated": ((8,), np.bool_),
        "truncated": ((8,), np.bool_),
        "metrics": ((8, 7), np.float64),
    }
    assert not any(x.any() for x in TimeStep.zeros(spec, 8))


def test_a_specification_cannot_be_changed():
    spec = EnvSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=6)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.n_agents = 3


@pytest.mark.parametrize("name", ["n_agents", "n_actions", "obs_dim", "state_dim", "episode_limit"])
@pytest.mark.parametrize("size", [0, -3, 8.0, True, None])
def test_sizes_are_whole_numbers_from_1_on(name, size):
    sizes = {"n_agents": 2, "n_actions": 3, "obs_dim": 4, "state_dim": 5, "episode_limit": 6}
    with pytest.raises(ValueError, match=f"^{name} must be a whole number from 1 on, got {size}$"):
        EnvSpec(**sizes | {name: size})
    assert EnvSpec(**sizes | {name: np.int64(1)})


def test_number_of_kinds_of_action():
    assert Entities(2, 1, 0, action_entity=(0, 1, -1), action_kind=(0, 0, 2)).n_kinds == 3

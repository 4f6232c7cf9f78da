"""Native environments pass the tests of PettingZoo, whose players look at no masks."""

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test

from hymarl.envs.adapters.pettingzoo_export import to_pettingzoo
from hymarl.registry import build

NATIVE = ["climbing", "two_step", "goal_swap", "meeting", "foraging25", "predator_prey", "loadbalance"]


@pytest.fixture
def exported(option):
    def make(chosen):
        name, values = option("env", chosen)
        if "episode_limit" in values:
            values["episode_limit"] = 30
        return to_pettingzoo(build("env", name, values, None, 1))

    return make


@pytest.mark.parametrize("native", NATIVE)
def test_the_tests_of_pettingzoo_are_passed(exported, native):
    parallel_api_test(exported(native), num_cycles=60)
    parallel_seed_test(lambda: exported(native), num_cycles=20)


def test_an_action_that_is_not_available_counts_as_the_first_that_is(exported):
    envs = exported("foraging25"), exported("foraging25")
    masks = [np.array([o["action_mask"] for o in env.reset(seed=1)[0].values()]) for env in envs]
    assert not masks[0].all(axis=1).any()
    refused, first = masks[0].argmin(axis=1), masks[0].argmax(axis=1)
    given = [{name: int(a) for name, a in zip(envs[0].agents, actions, strict=True)} for actions in (refused, first)]
    results = [env.step(actions) for env, actions in zip(envs, given, strict=True)]
    for one, other in zip(results[0][0].values(), results[1][0].values(), strict=True):
        assert np.array_equal(one["observation"], other["observation"])

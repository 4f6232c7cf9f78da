"""What a network reads, number by number."""

import dataclasses

import pytest
import torch

from hymarl.components.spec import Entities, EnvSpec
from hymarl.controllers.inputs import EntityInputs, FlatInputs

FLAT = EnvSpec(n_agents=2, n_actions=3, obs_dim=2, state_dim=1, episode_limit=5)
OBS = torch.tensor([[[[0.1, 0.2], [0.3, 0.4]], [[0.5, 0.6], [0.7, 0.8]]]])  # B=1 T=2 A=2 O=2
LAST = torch.tensor([[[-1, -1], [2, 0]]])


@pytest.mark.parametrize(
    ("agent_id", "last_action", "second_agent_at_time_1"),
    [
        (False, False, [0.7, 0.8]),
        (True, False, [0.7, 0.8, 0, 1]),
        (False, True, [0.7, 0.8, 1, 0, 0]),
        (True, True, [0.7, 0.8, 1, 0, 0, 0, 1]),
    ],
)
def test_flat_inputs_are_observation_last_action_and_id(agent_id, last_action, second_agent_at_time_1):
    inputs = FlatInputs(FLAT, agent_id=agent_id, last_action=last_action, normalize_obs=False)
    made = inputs(OBS, LAST)
    assert made.shape == (1, 2, 2, inputs.input_dim)
    assert torch.equal(made[0, 1, 1], torch.tensor(second_agent_at_time_1, dtype=torch.float32))


def test_no_last_action_is_all_zeros():
    made = FlatInputs(FLAT, agent_id=False, last_action=True, normalize_obs=False)(OBS, LAST)
    assert made[0, :, 0, 2:].tolist() == [[0, 0, 0], [0, 0, 1]]


# An observation of 8: rest, then two numbers for each of three entities, rest. Actions: kind 0 on entities 0, 1 and 2,
# kind 1 on entity 1, kind 1 on none.
ENTITIES = Entities(3, 2, 1, action_entity=(0, 1, 2, 1, -1), action_kind=(0, 0, 0, 1, 1))
SPEC = EnvSpec(n_agents=1, n_actions=5, obs_dim=8, state_dim=1, episode_limit=5, entities=ENTITIES)


@pytest.mark.parametrize(
    ("last", "flags"),
    [
        (-1, [[0, 0], [0, 0], [0, 0]]),
        (0, [[1, 0], [0, 0], [0, 0]]),
        (2, [[0, 0], [0, 0], [1, 0]]),
        (3, [[0, 0], [0, 1], [0, 0]]),
        (4, [[0, 1], [0, 1], [0, 1]]),
    ],
)
def test_entity_inputs_are_own_features_flags_and_the_rest(last, flags):
    obs = torch.tensor([[[[9.0, 1, 2, 3, 4, 5, 6, 8]]]])
    inputs = EntityInputs(SPEC, last_action=True)
    made = inputs(obs, torch.tensor([[[last]]]))
    own = [[1, 2], [3, 4], [5, 6]]
    wanted = [[*o, *f, 9, 8] for o, f in zip(own, flags, strict=True)]
    assert made.tolist() == [[[wanted]]]
    assert inputs.input_dim == 6


def test_entity_inputs_without_last_action_and_rest():
    spec = dataclasses.replace(SPEC, obs_dim=6, entities=dataclasses.replace(ENTITIES, start=0))
    inputs = EntityInputs(spec, last_action=False)
    obs = torch.arange(1.0, 7.0).view(1, 1, 1, 6)
    assert inputs(obs, torch.tensor([[[3]]])).tolist() == [[[[[1, 2], [3, 4], [5, 6]]]]]
    assert inputs.input_dim == 2


def test_entity_inputs_need_entities():
    with pytest.raises(ValueError, match="lists no entities; choose network=rnn or network=mlp"):
        EntityInputs(FLAT, last_action=True)


@pytest.mark.parametrize(
    "inputs",
    [FlatInputs(FLAT, agent_id=True, last_action=True, normalize_obs=False), EntityInputs(SPEC, last_action=True)],
)
def test_inputs_have_no_weights(inputs):
    assert not inputs.state_dict()
    assert not list(inputs.parameters())

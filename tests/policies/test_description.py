"""A policy's networks as plain data, and back."""

import dataclasses
import io

import pytest
import torch

from hymarl import registry
from hymarl.components.spec import Entities
from hymarl.policies.description import PolicyDescription
from hymarl.registry import ConfigError


@pytest.fixture
def describe(option, spec):
    def make(network, sizes=spec, **changes):
        return PolicyDescription(
            sizes, *option("controller", "mac", agent_id=False, **changes), *option("network", network)
        )

    return make


def through_a_file(plain):
    stream = io.BytesIO()
    torch.save(plain, stream)
    stream.seek(0)
    return torch.load(stream, weights_only=True)  # only plain data passes


@pytest.mark.parametrize("network", registry.names("network"))
def test_plain_data_come_back_as_the_same_description_and_networks(describe, network, spec):
    sizes = dataclasses.replace(spec, metric_names=("a", "b"), references=("x",), headline_metrics=("b",))
    description = describe(network, sizes, sharing="grouped", groups=[0, 1])
    back = PolicyDescription.from_plain(through_a_file(description.to_plain()))
    assert back == description
    assert isinstance(back.spec.entities.action_entity, tuple)
    torch.manual_seed(0)
    controller = description.controller()
    back.controller().load_state_dict(controller.state_dict())
    assert len(controller.networks) == 2


def test_an_observation_without_entities_comes_back_too(describe, spec):
    description = describe("mlp", dataclasses.replace(spec, entities=None))
    assert PolicyDescription.from_plain(through_a_file(description.to_plain())) == description


def larger(spec):
    entities = Entities(4, 2, 1, action_entity=(0, 1, 2, 3, -1), action_kind=(0, 0, 0, 0, 1))
    return dataclasses.replace(spec, n_agents=5, obs_dim=11, entities=entities)


def test_an_entity_network_moves_between_sizes_and_others_do_not(describe, spec):
    for network in registry.names("network"):
        description = describe(network)
        weights, other = description.controller().state_dict(), description.controller(larger(spec))
        if registry.find("network", network).takes_entities:
            other.load_state_dict(weights)
        else:
            with pytest.raises(RuntimeError, match="size mismatch"):
                other.load_state_dict(weights)


def test_a_network_that_does_not_fit_is_a_configuration_error(describe, spec):
    with pytest.raises(ConfigError, match="lists no entities"):
        describe("entity").controller(dataclasses.replace(spec, entities=None))

"""Whatever number a setting is given: the component is made and works, or the answer is one sentence."""

import math
import random

import numpy as np
import pytest
import torch
from omegaconf import MISSING

from hymarl.components.rng import Stream, keys
from hymarl.components.selectors.base import Moment
from hymarl.components.spec import Entities, EnvSpec
from hymarl.policies.description import PolicyDescription
from hymarl.ranges import without_ranges
from hymarl.registry import PACKAGES, ConfigError, build, check_settings, find, names, objects, parameters

ODD = (math.inf, math.nan, -math.inf, -1, 0, 1e308, 2**63, 10**12, [[1]])
MORE_ODD = (1e-308, 1e-9, 1, 2, 1e3, 10**5, 10**9, 2**31, -(2**63), 10**30, True, "", [], [1], [1, 2], {"a": 1})

ENTITIES = Entities(n_entities=2, n_features=2, start=0, action_entity=(0, 1, -1), action_kind=(0, 0, 1))
SPEC = EnvSpec(n_agents=2, n_actions=3, obs_dim=4, state_dim=3, episode_limit=4, entities=ENTITIES)
SHORT = {"episode_limit": 3, "warmup": 0.5, "backlog": 4}


def settings(option, group, name):
    """As the option's file says, episodes short; text that the user must give leads nowhere."""
    _, values = option(group, name)
    missing = {key: "nowhere:nothing" for key, value in values.items() if value == MISSING}
    return values | missing | {key: value for key, value in SHORT.items() if values.get(key) is not None}


def numeric(kind):
    return any(word in str(without_ranges(kind)) for word in ("int", "float", "Any"))


SETTINGS = [
    (group, name, key)
    for group in PACKAGES
    for name in names(group)
    for key, kind in parameters(find(group, name)).items()
    if numeric(kind)
]


def make(option, group, name, values):
    """Build it and let it do a little of what it is for."""
    if group == "env":
        play(build(group, name, values, None, 2))
    elif group == "network":
        controller = {**settings(option, "controller", "mac"), "agent_id": False}
        PolicyDescription(SPEC, "mac", controller, name, values).controller()
    elif group == "controller":
        PolicyDescription(SPEC, name, values, "mlp", settings(option, "network", "mlp")).controller()
    elif group in ("mixer", "critic"):
        build(group, name, values, SPEC)
    elif group == "optimizer":
        network, factory = torch.nn.Linear(2, 1), build(group, name, values)
        try:
            optimizer = factory({"controller": network})
        except ValueError as error:  # as in the constructor of a learner, where it is a mistake in the configuration
            raise ConfigError(str(error)) from error
        network(torch.tensor([1.0, 0.0])).backward()
        for n_updates in (0, 1, 10**6):
            factory.schedule(optimizer, n_updates)
            optimizer.step()
        assert all(weight.isfinite().all() for weight in network.parameters())
    elif group == "selector":
        scores, avail = np.zeros((1, 2, 3), np.float32), np.ones((1, 2, 3), np.bool_)
        offered = {"spec": SPEC, "needs": ("log_prob",) if values.get("explore") == "agent" else ()}
        selector = build(group, name, values, *(offered[asked] for asked in objects(find(group, name))))
        for steps in (0, 1, 10**6):
            selector.select(scores, avail, Moment(np.zeros(1, np.uint64), 0, steps))
            assert all(0 <= x <= 1 for x in selector.metrics(steps).values())


def play(env):
    every = np.ones(env.n_envs, np.bool_)
    step = env.reset(keys(0, Stream.TEST, range(env.n_envs)), every)
    for _ in range(min(3, env.spec.episode_limit)):
        step = env.step(step.avail.argmax(axis=-1), every)
        for numbers in (step.obs, step.state, step.reward):
            assert np.isfinite(numbers).all()
        if (step.terminated | step.truncated).any():
            break
    env.close()


def answer(option, group, name, key, value):
    """None, or the sentence; any other exception is a fault."""
    try:
        values = check_settings(find(group, name), {**settings(option, group, name), key: value}, f"{group}={name}")
        make(option, group, name, values)
    except ConfigError as error:
        return str(error)
    return None


def odd_values(kind, values):
    """The values, each also as the entries of a list where one is asked for."""
    return [*values, *([v, v] for v in values if "list" in str(kind) and not isinstance(v, list | dict))]


@pytest.mark.parametrize(("group", "name"), sorted({case[:2] for case in SETTINGS}))
def test_an_odd_number_is_refused_or_works(option, group, name):
    kinds = parameters(find(group, name))
    cases = [(key, v) for g, n, key in SETTINGS if (g, n) == (group, name) for v in odd_values(kinds[key], ODD)]
    for key, value in random.Random(f"{group} {name}").sample(cases, min(len(cases), 40)):
        assert "\n" not in (answer(option, group, name, key, value) or "")


@pytest.mark.slow
@pytest.mark.parametrize(("group", "name", "key"), SETTINGS)
def test_every_odd_number_is_refused_or_works(option, group, name, key):
    for value in odd_values(parameters(find(group, name))[key], ODD + MORE_ODD):
        assert "\n" not in (answer(option, group, name, key, value) or "")

"""Optimizers: a first step by hand, and settings that arrive."""

import subprocess
import sys

import pytest
import torch

from hymarl import registry


def network_of(weight):
    """A network of one weight, and the weight."""
    network = torch.nn.Linear(1, 1, bias=False, dtype=torch.float64)
    torch.nn.init.constant_(network.weight, weight)
    return network, network.weight


def step(optimizer, weight=2.0, gradient=0.5):
    network, parameter = network_of(weight)
    made = optimizer({"controller": network})
    parameter.grad = torch.full_like(parameter, gradient)
    made.step()
    return made, parameter.item()


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_every_optimizer_moves_against_the_gradient(component, name):
    for gradient in (1.0, -1.0):
        _, moved = step(component("optimizer", name), gradient=gradient)
        assert (moved - 2.0) * gradient < 0


@pytest.mark.parametrize("name", registry.names("optimizer"))
def test_every_call_has_its_own_state(component, name):
    factory = component("optimizer", name)
    assert step(factory)[1] == step(factory)[1]


def test_first_step_of_rmsprop(component):
    # Mean square 0.1 * 0.5^2 = 0.025; step 0.01 * 0.5 / (sqrt(0.025) + 0.1), with eps outside of the root.
    _, moved = step(component("optimizer", "rmsprop", lr=0.01, alpha=0.9, eps=0.1, weight_decay=0.0))
    assert moved == pytest.approx(2.0 - 0.01 * 0.5 / (0.025**0.5 + 0.1), rel=1e-12)


def test_first_step_of_adam(component):
    # Bias correction makes both moments exact at the first step: step 0.01 * 0.5 / (0.5 + 0.1).
    made, moved = step(component("optimizer", "adam", lr=0.01, betas=[0.8, 0.95], eps=0.1, weight_decay=0.0))
    assert moved == pytest.approx(2.0 - 0.01 * 0.5 / 0.6, rel=1e-12)
    assert made.defaults["betas"] == (0.8, 0.95)


@pytest.mark.parametrize("name", ["adam", "rmsprop"])
def test_weight_decay_is_added_to_the_gradient(component, name):
    # A gradient of 0 and an L2 penalty of 0.25 on a weight of 2 is a gradient of 0.5.
    _, moved = step(component("optimizer", name, weight_decay=0.25), gradient=0.0)
    _, wanted = step(component("optimizer", name, weight_decay=0.0), gradient=0.5)
    assert moved == pytest.approx(wanted, rel=1e-12)


def test_adam_takes_two_betas(component):
    with pytest.raises(registry.ConfigError, match=r"betas must have 2 entries, got \[0\.9\]"):
        component("optimizer", "adam", betas=[0.9])


def test_a_network_may_have_a_learning_rate_of_its_own(component):
    networks = dict(zip(("controller", "mixer", "critic"), (network_of(1.0)[0] for _ in range(3)), strict=True))
    made = component("optimizer", "rmsprop", lr=0.01, lr_of={"mixer": 0.03}, alpha=0.0, eps=1e-30)(networks)
    for network in networks.values():
        network.weight.grad = torch.full_like(network.weight, 5.0)
    made.step()  # with alpha 0 a step is as large as the learning rate
    moved = {name: 1 - network.weight.item() for name, network in networks.items()}
    assert moved == pytest.approx({"controller": 0.01, "mixer": 0.03, "critic": 0.01})


def test_a_network_that_there_is_not_is_named(component):
    factory = component("optimizer", "adam", lr_of={"mixr": 0.1})
    with pytest.raises(ValueError, match=r"optimizer\.lr_of: no network 'mixr' is trained; did you mean 'mixer'"):
        factory({"controller": network_of(1.0)[0], "mixer": network_of(1.0)[0]})


@pytest.mark.parametrize(
    ("schedule", "warmup", "parts"),
    [
        ("constant", 0, {0: 1, 10**9: 1}),
        ("constant", 4, {0: 0.25, 1: 0.5, 3: 1, 4: 1, 99: 1}),
        ("linear", 0, {0: 1, 25: 0.75, 99: 0.01, 100: 0, 10**9: 0}),
        ("linear", 20, {0: 0.05, 19: 1, 20: 1, 60: 0.5, 100: 0}),
        ("cosine", 0, {0: 1, 25: (1 + 0.5**0.5) / 2, 50: 0.5, 100: 0}),
    ],
)
def test_learning_rates_over_time(component, schedule, warmup, parts):
    settings = {"lr": 0.2, "lr_schedule": schedule, "lr_warmup": warmup, "lr_updates": 100}
    factory = component("optimizer", "adam", lr_of={"mixer": 0.4}, **settings)
    made = factory({"controller": network_of(1.0)[0], "mixer": network_of(1.0)[0]})
    for n_updates, part in parts.items():
        factory.schedule(made, n_updates)
        assert [group["lr"] for group in made.param_groups] == pytest.approx([0.2 * part, 0.4 * part], abs=1e-12)


def test_a_schedule_that_ends_before_it_begins_is_refused(component):
    with pytest.raises(registry.ConfigError, match="lr_warmup=100 must be below lr_updates=100"):
        component("optimizer", "adam", lr_schedule="linear", lr_warmup=100, lr_updates=100)


USE = """
import sys, torch
from hymarl.registry import find
for name, settings in eval(sys.argv[1]).items():
    network = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(network.weight)
    weight = network.weight
    made = find("optimizer", name)(**settings)({"controller": network})
    made.zero_grad()
    weight.sum().backward()
    made.step()
    made.load_state_dict(made.state_dict())
    print(name, weight.requires_grad and weight.is_leaf and bool((weight < 1).all()), "torch._dynamo" in sys.modules)
"""


def test_no_optimizer_imports_the_compiler(option):
    settings = {name: option("optimizer", name)[1] for name in registry.names("optimizer")}
    command = [sys.executable, "-c", USE, repr(settings)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines() == [f"{name} True False" for name in settings]

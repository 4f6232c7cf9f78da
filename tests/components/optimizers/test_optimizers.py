"""Optimizers: a first step by hand, and settings that arrive."""

import subprocess
import sys

import pytest
import torch

from hymarl import registry


def step(optimizer, weight=2.0, gradient=0.5):
    parameter = torch.nn.Parameter(torch.tensor([weight], dtype=torch.float64))
    made = optimizer(iter([parameter]))
    parameter.grad = torch.tensor([gradient], dtype=torch.float64)
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


USE = """
import sys, torch
from hymarl.registry import find
for name, settings in eval(sys.argv[1]).items():
    weight = torch.nn.Parameter(torch.ones(2))
    made = find("optimizer", name)(**settings)([weight])
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

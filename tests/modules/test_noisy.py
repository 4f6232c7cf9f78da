"""Layers with noise in their weights."""

import copy
import math

import numpy as np
import pytest
import torch

from hymarl.components.rng import Stream, generator
from hymarl.modules.noisy import NoisyLinear, drawn

ACTING, LEARNING = Stream.PARAMETER_NOISE, Stream.UPDATE_NOISE


@pytest.fixture
def layer():
    torch.manual_seed(0)
    made = NoisyLinear(3, 2, 0.5)
    with torch.no_grad():
        made.weight_sigma.copy_(torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.5, 0.6]]))
        made.bias_sigma.copy_(torch.tensor([0.7, 0.8]))
    return made


def outputs(layer, inputs, stream, index):
    with drawn([(layer, stream)], index):
        return layer(inputs)


def test_it_starts_as_in_the_paper():
    torch.manual_seed(0)
    made = NoisyLinear(400, 50, 0.5).requires_grad_(False)
    assert (made.weight_sigma == 0.5 / 20).all()
    assert (made.bias_sigma == 0.5 / 20).all()
    for means in (made.weight, made.bias):
        assert 0.9 / 20 < means.abs().max() <= 1 / 20
    assert made.weight.std() == pytest.approx(1 / 20 / math.sqrt(3), rel=0.02)  # of a uniform distribution


def test_noise_is_factorised(layer):
    e = generator(layer._key, LEARNING, 7).standard_normal(5, np.float32)
    f = [math.copysign(math.sqrt(abs(x)), x) for x in e]
    x = [1.0, -2.0, 0.5]
    w, b, ws, bs = (p.tolist() for p in (layer.weight, layer.bias, layer.weight_sigma, layer.bias_sigma))
    wanted = [
        sum((w[j][i] + ws[j][i] * f[i] * f[3 + j]) * x[i] for i in range(3)) + b[j] + bs[j] * f[3 + j] for j in range(2)
    ]
    assert outputs(layer, torch.tensor(x), LEARNING, 7).tolist() == pytest.approx(wanted, rel=1e-5)


@torch.no_grad()
def test_outputs_have_the_mean_of_the_means_and_the_variance_of_the_noise(layer):
    x, n = torch.tensor([1.0, -2.0, 0.5]), 1000
    values = torch.stack([outputs(layer, x, LEARNING, index) for index in range(n)]).double()
    # f(e)^2 = |e|, whose mean is sqrt(2 / pi); products of different f have mean 0.
    mean = math.sqrt(2 / math.pi)
    wanted = (layer.weight_sigma**2 @ x**2) * mean**2 + layer.bias_sigma**2 * mean
    assert ((values.mean(dim=0) - layer(x)).abs() < 4 * (wanted / n).sqrt()).all()
    assert (values.var(dim=0) / wanted).tolist() == pytest.approx([1, 1], abs=0.2)


def test_noise_is_that_of_stream_and_index_and_leaves_no_trace(layer):
    x, twin, state = torch.ones(3), copy.deepcopy(layer), torch.get_rng_state()
    means = layer(x)
    seen = [outputs(made, x, *which) for made in (layer, twin) for which in ((LEARNING, 1), (LEARNING, 2), (ACTING, 1))]
    assert torch.equal(torch.stack(seen[:3]), torch.stack(seen[3:]))
    assert len({tuple(y.tolist()) for y in (*seen, means)}) == 4
    assert torch.equal(layer(x), means)
    with pytest.raises(ZeroDivisionError), drawn([(layer, LEARNING)], 1):
        1 / 0  # noqa: B018
    assert torch.equal(layer(x), means)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1)
    assert NoisyLinear(3, 2, 0.5)._key != layer._key


def test_perturbed_means_are_what_noise_makes_of_them(layer):
    x = torch.tensor([1.0, -2.0, 0.5])
    wanted = outputs(layer, x, ACTING, 3)
    layer.perturb(ACTING, 3)
    assert torch.allclose(layer(x), wanted, atol=1e-6)


def test_the_scale_of_the_noise_is_learned(layer):
    x = torch.tensor([1.0, -2.0, 0.5])
    outputs(layer, x, LEARNING, 1).sum().backward()
    e = torch.from_numpy(generator(layer._key, LEARNING, 1).standard_normal(5, np.float32))
    f = e.sign() * e.abs().sqrt()
    assert torch.allclose(layer.weight_sigma.grad, f[3:, None] * f[:3] * x, atol=1e-6)
    assert torch.allclose(layer.bias_sigma.grad, f[3:], atol=1e-6)

"""The compiled GRU against PyTorch's."""

import math

import numpy as np
import pytest
import torch
from numba import njit
from torch import nn

from hymarl.modules import gru as module
from hymarl.modules.gru import unroll

SIZES = [(1, 1, 1, 1), (1, 3, 5, 4), (7, 2, 3, 5), (30, 64, 7, 64), (5, 1500, 4, 3)]  # T N I H; rows beyond one product


def make(t: int, n: int, i: int, h: int) -> tuple[nn.GRU, torch.Tensor, torch.Tensor]:
    torch.manual_seed(t)
    return nn.GRU(i, h), torch.randn(t, n, i, requires_grad=True), torch.randn(n, h, requires_grad=True)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_states_equal_those_of_pytorch(sizes):
    gru, inputs, state = make(*sizes)
    states = unroll(gru, inputs, state)
    torch.testing.assert_close(states, gru(inputs, state.unsqueeze(0))[0], atol=2e-6, rtol=0)
    with torch.no_grad():
        assert torch.equal(unroll(gru, inputs, state), states)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
def test_gradients_equal_those_of_pytorch(sizes):
    gru, inputs, state = make(*sizes)
    learned = [inputs, state, *gru.parameters()]
    weight = torch.randn(sizes[0], sizes[1], sizes[3])
    ours = torch.autograd.grad((unroll(gru, inputs, state) * weight).sum(), learned)
    theirs = torch.autograd.grad((gru(inputs, state.unsqueeze(0))[0] * weight).sum(), learned)
    for mine, wanted in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, wanted, atol=5e-6 * max(1, wanted.abs().max().item()), rtol=0)


def test_a_gradient_that_is_not_contiguous():
    gru, inputs, state = make(4, 3, 2, 5)
    weight = torch.randn(3, 5, 4)
    ours = torch.autograd.grad((unroll(gru, inputs, state).permute(1, 2, 0) * weight).sum(), [inputs])[0]
    theirs = torch.autograd.grad((gru(inputs, state.unsqueeze(0))[0].permute(1, 2, 0) * weight).sum(), [inputs])[0]
    torch.testing.assert_close(ours, theirs)


def test_a_gradient_may_be_taken_again_but_not_of_a_gradient():
    gru, inputs, state = make(4, 3, 2, 5)
    states = unroll(gru, inputs, state)
    first = torch.autograd.grad(states.sum(), [inputs], retain_graph=True)[0]
    again = torch.autograd.grad(states.square().sum(), [inputs], create_graph=True)[0]
    assert not torch.equal(first, again)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        again.sum().backward()


def test_a_state_changed_in_place_is_noticed():
    gru, inputs, state = make(4, 3, 2, 5)
    states = unroll(gru, inputs, state)
    loss = states.square().sum()
    with torch.no_grad():
        states.zero_()
    with pytest.raises(RuntimeError, match=r"modified .*inplace"):
        loss.backward()


def test_what_is_not_a_number_stays_in_its_row():
    gru, inputs, state = make(3, 4, 2, 5)
    with torch.no_grad():
        inputs[1, 2, 0] = math.nan
        states = unroll(gru, inputs, state)
    assert states[0].isfinite().all()
    assert states[1:, 2].isnan().all()
    assert states[:, [0, 1, 3]].isfinite().all()


def test_large_inputs_saturate():
    gru, inputs, state = make(3, 4, 2, 5)
    with torch.no_grad():
        states, wanted = unroll(gru, 1e3 * inputs, state), gru(1e3 * inputs, state.unsqueeze(0))[0]
    torch.testing.assert_close(states, wanted, atol=2e-6, rtol=0)


@pytest.mark.parametrize("kind", [{"dtype": torch.float64}, {"device": "meta"}], ids=str)
def test_other_numbers_and_devices_go_to_pytorch(kind):
    gru, inputs, state = make(3, 4, 2, 5)
    gru, inputs, state = gru.to(**kind), inputs.to(**kind), state.to(**kind)
    states = unroll(gru, inputs, state)
    assert (states.dtype, states.device, states.shape) == (inputs.dtype, inputs.device, (3, 4, 5))


def test_the_quotient_is_the_hyperbolic_tangent():
    tanh = module._tanh

    @njit
    def apply(x, out):
        for n in range(len(x)):
            out[n] = tanh(x[n])

    x = np.linspace(-12, 12, 400_001, dtype=np.float32)
    y = np.empty_like(x)
    apply(x, y)
    wanted = np.tanh(x.astype(np.float64))
    assert np.abs(y - wanted).max() < 5e-7
    near = np.abs(x) > 0
    assert np.abs(y[near] / wanted[near] - 1).max() < 5e-7
    assert np.abs(y).max() <= 1
    assert np.array_equal(y, -y[::-1])


@pytest.mark.parametrize("other", [{"num_layers": 2}, {"bidirectional": True}, {"batch_first": True}, {"bias": False}])
def test_a_gru_of_another_kind_is_refused(other):
    with pytest.raises(
        ValueError, match="a GRU must have one layer, one direction, biases, and time as its first axis"
    ):
        unroll(nn.GRU(3, 4, **other), torch.zeros(5, 2, 3), torch.zeros(2, 4))

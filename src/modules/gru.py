"""A GRU over whole sequences whose pointwise part is compiled, forward and backward.

On a CPU, PyTorch spends as much time on gates, copies and gradients of single time steps as on a GRU's products. Here a
step is one product and one pass over rows that are in the cache, and the gradients of weights are products over many
steps at once (Appleyard, Kocisky and Blunsom, "Optimizing Performance of Recurrent Neural Networks on GPUs", 2016,
section 3). The matrix products are still PyTorch's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ..components.compiled import entry_point, part
from ..components.spec import FloatArray
from ..components.threads import in_background

_ROWS = 1024
"""Rows, of several time steps, in one product of the inputs or of gradients: as many as the cache holds."""

_fast: Mapping[str, Any] = {"fastmath": {"contract"}}  # a product and a sum may be one instruction


def unroll(gru: nn.GRU, inputs: Tensor, state: Tensor) -> Tensor:
    """The states after every step, as ``gru(inputs, state[None])[0]`` up to rounding (4e-7 in a gate).

    Args:
        gru: one layer, one direction, with biases, time first.
        inputs: ``[T, N, I]``.
        state: ``[N, H]`` before the first step.

    Returns:
        ``[T, N, H]``. First-order gradients only.

    Raises:
        ValueError: a GRU of another kind.
    """
    if gru.num_layers != 1 or gru.bidirectional or gru.batch_first or not gru.bias:
        raise ValueError(f"a GRU must have one layer, one direction, biases, and time as its first axis; got {gru}")
    if inputs.device.type != "cpu" or inputs.dtype != torch.float32:
        return gru(inputs, state.unsqueeze(0).contiguous())[0]  # cuDNN needs contiguous memory
    weights: Sequence[Tensor] = gru.all_weights[0]
    if torch.is_grad_enabled() and any(x.requires_grad for x in (inputs, state, *weights)):
        states: Tensor = _Unroll.apply(inputs, state, *weights)
        return states
    return _forward(inputs, state, *weights, keep=False)[0][1:]


def gru_step(
    x: FloatArray, state: FloatArray, w_ih: FloatArray, w_hh: FloatArray, b_ih: FloatArray, b_hh: FloatArray
) -> FloatArray:
    """`hymarl.portable.operations.gru`, compiled: one step without gradients, from ``[*, I]`` and ``[*, H]``."""
    inputs, before = x.reshape(-1, x.shape[-1]), state.reshape(-1, state.shape[-1])
    states, candidate = np.empty((2, *before.shape), np.float32), np.empty((1, *before.shape), np.float32)
    states[0] = before
    _step(states, (inputs @ w_ih.T)[None], candidate, before @ w_hh.T, b_ih, b_hh, 0, 0, 0)
    return states[1].reshape(state.shape)


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, inputs: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Tensor:
        states, gates, candidate = _forward(inputs, state, w_ih, w_hh, b_ih, b_hh, keep=True)
        ctx.save_for_backward(inputs, states, gates, candidate, w_ih, w_hh)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, ...]:
        return _backward(grad.contiguous(), *ctx.saved_tensors)


def _forward(
    inputs: Tensor, state: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, *, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """States ``[T+1, N, H]``; with ``keep``, for the gradient, also gates r, z, n ``[T, N, 3H]`` and the candidate's
    recurrent part ``[T, N, H]``, which r is multiplied with.
    """
    (t_end, n, _), h = inputs.shape, state.shape[1]
    at_once = min(max(1, _ROWS // max(1, n)), t_end)
    states = inputs.new_empty(t_end + 1, n, h)
    states[0] = state
    gates = inputs.new_empty(t_end if keep else at_once, n, 3 * h)
    candidate = inputs.new_empty(t_end if keep else 1, n, h)
    recurrent = inputs.new_empty(n, 3 * h)
    x, w_ih, w_hh = inputs.detach().reshape(-1, inputs.shape[2]), w_ih.detach().t(), w_hh.detach().t()
    before, flat = states.unbind(0), gates.view(-1, 3 * h)
    arrays = (
        states.numpy(),
        gates.numpy(),
        candidate.numpy(),
        recurrent.numpy(),
        b_ih.detach().numpy(),
        b_hh.detach().numpy(),
    )
    for start in range(0, t_end, at_once):
        end, offset = min(t_end, start + at_once), 0 if keep else start
        torch.mm(x[start * n : end * n], w_ih, out=flat[(start - offset) * n : (end - offset) * n])
        for t in range(start, end):
            torch.mm(before[t], w_hh, out=recurrent)
            _step(*arrays, t, t - offset, t if keep else 0)
    return states, gates, candidate


def _backward(
    grad: Tensor, inputs: Tensor, states: Tensor, gates: Tensor, candidate: Tensor, w_ih: Tensor, w_hh: Tensor
) -> tuple[Tensor, ...]:
    """Gradients of the arguments of `unroll`, from that of the states after every step ``[T, N, H]``.

    Those of the gates stand as (r n', r, z, n) in ``[N, 4H]``: what the state's product gets is contiguous, and so is
    what the inputs' gets.
    """
    (t_end, n, i), h = inputs.shape, states.shape[2]
    at_once = min(max(1, _ROWS // max(1, n)), t_end)
    of_gates, of_state = inputs.new_empty(2 * at_once, n, 4 * h), inputs.new_zeros(n, h)  # filled in turn
    of_inputs, of_w_ih, of_w_hh = inputs.new_empty(t_end * n, i), torch.zeros_like(w_ih), torch.zeros_like(w_hh)
    of_bias, sums = np.zeros(4 * h), np.empty(4 * h, np.float32)  # over all steps, and over one
    arrays = grad.numpy(), states.numpy(), gates.numpy(), candidate.numpy(), of_gates.numpy(), of_state.numpy()
    x, before = inputs.reshape(-1, i), states.view(-1, h)
    w_hh = w_hh.roll(h, 0)  # n, r, z
    of_recurrent = of_gates[..., : 3 * h].unbind(0)

    @torch.no_grad()
    def add_of_weights(flat: Tensor, rows: slice) -> None:
        of_w_ih.addmm_(flat[:, h:].t(), x[rows])
        of_w_hh.addmm_(flat[:, : 3 * h].t(), before[rows])

    def added() -> None:  # what is under way in the second thread, if there is one
        pass

    for number, end in enumerate(range(t_end, 0, -at_once)):
        start, first = max(0, end - at_once), number % 2 * at_once
        for t in reversed(range(start, end)):
            _step_back(*arrays, of_bias, sums, t, first + t - start)
            torch.addmm(of_state, of_recurrent[first + t - start], w_hh, out=of_state)
        rows, flat = slice(start * n, end * n), of_gates[first : first + end - start].view(-1, 4 * h)
        added()
        added = in_background(partial(add_of_weights, flat, rows))
        torch.mm(flat[:, h:], w_ih, out=of_inputs[rows])
    added()
    bias = torch.from_numpy(of_bias).to(inputs.dtype)
    of_b_hh = torch.cat([bias[h : 3 * h], bias[:h]])
    return of_inputs.view_as(inputs), of_state, of_w_ih, of_w_hh.roll(-h, 0), bias[h:], of_b_hh


_LIMIT, _HALF, _ONE = np.float32(7.9), np.float32(0.5), np.float32(1.0)
_P1, _P2, _P3, _P4 = (
    np.float32(0.13450643),
    np.float32(3.57901861e-3),
    np.float32(2.20236819e-5),
    np.float32(1.54285797e-8),
)
_Q1, _Q2, _Q3, _Q4 = (
    np.float32(0.46783971),
    np.float32(2.61923392e-2),
    np.float32(3.42369398e-4),
    np.float32(8.59902795e-7),
)


@part(**_fast)
def _tanh(x):  # type: ignore[no-untyped-def]  # numba infers the types
    """x P(x^2) / Q(x^2), fitted for the least largest relative error (6e-9, with rounding 4e-7) up to the limit, and
    within 4e-7 of 1 beyond it; unlike an exponential it becomes vector instructions. NaN stays NaN.
    """
    x = _LIMIT if x > _LIMIT else x
    x = -_LIMIT if x < -_LIMIT else x
    u = x * x
    return (
        x * (_ONE + u * (_P1 + u * (_P2 + u * (_P3 + u * _P4)))) / (_ONE + u * (_Q1 + u * (_Q2 + u * (_Q3 + u * _Q4))))
    )


@part(**_fast)
def _sigmoid(x):  # type: ignore[no-untyped-def]  # numba infers the types
    return _HALF + _HALF * _tanh(_HALF * x)


@entry_point(**_fast)
def _step(  # every loop has its own few slices: with more, the compiler would not prove that they do not overlap
    states: FloatArray,
    gates: FloatArray,
    candidates: FloatArray,
    recurrent: FloatArray,
    b_ih: FloatArray,
    b_hh: FloatArray,
    t: int,
    t_gates: int,
    t_candidate: int,
) -> None:
    """Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", 2014, as PyTorch has it (r after the
    product): gates hold the inputs' product before and r, z, n after.
    """
    h = states.shape[2]
    for row in range(states.shape[1]):
        both, other = gates[t_gates, row, : 2 * h], recurrent[row, : 2 * h]
        for j in range(2 * h):
            both[j] = _sigmoid(both[j] + b_ih[j] + other[j] + b_hh[j])
        candidate, other, b = candidates[t_candidate, row], recurrent[row, 2 * h :], b_hh[2 * h :]
        for j in range(h):
            candidate[j] = other[j] + b[j]
        r, new, b = gates[t_gates, row, :h], gates[t_gates, row, 2 * h :], b_ih[2 * h :]
        for j in range(h):
            new[j] = _tanh(new[j] + b[j] + r[j] * candidate[j])
        z, old, after = gates[t_gates, row, h : 2 * h], states[t, row], states[t + 1, row]
        for j in range(h):
            after[j] = new[j] + z[j] * (old[j] - new[j])


@entry_point(**_fast)
def _step_back(
    grad: FloatArray,
    states: FloatArray,
    gates: FloatArray,
    candidates: FloatArray,
    of_gates: FloatArray,
    of_state: FloatArray,
    of_bias: FloatArray,
    sums: FloatArray,
    t: int,
    t_gates: int,
) -> None:
    """From the gradient of the state after step t to those of its gates and, but for the product, of the state before;
    sums those of the biases.
    """
    h = states.shape[2]
    sums[:] = 0
    for row in range(states.shape[1]):
        later, now = of_state[row], grad[t, row]
        z, new, old = gates[t, row, h : 2 * h], gates[t, row, 2 * h :], states[t, row]
        of_z, of_new = of_gates[t_gates, row, 2 * h : 3 * h], of_gates[t_gates, row, 3 * h :]
        for j in range(h):
            g = now[j] + later[j]
            of_new[j] = g * (_ONE - z[j]) * (_ONE - new[j] * new[j])
            of_z[j] = g * (old[j] - new[j]) * z[j] * (_ONE - z[j])
            later[j] = g * z[j]
        r, candidate = gates[t, row, :h], candidates[t, row]
        of_candidate, of_r = of_gates[t_gates, row, :h], of_gates[t_gates, row, h : 2 * h]
        for j in range(h):
            of_r[j] = of_new[j] * candidate[j] * r[j] * (_ONE - r[j])
            of_candidate[j] = of_new[j] * r[j]
        all_four = of_gates[t_gates, row]
        for j in range(4 * h):
            sums[j] += all_four[j]
    for j in range(4 * h):
        of_bias[j] += sums[j]

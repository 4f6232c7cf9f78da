"""Targets that values are regressed to: pure functions on ``[B, T, V]``, tested against brute force.

Time as in `hymarl.components.episode`: ``reward[t]`` belongs to action t, ``next_values[t]`` is the target network's
value of the stored observation t+1. Where an episode ends, the future value is left out by selection, not
multiplied by 0, so that NaN in masked cells has no effect.
"""

from __future__ import annotations

import torch
from torch import Tensor


def one_step(reward: Tensor, next_values: Tensor, ends: Tensor, gamma: float) -> Tensor:
    """r_t + gamma * V_{t+1}, without the second term where ``ends`` (Sutton and Barto, 2018, eq. 6.2).

    Args:
        reward: ``[B, T, V]``.
        next_values: ``[B, T, V]``.
        ends: ``[B, T]`` bool, no future value after this step.
        gamma: discount per step.
    """
    return torch.where(ends.unsqueeze(-1), reward, reward + gamma * next_values)


def lambda_returns(
    reward: Tensor, next_values: Tensor, ends: Tensor, filled: Tensor, gamma: float, td_lambda: float
) -> Tensor:
    """TD(lambda): G_t = r_t + gamma * [(1 - lambda) V_{t+1} + lambda G_{t+1}] (Sutton and Barto, 2018, eq. 12.2).

    The recursion starts at each row's own last filled step, where G_{t+1} is V_{t+1}; nothing beyond it is read.
    lambda = 0 is `one_step`; lambda = 1 is the Monte Carlo return, bootstrapped at the end of truncated episodes.

    Args:
        reward: ``[B, T, V]``.
        next_values: ``[B, T, V]``.
        ends: ``[B, T]`` bool, no future value after this step.
        filled: ``[B, T]`` bool.
        gamma: discount per step.
        td_lambda: lambda, 0 to 1.
    """
    if td_lambda == 0:
        return one_step(reward, next_values, ends, gamma)
    filled, ends, follows = _flags(ends, filled)
    future = torch.where(follows, (1 - td_lambda) * next_values, next_values)
    own = torch.where(filled, torch.where(ends, reward, reward + gamma * future), 0.0)
    weight = (gamma * td_lambda * (follows & ~ends).to(own.dtype)).expand_as(own)
    return _discounted_sums(own, weight)


def trace_returns(
    reward: Tensor,
    next_values: Tensor,
    q_taken: Tensor,
    traces: Tensor,
    ends: Tensor,
    filled: Tensor,
    gamma: float,
) -> Tensor:
    """Off-policy returns: G_t = r_t + gamma * [V_{t+1} + c_{t+1} (G_{t+1} - Q(s_{t+1}, u_{t+1}))].

    Munos et al., "Safe and Efficient Off-Policy Reinforcement Learning", 2016, eq. 3, written as a recursion. V is the
    expected value under the policy that is learned, and the trace c_t says how much of what came of the action u_t
    counts; with 0 everywhere it is `one_step`. Peng's Q(lambda), `lambda_returns`, has c_t = lambda and V_t in place of
    Q(s_t, u_t). The recursion starts at each row's own last filled step, where G_{t+1} is V_{t+1}; nothing beyond it is
    read, and of the first step neither c nor Q.

    Args:
        reward: ``[B, T, V]``.
        next_values: ``[B, T, V]``, V_{t+1}.
        q_taken: ``[B, T, V]``, Q(s_t, u_t).
        traces: ``[B, T, V]``, c_t, 0 to 1.
        ends: ``[B, T]`` bool, no future value after this step.
        filled: ``[B, T]`` bool.
        gamma: discount per step.
    """
    filled, ends, follows = _flags(ends, filled)
    trace, q_next = _shifted(traces), _shifted(q_taken)
    future = torch.where(follows, next_values - trace * q_next, next_values)
    own = torch.where(filled, torch.where(ends, reward, reward + gamma * future), 0.0)
    return _discounted_sums(own, torch.where(follows & ~ends, gamma * trace, 0.0))


def n_step_returns(
    reward: Tensor, next_values: Tensor, ends: Tensor, filled: Tensor, gamma: float, n_steps: int
) -> Tensor:
    """r_t + ... + gamma^(n-1) r_{t+n-1} + gamma^n V_{t+n} (Sutton and Barto, 2018, eq. 7.1).

    Where fewer than n steps are left, the sum ends with each row's own last filled step and the value of what follows
    it. n = 1 is `one_step`, n from T on is `lambda_returns` with lambda = 1.

    Args:
        reward: ``[B, T, V]``.
        next_values: ``[B, T, V]``.
        ends: ``[B, T]`` bool, no future value after this step.
        filled: ``[B, T]`` bool.
        gamma: discount per step.
        n_steps: n, at least 1; the work grows with the smaller one of n and T.
    """
    last = one_step(reward, next_values, ends, gamma)
    _, ends, follows = _flags(ends, filled)
    returns = last
    for _ in range(min(n_steps, reward.shape[1]) - 1):
        returns = torch.where(follows & ~ends, reward + gamma * _shifted(returns), last)
    return returns


def _flags(ends: Tensor, filled: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """``filled`` and ``ends`` as ``[B, T, 1]``, and whether a filled step follows."""
    filled = filled.unsqueeze(-1)
    return filled, ends.unsqueeze(-1), _shifted(filled)


def _shifted(x: Tensor) -> Tensor:
    """``x[t + 1]`` at t; the last is 0."""
    return torch.cat([x[:, 1:], torch.zeros_like(x[:, :1])], dim=1)


def _discounted_sums(own: Tensor, weight: Tensor) -> Tensor:
    """The solution of G_t = own_t + weight_t * G_{t+1} over ``[B, T, V]``, with G_T = 0.

    In each round the sum of every time step takes in that of the first step beyond it (Hillis and Steele, "Data
    parallel algorithms", 1986), so it takes log2 T rounds on whole tensors instead of T steps on rows.
    """
    reach = 1
    while reach < own.shape[1]:
        head, tail = weight[:, :-reach], weight[:, -reach:]
        own = torch.cat([own[:, :-reach] + head * own[:, reach:], own[:, -reach:]], dim=1)
        weight = torch.cat([head * weight[:, reach:], torch.zeros_like(tail)], dim=1)
        reach *= 2
    return own

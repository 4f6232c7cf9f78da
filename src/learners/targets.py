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
    filled, ends = filled.unsqueeze(-1), ends.unsqueeze(-1)  # B T 1
    follows = torch.cat([filled[:, 1:], torch.zeros_like(filled[:, :1])], dim=1)
    future = torch.where(follows, (1 - td_lambda) * next_values, next_values)
    own = torch.where(filled, torch.where(ends, reward, reward + gamma * future), 0.0)
    weight = (gamma * td_lambda * (follows & ~ends).to(own.dtype)).expand_as(own)
    return _discounted_sums(own, weight)


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

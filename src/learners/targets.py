"""What value estimates are regressed to. Pure functions on ``[B, T, V]``, golden-tested and compared with brute force.

Time as in `hymarl.components.episode`: ``reward[t]`` belongs to action t, ``next_values[t]`` is the target network's
value of the stored observation t+1. Continuation is applied by selection, never by multiplication, so that values in
masked cells cannot leak as NaN.
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
    follows = torch.cat([filled[:, 1:], torch.zeros_like(filled[:, :1])], dim=1).unsqueeze(-1)  # B T 1
    returns = torch.empty_like(next_values)
    later = next_values[:, -1]
    for t in range(reward.shape[1] - 1, -1, -1):
        value = next_values[:, t]
        later = torch.where(follows[:, t], later, value)
        future = (1 - td_lambda) * value + td_lambda * later
        later = torch.where(ends[:, t].unsqueeze(-1), reward[:, t], reward[:, t] + gamma * future)
        returns[:, t] = later
    return returns

"""Values of actions from the scores of all actions: pure functions on tensors whose last axis is U."""

from __future__ import annotations

import torch
from torch import Tensor


def taken(scores: Tensor, actions: Tensor) -> Tensor:
    """The scores of the given actions: ``[*, U]`` and ``[*]`` to ``[*]``."""
    return scores.gather(-1, actions.long().unsqueeze(-1)).squeeze(-1)


def greedy(scores: Tensor, avail: Tensor) -> Tensor:
    """The available action with the largest score, detached: ``[*, U]`` to ``[*]``.

    Unavailable actions are masked on a detached copy, so the mask never reaches a gradient.
    """
    return scores.detach().masked_fill(~avail, -torch.inf).argmax(dim=-1)


def epsilon_greedy_probability(actions: Tensor, greedy_actions: Tensor, avail: Tensor, epsilon: float) -> Tensor:
    """Probability of ``actions [*]`` if the greedy ones ``[*]`` are taken, or with probability epsilon random ones."""
    greedy_part = torch.where(actions == greedy_actions, 1 - epsilon, 0.0)
    return greedy_part + epsilon / avail.sum(dim=-1)


def epsilon_greedy_mean(scores: Tensor, greedy_actions: Tensor, avail: Tensor, epsilon: float) -> Tensor:
    """Expected score ``[*]`` of that policy: ``scores [*, U]``, ``greedy_actions [*]``, ``avail [*, U]``."""
    mean = torch.where(avail, scores, 0.0).sum(dim=-1) / avail.sum(dim=-1).clamp(min=1)
    return (1 - epsilon) * taken(scores, greedy_actions) + epsilon * mean


def best(scores: Tensor, avail: Tensor) -> Tensor:
    """The largest score of an available action, detached, 0 where there is none: ``[*, U]`` to ``[*]``."""
    found = scores.detach().masked_fill(~avail, -torch.inf).amax(dim=-1)
    return torch.where(found.isneginf(), 0.0, found)

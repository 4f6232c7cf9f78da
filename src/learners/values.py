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


def best(scores: Tensor, avail: Tensor) -> Tensor:
    """The largest score of an available action, detached, 0 where there is none: ``[*, U]`` to ``[*]``."""
    found = scores.detach().masked_fill(~avail, -torch.inf).amax(dim=-1)
    return torch.where(found.isneginf(), 0.0, found)

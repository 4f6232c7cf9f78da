"""What a policy makes of the choices in a batch, for learners by policy gradients."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..components.episode import EpisodeBatch
from . import values


class Decisions(NamedTuple):
    """The policy's view of executed steps.

    Attributes:
        log_probs: ``[B, T, A, U]`` of all actions, minus infinity for those that were not available.
        log_prob: ``[B, T, A]`` of the actions taken.
        entropy: ``[B, T, A]``.
        chose: ``[B, T, A]`` bool, executed steps at which the agent had more than one available action.
    """

    log_probs: Tensor
    log_prob: Tensor
    entropy: Tensor
    chose: Tensor


def decisions(batch: EpisodeBatch, scores: Tensor) -> Decisions:
    """The decisions of a policy whose logits are the scores ``[B, T+1, A, U]``.

    In cells that do not count every action is available, so that nothing there becomes infinite, not even a gradient.
    """
    avail = batch.avail[:, :-1] | ~batch.filled[..., None, None]
    log_probs = scores[:, :-1].masked_fill(~avail, -torch.inf).log_softmax(dim=-1)
    entropy = -(log_probs.exp() * log_probs.masked_fill(~avail, 0.0)).sum(dim=-1)
    chose = batch.filled.unsqueeze(-1) & (avail.sum(dim=-1) > 1)
    return Decisions(log_probs, values.taken(log_probs, batch.actions), entropy, chose)

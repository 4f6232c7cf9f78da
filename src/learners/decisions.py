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


def log_policy(scores: Tensor, avail: Tensor) -> Tensor:
    """Log-probabilities of actions whose logits are the scores ``[*, U]``, minus infinity if not available."""
    return scores.masked_fill(~avail, -torch.inf).log_softmax(dim=-1)


def expectation(log_probs: Tensor, x: Tensor) -> Tensor:
    """Mean of ``x [*, U]`` under the policy ``[*]``; what belongs to actions of probability 0 does not count."""
    return (log_probs.exp() * x.masked_fill(log_probs.isneginf(), 0.0)).sum(dim=-1)


def decisions(batch: EpisodeBatch, scores: Tensor) -> Decisions:
    """The decisions of a policy whose logits are the scores ``[B, T+1, A, U]``.

    In cells that do not count every action is available, so that nothing there becomes infinite, not even a gradient.
    """
    avail = batch.avail[:, :-1] | ~batch.filled[..., None, None]
    log_probs = log_policy(scores[:, :-1], avail)
    chose = batch.filled.unsqueeze(-1) & (avail.sum(dim=-1) > 1)
    entropy = -expectation(log_probs, log_probs)
    return Decisions(log_probs, values.taken(log_probs, batch.actions), entropy, chose)

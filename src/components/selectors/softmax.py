"""A sample of the distribution that the scores make."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch

from ...ranges import Positive
from ...registry import register
from .. import rng
from ..episode import Column
from ..spec import BoolArray, EnvSpec, FloatArray, IntArray
from .base import Extras, Moment, Selector

_TINY = 2.0**-54
"""In place of a random number that is 0, whose logarithm is infinite; all others are at least twice that."""


@register("selector")
class Softmax(Selector):
    """Samples available actions in proportion to exp(score / temperature), for policies whose scores are logits.

    It adds the column ``log_prob``, ``[B, T, A]``: the logarithm of the probability of each action taken, which
    policy-gradient learners need. Evaluation takes the likeliest action.

    Args:
        spec: sizes of the environment.
        temperature: what scores are divided by; learners take the scores as they are, so only 1 is on-policy.
    """

    samples: ClassVar[bool] = True

    def __init__(self, spec: EnvSpec, *, temperature: Positive) -> None:
        self.extras = {"log_prob": Column((spec.n_agents,), torch.float32, "T")}
        self._temperature = temperature

    def select(self, scores: FloatArray, avail: BoolArray, moment: Moment) -> tuple[IntArray, Extras]:
        """See `Selector.select`; the largest of logits plus Gumbel noise is a sample (Gumbel, 1954)."""
        n_agents, n_actions = scores.shape[1:]
        counters = np.arange(n_agents * n_actions) + moment.t * n_agents * n_actions
        chance = rng.uniform(rng.draw(moment.keys[:, None], counters)).reshape(scores.shape)
        logits = np.where(avail, scores.astype(np.float64) / self._temperature, -np.inf)
        actions = (logits - np.log(-np.log(np.maximum(chance, _TINY)))).argmax(axis=-1)
        log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        return actions, {"log_prob": np.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]}

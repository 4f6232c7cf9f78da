"""A selector that samples in proportion to the exponentials of the scores and stores how likely its choices were."""

import numpy as np
import torch

from hymarl.components import rng
from hymarl.components.episode import Column
from hymarl.components.selectors.base import Selector
from hymarl.ranges import Positive
from hymarl.registry import register


@register("selector")
class Softmax(Selector):
    """Adds the column ``log_prob``, ``[B, T, A]``.

    Args:
        spec: sizes of the environment.
        temperature: what scores are divided by.
    """

    def __init__(self, spec, *, temperature: Positive):
        self.extras = {"log_prob": Column((spec.n_agents,), torch.float32, "T")}
        self._temperature = temperature

    def select(self, scores, avail, moment):
        n_agents, n_actions = scores.shape[1:]
        counters = np.arange(n_agents * n_actions) + moment.t * n_agents * n_actions
        chance = rng.uniform(rng.draw(moment.keys[:, None], counters)).reshape(scores.shape)
        gumbel = -np.log(-np.log(chance + 2.0**-54))  # the largest of scores + such noise is a sample
        logits = np.where(avail, scores / self._temperature, -np.inf)
        actions = (logits + gumbel).argmax(axis=-1)
        log_probs = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
        return actions, {"log_prob": np.take_along_axis(log_probs, actions[..., None], axis=-1)[..., 0]}

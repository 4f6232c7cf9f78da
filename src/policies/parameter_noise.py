"""A learned policy that explores by noise in all of its weights."""

from __future__ import annotations

import copy
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.rng import Stream, generator
from ..components.selectors.base import Selector
from ..components.selectors.epsilon_greedy import EpsilonGreedy
from ..components.selectors.greedy import Greedy
from ..components.spec import EnvSpec
from ..controllers.base import Controller
from ..modules.noisy import noisy_layers
from ..ranges import Positive, Range
from ..registry import register
from .learned import Job, LearnedPolicy


@register("policy")
class ParameterNoise(LearnedPolicy):
    """Acts in training with weights plus N(0, sigma^2), drawn once for each collection; sigma is adapted.

    Plappert et al., "Parameter Space Noise for Exploration", 2018. All weights are perturbed but those of layer
    normalization; agents that share a network share its noise. After each collection sigma is multiplied by ``adapt``
    if the distance d between both policies was at most its target, else divided by it (section 3). As in the authors'
    DQN, d is the divergence KL(pi || pi~) of the softmax of the scores of available actions, pi without noise and pi~
    with it (appendix C); it is the mean over decisions of agents that had a choice, in the episodes just played.

    With ``distance`` null the noise takes the place of the random actions of ``selector=epsilon_greedy``: actions are
    greedy, and the target at each step is the divergence that its epsilon would cause, the mean of
    -log(1 - epsilon + epsilon / n) with n available actions (appendix C). With a number the selector acts as it is.

    With ``runner.lag`` sigma is that of the moment when a collection is planned. Evaluation has no noise.

    Args:
        spec: sizes of the environment.
        controller: the agents' networks.
        selector: from scores to actions.
        seed: of the run; the noise is a function of it and of the number of the collection's first episode.
        sigma: standard deviation of the noise at the start.
        adapt: factor by which it changes.
        distance: target of the distance; null: that of the selector's epsilon.

    Raises:
        ValueError: there is no epsilon, or the networks have noisy layers, too.
    """

    own_metric_names = ("sigma", "distance")

    def __init__(
        self,
        spec: EnvSpec,
        controller: Controller,
        selector: Selector,
        seed: int,
        *,
        sigma: Annotated[float, Range(above=0, at_most=1e6)],
        adapt: Annotated[float, Range(above=1, at_most=10)],
        distance: Positive | None,
    ) -> None:
        if distance is None and not isinstance(selector, EpsilonGreedy):
            raise ValueError(
                "without a distance its target is that of an epsilon, which this selector does not have; choose "
                "selector=epsilon_greedy, or give policy.distance"
            )
        if noisy_layers(controller):
            raise ValueError("noisy layers are another way to explore by noise in the weights; set network.noisy=false")
        super().__init__(
            spec, controller, Greedy() if isinstance(selector, EpsilonGreedy) and not distance else selector
        )
        self.noise, self._distance = sigma, float("nan")
        self._seed, self._adapt, self._target, self._schedule = seed, adapt, distance, selector
        self._measured = copy.deepcopy(controller)  # the other one may be acting

    def explore(self, job: Job) -> None:
        """See `LearnedPolicy.explore`."""
        super().explore(job)
        self._perturb(self.controller, job)

    @torch.no_grad()
    def adapt(self, job: Job, batch: EpisodeBatch) -> None:
        """See `LearnedPolicy.adapt`: measure the distance, and change sigma."""
        batch = batch.to(next(self._measured.parameters()).device)
        n_available = batch.avail[:, :-1].sum(dim=-1)  # B T A
        chose = batch.filled.unsqueeze(-1) & (n_available > 1)
        if not chose.any():
            return
        self._measured.load_state_dict(dict(job.weights))
        log_probs = self._log_probs(batch)
        self._perturb(self._measured, job)
        divergence = (
            (log_probs.exp() * (log_probs - self._log_probs(batch))).where(batch.avail[:, :-1], 0.0).sum(dim=-1)
        )
        self._distance = float(divergence[chose].mean())
        wanted = self._wanted(job.steps, n_available[chose])
        self.noise = self.noise * self._adapt if self._distance <= wanted else self.noise / self._adapt

    @property
    def metric_names(self) -> tuple[str, ...]:
        """See `LearnedPolicy.metric_names`."""
        return (*self._schedule.metric_names, *self.own_metric_names)

    def metrics(self, steps: int) -> dict[str, float]:
        """See `LearnedPolicy.metrics`; also sigma of collections to come, and the distance of the newest one."""
        return {**self._schedule.metrics(steps), "sigma": self.noise, "distance": self._distance}

    def _wanted(self, steps: int, n_available: Tensor) -> float:
        """The target of the distance, over decisions between so many actions."""
        if not isinstance(self._schedule, EpsilonGreedy) or self._target is not None:
            assert self._target is not None
            return self._target
        epsilon = self._schedule.epsilon(steps)
        return float(-torch.log(1 - epsilon + epsilon / n_available.double()).mean())

    def _log_probs(self, batch: EpisodeBatch) -> Tensor:
        """``[B, T, A, U]``, minus infinity or NaN for actions that were not available."""
        scores = self._measured.unroll(batch)[0][:, :-1]
        return scores.masked_fill(~batch.avail[:, :-1], -torch.inf).log_softmax(dim=-1)

    @torch.no_grad()
    def _perturb(self, controller: Controller, job: Job) -> None:
        """Add the noise of a job to weights."""
        layers = [layer for layer in controller.modules() if not isinstance(layer, nn.LayerNorm)]
        weights = [weight for layer in layers for weight in layer.parameters(recurse=False)]
        random = generator(self._seed, Stream.PARAMETER_NOISE, int(job.numbers[0]))
        for weight in weights:
            weight.add_(
                torch.from_numpy(random.standard_normal(weight.shape, np.float32)).to(weight.device), alpha=job.noise
            )

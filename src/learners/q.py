"""Deep Q-learning with mixed values: IQL, VDN, QMIX, Qatten and QPLEX are this learner with another mixer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, NamedTuple

from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.threads import in_background
from ..controllers.base import Controller
from ..modules.mixers.base import Mixer
from ..registry import register
from . import values
from .base import Loss
from .td import TDLearner, mixed


class Estimates(NamedTuple):
    """What Q-learning knows about the episodes of a batch.

    Attributes:
        q_values: ``[B, T+1, A, U]``, of the agents' networks.
        features: ``[B, T+1, A, H]``, from which these networks computed them.
        q_taken: ``[B, T, V]``, the mixed value of the actions taken.
        td_targets: ``[B, T, V]``, the targets of ``q_taken``; without gradient.
    """

    q_values: Tensor
    features: Tensor
    q_taken: Tensor
    td_targets: Tensor


@register("learner")
class QLearner(TDLearner):
    """Regresses the (mixed) value of the actions taken to a TD(lambda) target made by target networks.

    DQN (Mnih et al., 2015) on whole episodes, with the target's action chosen by the online network when ``double_q``
    (van Hasselt et al., 2016); the mixer decides which value is learned: each agent's own (IQL), the sum (VDN), a
    monotonic mix (QMIX, eq. 6).

    A variant inherits from this class and overrides `loss` (to add terms to `td_loss`), `estimates`, or both.

    Args:
        controller: the agents.
        mixer: from the agents' values to what is learned.
        optimizer: makes the optimizer.
        double_q: choose the target's actions with the online network.
        settings: those of `TDLearner`.
    """

    def __init__(
        self, controller: Controller, mixer: Mixer, optimizer: OptimizerFactory, *, double_q: bool, **settings: Any
    ) -> None:
        followed = {"controller": controller, "mixer": mixer}
        super().__init__({**followed, **self.further_networks()}, tuple(followed), optimizer, **settings)
        self.controller, self.mixer = controller, mixer
        self._double_q = double_q

    def further_networks(self) -> Mapping[str, nn.Module]:
        """Networks by name that a variant trains beside agents and mixer; asked once, by the constructor."""
        return {}

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        estimates = self.estimates(batch)
        return self.td_loss(batch, estimates.q_taken, estimates.td_targets, weights)

    def estimates(self, batch: EpisodeBatch) -> Estimates:
        """Values and targets of a batch; the target network works in the background where there is a second thread."""
        copies = self.targets.are_copies
        target_outputs = in_background(partial(self.target_outputs, "controller", batch)) if copies else None
        q_values, features = self.controller.unroll(batch)  # B T+1 A U
        q_taken = mixed(self.mixer, batch, q_values, batch.actions)  # B T V
        target_q_values = target_outputs()[0] if target_outputs else q_values.detach()
        actions = values.greedy(q_values if self._double_q else target_q_values, batch.avail)  # B T+1 A
        next_values = mixed(self.targets.networks["mixer"], batch, target_q_values, actions[:, 1:], first=1)
        return Estimates(q_values, features, q_taken, self.td_targets(batch, next_values))

"""Deep Q-learning with mixed values: IQL, VDN, QMIX, Qatten and QPLEX are this learner with another mixer."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.threads import in_background
from ..controllers.base import Controller
from ..modules.mixers.base import Mixer
from ..ranges import Fraction
from ..registry import register
from . import values
from .base import Loss
from .td import Correction, TDLearner, mixed


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

    With ``td_lambda`` > 0 the target holds rewards of actions that the learned policy would not take; ``trace`` says
    how much of them counts (`targets.trace_returns`). In that policy, pi, each agent takes the best action of the
    network that chooses the target's actions, or with probability ``trace_epsilon`` a random one; mu is the policy that
    acted. The coefficient c_t is

    - ``peng``: lambda, and nothing is corrected (Peng and Williams, 1994): values of a mixture of pi and mu;
    - ``watkins``: lambda until an action is not the best (Watkins, 1989);
    - ``retrace``: lambda * min(1, pi(u_t) / mu(u_t)) (Munos et al., 2016);
    - ``tree_backup``: lambda * pi(u_t) (Precup et al., 2000).

    For one value of the team pi and mu are products over the agents, so the more agents there are, the shorter the
    traces; without a mixer each agent has its own. With ``trace_epsilon`` > 0 the value of what follows is what the
    mixer makes of the agents' expected values under pi: its expectation for sums and without a mixer, an approximation
    otherwise.

    A variant inherits from this class and overrides `loss` (to add terms to `td_loss`), `estimates`, or both.

    Args:
        controller: the agents.
        mixer: from the agents' values to what is learned.
        optimizer: makes the optimizer.
        double_q: choose the target's actions with the online network.
        trace: ``peng``, ``watkins``, ``retrace`` or ``tree_backup``.
        trace_epsilon: epsilon of the policy that is learned by ``retrace``, which then needs the probabilities of the
            actions taken, and by ``tree_backup``; with 0 both are ``watkins``.
        settings: those of `TDLearner`.

    Raises:
        ValueError: an epsilon for a trace that has none, or a trace together with n-step returns.
    """

    def __init__(
        self,
        controller: Controller,
        mixer: Mixer,
        optimizer: OptimizerFactory,
        *,
        double_q: bool,
        trace: Literal["peng", "watkins", "retrace", "tree_backup"],
        trace_epsilon: Fraction,
        **settings: Any,
    ) -> None:
        followed = {"controller": controller, "mixer": mixer}
        super().__init__({**followed, **self.further_networks()}, tuple(followed), optimizer, **settings)
        if trace != "peng" and self._n_steps > 1:
            raise ValueError(
                f"the return has either n_steps={self._n_steps} or trace={trace}; set n_steps=1 or trace=peng"
            )
        if trace in ("peng", "watkins") and trace_epsilon > 0:
            raise ValueError(
                f"trace={trace} has no trace_epsilon, got {trace_epsilon}; set it to 0 or choose trace=retrace or "
                f"tree_backup"
            )
        self.controller, self.mixer = controller, mixer
        self._double_q, self._trace, self._trace_epsilon = double_q, trace, trace_epsilon
        self._is_ratio = trace == "retrace" and trace_epsilon > 0
        if self._is_ratio:
            self.needs = ("log_prob",)

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
        best = values.greedy(q_values if self._double_q else target_q_values, batch.avail)  # B T+1 A
        value = partial(mixed, self.targets.networks["mixer"], batch, target_q_values)
        if self._trace == "peng":
            next_values, correction = value(best[:, 1:], first=1), None
        else:
            with torch.no_grad():
                expected = values.epsilon_greedy_mean(target_q_values, best, batch.avail, self._trace_epsilon)
                next_values = value(best[:, 1:], first=1, agent_values=expected[:, 1:])
                correction = Correction(value(batch.actions), self._traces(batch, best[:, :-1]))
        td_targets = self.td_targets(batch, next_values, correction, self.bonus(batch, q_values))
        return Estimates(q_values, features, q_taken, td_targets)

    def bonus(self, batch: EpisodeBatch, q_values: Tensor) -> Tensor | None:
        """What a variant adds to rewards, ``[B, T, V]``, without gradient; ``None`` for nothing.

        Args:
            batch: the episodes.
            q_values: ``[B, T+1, A, U]``, of the agents.
        """
        return None

    def _traces(self, batch: EpisodeBatch, best: Tensor) -> Tensor:
        """The coefficients c ``[B, T, V]`` of the actions taken, where ``best [B, T, A]`` are the best ones."""
        probability = values.epsilon_greedy_probability(batch.actions, best, batch.avail[:, :-1], self._trace_epsilon)
        log_ratio = probability.log()  # of 0: minus infinity
        if self._is_ratio:
            log_ratio = log_ratio - batch.extras["log_prob"]
        if self.mixer.joint:
            log_ratio = log_ratio.sum(dim=-1, keepdim=True)
        return self._td_lambda * log_ratio.clamp(max=0).exp()

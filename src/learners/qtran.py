"""QTRAN."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.episode import EpisodeBatch
from ..components.memory import linear_weights, require_memory_for_weights
from ..components.optimizers.base import OptimizerFactory
from ..components.spec import EnvSpec
from ..components.threads import in_background
from ..controllers.base import Controller
from ..modules.agents.base import mlp_to_output
from ..ranges import NonNegative, Width
from ..registry import register
from . import losses, values
from .base import Loss
from .td import TDLearner


class JointValue(nn.Module):
    """An unrestricted value of the joint action, made of the state and what the agents' networks know.

    Args:
        spec: sizes of the environment.
        features_dim: H, see `Controller.unroll`.
        embed_dim: width of the layers.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, features_dim: int, embed_dim: int) -> None:
        super().__init__()
        self._n_actions, encoded = spec.n_actions, features_dim + spec.n_actions
        n_weights = linear_weights([encoded] * 3) + linear_weights([spec.state_dim + encoded, embed_dim, embed_dim, 1])
        require_memory_for_weights(n_weights, "the joint value", "lower embed_dim or the network's width")
        self.encoding = mlp_to_output(encoded, encoded, encoded)
        self.value = mlp_to_output(spec.state_dim + encoded, embed_dim, embed_dim, 1)

    def forward(self, state: Tensor, features: Tensor, actions: Tensor) -> Tensor:
        """``[B, T, 1]`` from the state ``[B, T, S]``, features ``[B, T, A, H]`` and actions ``[B, T, A]``."""
        taken = F.one_hot(actions.long(), self._n_actions).to(features.dtype)
        encoded = self.encoding(torch.cat([features, taken], dim=-1)).sum(dim=-2)  # over agents
        value: Tensor = self.value(torch.cat([state, encoded], dim=-1))
        return value


@register("learner")
class QTRANLearner(TDLearner):
    """Learns an unrestricted joint value, and agents' values whose best actions are the best joint action of it.

    Son et al., "QTRAN: Learning to Factorize with Transformation for Cooperative Multi-Agent Reinforcement Learning",
    2019: QTRAN-base. The loss is (eq. 5 to 7) L_td + opt_weight * L_opt + nopt_weight * L_nopt: the joint value Q_jt
    is regressed to its TD target; where agents take their best actions, the sum of their values is to equal
    Q_jt - V(s), elsewhere it is not to be below that. In the last two Q_jt is fixed.

    It takes no mixer: the agents' values are added. Individual rewards cannot be learned as one joint value.

    Args:
        controller: the agents.
        spec: sizes of the environment.
        optimizer: makes the optimizer.
        embed_dim: width of the layers of Q_jt and V.
        opt_weight: of L_opt.
        nopt_weight: of L_nopt.
        settings: those of `TDLearner`.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*TDLearner.metric_names, "opt_loss", "nopt_loss")

    def __init__(
        self,
        controller: Controller,
        spec: EnvSpec,
        optimizer: OptimizerFactory,
        *,
        embed_dim: Width,
        opt_weight: NonNegative,
        nopt_weight: NonNegative,
        **settings: Any,
    ) -> None:
        if spec.individual_rewards:
            raise ValueError("it learns one joint value from a common reward; choose learner=q with mixer=none")
        with torch.no_grad():
            device = next(controller.parameters()).device
            _, features = controller.unroll(EpisodeBatch.empty(spec, 1, 1).to(device))
        self.controller, self.joint_value = controller, JointValue(spec, features.shape[-1], embed_dim)
        self.state_value = mlp_to_output(spec.state_dim, embed_dim, embed_dim, 1)
        followed = {"controller": controller, "joint_value": self.joint_value}
        super().__init__({**followed, "state_value": self.state_value}, tuple(followed), optimizer, **settings)
        self._opt_weight, self._nopt_weight = opt_weight, nopt_weight

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`."""
        target_outputs = in_background(partial(self.target_outputs, "controller", batch))
        q_values, features = self.controller.unroll(batch)  # B T+1 A U
        best, now, state = values.greedy(q_values, batch.avail), slice(0, -1), batch.state[:, :-1]
        joint_taken = self.joint_value(state, features[:, now], batch.actions)  # B T 1
        with torch.no_grad():
            _, target_features = target_outputs()
            target_joint_value = self.targets.networks["joint_value"]
            next_values = target_joint_value(batch.state[:, 1:], target_features[:, 1:], best[:, 1:])
            joint_best = self.joint_value(state, features[:, now], best[:, now])
        td = self.td_loss(batch, joint_taken, self.td_targets(batch, next_values), weights)

        def transformed(actions: Tensor) -> Tensor:  # the factored value, up to Q_jt
            return values.taken(q_values[:, now], actions).sum(dim=-1, keepdim=True) + self.state_value(state)

        opt_loss = losses.td_loss(transformed(best[:, now]) - joint_best, batch.filled, None, weights)
        below = (transformed(batch.actions) - joint_taken.detach()).clamp(max=0)
        nopt_loss = losses.td_loss(below, batch.filled, None, weights)
        loss = td.loss + self._opt_weight * opt_loss + self._nopt_weight * nopt_loss
        metrics = {**td.metrics, "opt_loss": opt_loss.detach(), "nopt_loss": nopt_loss.detach()}
        return Loss(loss, metrics, td.priorities)

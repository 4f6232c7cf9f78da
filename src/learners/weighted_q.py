"""Weighted QMIX."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from ..components.episode import EpisodeBatch
from ..components.memory import linear_weights, require_memory_for_weights
from ..components.optimizers.base import OptimizerFactory
from ..components.spec import EnvSpec
from ..components.threads import in_background
from ..controllers.base import Controller
from ..modules.agents.base import mlp_to_output
from ..modules.mixers.base import Mixer, MixerInputs
from ..ranges import Fraction, Widths
from ..registry import register
from . import losses, values
from .base import Loss
from .td import TDLearner, mixed


class CentralMixer(Mixer):
    """Layers with ReLU on the state and the agents' values, plus a value of the state: any joint value, not monotonic.

    Args:
        spec: sizes of the environment.
        hidden_dims: widths of the layers.

    Raises:
        ValueError: it does not fit into memory.
    """

    def __init__(self, spec: EnvSpec, hidden_dims: list[int]) -> None:
        super().__init__(spec)
        reads = spec.state_dim + spec.n_agents
        n_weights = linear_weights([reads, *hidden_dims, 1]) + linear_weights([spec.state_dim, *hidden_dims[:1], 1])
        require_memory_for_weights(n_weights, "the central mixer", "lower central_dims")
        self.joint_value = mlp_to_output(reads, *hidden_dims, 1)
        self.state_value = mlp_to_output(spec.state_dim, *hidden_dims[:1], 1)

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        mixed: Tensor = self.joint_value(torch.cat([inputs.state, inputs.values], dim=-1))
        return mixed + self.state_value(inputs.state)


@register("learner")
class WeightedQLearner(TDLearner):
    """Q-learning of a mixed value in which joint actions that seem to be good count more than others.

    Rashid et al., "Weighted QMIX: Expanding Monotonic Value Function Factorisation", 2020. A second, unrestricted
    value Q* with agents and a mixer of its own learns beside the mixed one, and both have the target
    y = r + gamma Q*(s', u') of Q*'s target networks, where u' are the agents' best actions. In the loss of the mixed
    value (eq. 6) a joint action counts 1 or alpha. Optimistically weighted (``ow``, eq. 9): 1 if its value is below
    y. Centrally weighted (``cw``, eq. 8): 1 if it is the agents' best one, or y is above Q* of that.

    Args:
        controller: the agents.
        mixer: from the agents' values to the value that acts.
        make_controller: makes the agents of Q*.
        spec: sizes of the environment.
        optimizer: makes the optimizer.
        weighting: ``ow`` or ``cw``.
        alpha: weight of the other joint actions, 0 to 1.
        central_dims: widths of the layers of Q*'s mixer.
        settings: those of `TDLearner`.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*TDLearner.metric_names, "central_loss", "weight_mean")

    def __init__(
        self,
        controller: Controller,
        mixer: Mixer,
        make_controller: Callable[[], Controller],
        spec: EnvSpec,
        optimizer: OptimizerFactory,
        *,
        weighting: Literal["ow", "cw"],
        alpha: Fraction,
        central_dims: Widths,
        **settings: Any,
    ) -> None:
        if not mixer.joint:
            raise ValueError("it weights a joint value, which mixer=none does not make; choose mixer=qmix")
        self.controller, self.mixer = controller, mixer
        self.central_controller, self.central_mixer = make_controller(), CentralMixer(spec, central_dims)
        central = {"central_controller": self.central_controller, "central_mixer": self.central_mixer}
        super().__init__({"controller": controller, "mixer": mixer, **central}, tuple(central), optimizer, **settings)
        self._weighting, self._alpha = weighting, alpha

    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """See `Learner.loss`: both losses, added."""
        target_outputs = in_background(partial(self.target_outputs, "central_controller", batch))
        q_values, _ = self.controller.unroll(batch)  # B T+1 A U
        q_taken = mixed(self.mixer, batch, q_values, batch.actions)  # B T 1
        central_q_taken = mixed(self.central_mixer, batch, self.central_controller.unroll(batch)[0], batch.actions)
        best = values.greedy(q_values, batch.avail)  # B T+1 A
        target_q_values, _ = target_outputs()
        central_value = partial(mixed, self.targets.networks["central_mixer"], batch, target_q_values)
        td_targets = self.td_targets(batch, central_value(best[:, 1:], first=1))
        if self._weighting == "ow":
            counts = q_taken.detach() < td_targets
        else:
            is_best = (batch.actions == best[:, :-1]).all(dim=-1, keepdim=True)
            counts = is_best | (self.restored(td_targets) > self.restored_targets(central_value(best[:, :-1])))
        cell_weights = torch.where(counts, 1.0, self._alpha)
        mixed_loss = self.td_loss(batch, q_taken, td_targets, weights, cell_weights)
        central_loss = self.td_loss(batch, central_q_taken, td_targets, weights).loss
        metrics = {
            **mixed_loss.metrics,
            "central_loss": central_loss.detach(),
            "weight_mean": losses.masked_mean(cell_weights, batch.filled),
        }
        return Loss(mixed_loss.loss + central_loss, metrics, mixed_loss.priorities)

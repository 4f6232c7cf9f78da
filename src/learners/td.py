"""What learners with TD(lambda) targets and target networks share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.replay.base import Sample
from ..controllers.base import Controller
from ..modules.mixers.base import MixerInputs
from ..ranges import Count, Fraction, HuberDelta
from . import losses, targets, values
from .base import Learner, Loss, Update
from .target_networks import TargetNetworks, Tau
from .value_scaler import DECAY, ValueScaler


class Correction(NamedTuple):
    """What off-policy returns need beside the values of what follows, see `targets.trace_returns`.

    Attributes:
        q_taken: ``[B, T, V]``, the target networks' values of the actions taken.
        traces: ``[B, T, V]``.
    """

    q_taken: Tensor
    traces: Tensor


class TDLearner(Learner):
    """A learner of action values by temporal differences; it makes the targets, subclasses say of what.

    With normalized values (as ``standardise_returns`` in EPyMARL; Papoudakis et al., 2021) every value that a network
    gives is relative to the running mean and standard deviation of all targets so far, those of `ValueScaler`, of which
    there is one pair for all values. Those of target networks are relative to the statistics from when they were
    copied, which follow as their weights do; otherwise larger targets would make larger targets at once. Targets are
    made in units of rewards; loss and Huber's delta are in units of standard deviations, metrics and priorities in
    units of rewards.

    Args:
        networks: see `Learner`.
        followed: names of the networks that have a target network.
        optimizer: makes the optimizer of all networks.
        gamma: discount per step.
        td_lambda: lambda of the return: 0 one-step, 1 Monte Carlo.
        n_steps: n of the n-step return, with ``td_lambda=0``; 1 one-step.
        bootstrap_on_timeout: whether a truncated episode has a future value; false only to reproduce papers that
            treated time limits as terminal.
        huber_delta: Huber's loss, linear beyond this TD error; null for the square.
        target_update: ``hard``, ``soft`` or ``none``, see `TargetNetworks`.
        target_interval_updates: hard: optimizer steps between copies.
        target_tau: soft: fraction moved per optimizer step.
        normalize_values: the networks learn values relative to the running mean and standard deviation of the targets.
        settings: those of `Learner`.

    Raises:
        ValueError: n-step returns together with lambda-returns.
    """

    metric_names: ClassVar[tuple[str, ...]] = (*Learner.metric_names, "td_error_abs", "q_taken_mean", "target_mean")

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        followed: Sequence[str],
        optimizer: OptimizerFactory,
        *,
        gamma: Fraction,
        td_lambda: Fraction,
        n_steps: Count,
        bootstrap_on_timeout: bool,
        huber_delta: HuberDelta | None,
        target_update: Literal["hard", "soft", "none"],
        target_interval_updates: Count,
        target_tau: Tau,
        normalize_values: bool,
        **settings: Any,
    ) -> None:
        if n_steps > 1 and td_lambda > 0:
            raise ValueError(
                f"the return has either n_steps={n_steps} or td_lambda={td_lambda}; set td_lambda=0 or n_steps=1"
            )
        self.value_scaler = ValueScaler(DECAY) if normalize_values else None
        if self.value_scaler is not None:
            networks = {**networks, "value_scaler": self.value_scaler}  # without it weights mean other values
            followed = (*followed, "value_scaler")
        super().__init__(networks, optimizer, **settings)
        self.targets = TargetNetworks(
            {name: networks[name] for name in followed},
            mode=target_update,
            interval_updates=target_interval_updates,
            tau=target_tau,
        )
        self.state["targets"] = self.targets
        self._gamma, self._td_lambda, self._n_steps = gamma, td_lambda, n_steps
        self._bootstrap_on_timeout, self._huber_delta = bootstrap_on_timeout, huber_delta

    def td_loss(
        self,
        batch: EpisodeBatch,
        q_taken: Tensor,
        td_targets: Tensor,
        weights: Tensor | None = None,
        cell_weights: Tensor | None = None,
    ) -> Loss:
        """Mean squared (or Huber's) TD error; for weighted samples also each episode's mean absolute one, its priority.

        Args:
            batch: the episodes.
            q_taken: ``[B, T, V]``, the networks' values of the actions taken.
            td_targets: ``[B, T, V]``, see `td_targets`.
            weights: ``[B]``, how much each episode counts; ``None``: all alike.
            cell_weights: how much each cell counts beside that, broadcasts to ``[B, T, V]``; ``None``: all alike.
        """
        td_error = q_taken - td_targets
        loss = losses.td_loss(td_error, batch.filled, self._huber_delta, _product(weights, cell_weights))
        with torch.no_grad():
            q_taken, td_targets = self.restored(q_taken), self.restored(td_targets)
            size = (q_taken - td_targets).abs()
            metrics = {
                "td_error_abs": losses.masked_mean(size, batch.filled),
                "q_taken_mean": losses.masked_mean(q_taken, batch.filled),
                "target_mean": losses.masked_mean(td_targets, batch.filled),
            }
            priorities = None if weights is None else losses.episode_means(size, batch.filled)
        return Loss(loss, metrics, priorities)

    @torch.no_grad()
    def td_targets(
        self,
        batch: EpisodeBatch,
        next_values: Tensor,
        correction: Correction | None = None,
        bonus: Tensor | None = None,
    ) -> Tensor:
        """The targets ``[B, T, V]`` of the values of the actions taken, in the networks' units.

        To be called once per update: with normalized values, it takes the targets into their mean and deviation.

        Args:
            batch: the episodes.
            next_values: ``[B, T, V]``, the target networks' values of what follows.
            correction: for off-policy returns; ``None`` for n-step or lambda-returns.
            bonus: ``[B, T, V]``, what is added to rewards; ``None`` for nothing.
        """
        reward = self.rewards(batch, next_values.shape[-1])
        if bonus is not None:
            reward = reward + bonus
        returns = self._returns(batch, reward, self.restored_targets(next_values), correction)
        if self.value_scaler is None:
            return returns
        self.value_scaler.observe(returns, batch.filled)
        return self.value_scaler.normalized(returns)

    def restored(self, outputs: Tensor) -> Tensor:
        """Values in units of rewards, from those that a network gives."""
        return outputs if self.value_scaler is None else self.value_scaler.restored(outputs)

    def restored_targets(self, outputs: Tensor) -> Tensor:
        """Values in units of rewards, from those that a target network gives."""
        if self.value_scaler is None:
            return outputs
        scaler = self.targets.networks["value_scaler"]
        assert isinstance(scaler, ValueScaler)
        return scaler.restored(outputs)

    def _returns(
        self, batch: EpisodeBatch, reward: Tensor, next_values: Tensor, correction: Correction | None
    ) -> Tensor:
        """The targets in units of rewards, see `td_targets`."""
        ends = batch.terminated if self._bootstrap_on_timeout else batch.terminated | batch.truncated
        if correction is not None:
            q_taken, traces = self.restored_targets(correction.q_taken), correction.traces
            return targets.trace_returns(reward, next_values, q_taken, traces, ends, batch.filled, self._gamma)
        if self._n_steps > 1:
            return targets.n_step_returns(reward, next_values, ends, batch.filled, self._gamma, self._n_steps)
        return targets.lambda_returns(reward, next_values, ends, batch.filled, self._gamma, self._td_lambda)

    def update(self, sample: Sample) -> Update:
        """See `Learner.update`; the target networks follow."""
        update = super().update(sample)
        self.targets.follow(self.updates)
        return update

    def describe(self) -> dict[str, str]:
        """See `Learner.describe`."""
        return {"targets": self.targets.describe()}

    def weights_replaced(self) -> list[str]:
        """See `Learner.weights_replaced`."""
        self.targets.copy()
        return ["targets start as copies"] if self.targets.are_copies else []

    @torch.no_grad()
    def target_outputs(self, name: str, batch: EpisodeBatch) -> tuple[Tensor, Tensor]:
        """Values and features of the controller that makes targets, which unrolls from t = 0."""
        controller = self.targets.networks[name]
        assert isinstance(controller, Controller)
        return controller.unroll(batch)


def _product(weights: Tensor | None, cell_weights: Tensor | None) -> Tensor | None:
    """Weights of episodes ``[B]`` times weights of cells."""
    if weights is None or cell_weights is None:
        return cell_weights if weights is None else weights
    return weights[:, None, None] * cell_weights


def mixed(
    mixer: nn.Module,
    batch: EpisodeBatch,
    q_values: Tensor,
    actions: Tensor,
    first: int = 0,
    agent_values: Tensor | None = None,
) -> Tensor:
    """The mixed values ``[B, T, V]`` of joint actions.

    Args:
        mixer: a `Mixer`.
        batch: the episodes.
        q_values: ``[B, T+1, A, U]``, of the agents.
        actions: ``[B, T, A]``.
        first: 0 for actions at the times 0 to T-1, 1 for actions at the times 1 to T.
        agent_values: ``[B, T, A]``, what is mixed instead of the agents' values of these actions; ``None``: those.
    """
    times = slice(first, first + actions.shape[1])
    at, actions = q_values[:, times], actions.long()
    taken = values.taken(at, actions) if agent_values is None else agent_values
    best = values.best(at, batch.avail[:, times])
    value: Tensor = mixer(MixerInputs(taken, best, actions, batch.obs[:, times], batch.state[:, times]))
    return value

"""What all learners share: optimizing, clipping, target networks, counting updates, saving."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from ..components.episode import EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.threads import working_beside
from ..controllers.base import Controller
from ..modules.mixers.base import Mixer


class TargetUpdate:
    """Slow copies of networks.

    Args:
        online: the networks to follow.
        mode: ``hard``, copy every ``interval_updates`` updates; ``soft``, move by ``tau`` at every update.
        interval_updates: unit: optimizer steps.
        tau: fraction of the way, in (0, 1].

    Raises:
        ValueError: an interval below 1 or a ``tau`` outside (0, 1].
    """

    def __init__(
        self, online: nn.ModuleDict, *, mode: Literal["hard", "soft"], interval_updates: int, tau: float
    ) -> None:
        if mode == "hard" and interval_updates < 1:
            raise ValueError(f"target_interval_updates must be at least 1, got {interval_updates}")
        if mode == "soft" and not 0 < tau <= 1:
            raise ValueError(f"target_tau must be in (0, 1], got {tau}")
        self._online = online
        self._mode, self._interval, self._tau = mode, interval_updates, tau
        self.networks: nn.ModuleDict = copy.deepcopy(online).requires_grad_(False).eval()

    def describe(self) -> str:
        """How and how often, for people."""
        if self._mode == "hard":
            return f"copied every {self._interval} updates"
        return f"moved by {self._tau} at every update"

    @torch.no_grad()
    def step(self, n_updates: int) -> None:
        """Follow, after update number ``n_updates`` (from 1). Buffers such as running statistics are copied."""
        if self._mode == "hard":
            if n_updates % self._interval == 0:
                self.networks.load_state_dict(self._online.state_dict())
            return
        for slow, fast in zip(self.networks.parameters(), self._online.parameters(), strict=True):
            slow.lerp_(fast, self._tau)
        for old, new in zip(self.networks.buffers(), self._online.buffers(), strict=True):
            old.copy_(new)


class RewardScaler:
    """Running mean and standard deviation of rewards, for learning on standardized ones.

    Fed by the environment's steps, once each, never by replay; a reward is shifted and divided, the returns of
    episodes of different length are then no longer comparable, which is why it is off by default (EPyMARL has it on).
    """

    def __init__(self) -> None:
        self.count, self.mean, self.square = 0, 0.0, 0.0

    def observe(self, reward: Tensor, filled: Tensor) -> None:
        """Add the rewards of executed steps (Chan et al.'s parallel variance)."""
        new = reward[filled].double()
        n = new.numel()
        if n == 0:
            return
        total, delta = self.count + n, float(new.mean()) - self.mean
        self.square += float((new - new.mean()).square().sum()) + delta * delta * self.count * n / total
        self.mean += delta * n / total
        self.count = total

    def __call__(self, reward: Tensor) -> Tensor:
        """Standardized rewards; unchanged until two have been seen or while all are equal."""
        if self.count < 2 or self.square == 0:
            return reward
        return (reward - self.mean) / (self.square / self.count) ** 0.5


class Learner(ABC):
    """Turns a batch of episodes into an update; counts its own updates; knows no logger, environment or step counter.

    A learner is a class in ``src/learners/`` decorated with ``@register("learner")`` whose constructor takes
    ``(controller, mixer, optimizer, *, settings...)``; it implements `loss`.

    Attributes:
        metric_names: keys of what `update` returns.
        updates: number of updates so far.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "grad_norm")

    def __init__(
        self,
        controller: Controller,
        mixer: Mixer,
        optimizer: OptimizerFactory,
        *,
        grad_clip: float | None,
        standardize_rewards: bool,
        target_update: Literal["hard", "soft"],
        target_interval_updates: int,
        target_tau: float,
    ) -> None:
        if grad_clip is not None and not grad_clip > 0:
            raise ValueError(f"grad_clip must be positive, or null for none; got {grad_clip}")
        self.updates = 0
        self.networks = nn.ModuleDict({"controller": controller, "mixer": mixer})
        self.controller, self.mixer = controller, mixer
        self.target = TargetUpdate(
            self.networks, mode=target_update, interval_updates=target_interval_updates, tau=target_tau
        )
        self.optimizer = optimizer(self.networks.parameters())
        self._second_thread: ThreadPoolExecutor | None = None
        self._grad_clip = grad_clip
        self._scaler = RewardScaler() if standardize_rewards else None

    def use_second_thread(self) -> None:
        """Let updates give work to a second thread, see `hymarl.components.threads.beside`; it changes no bit."""
        self._second_thread = ThreadPoolExecutor(1, "hymarl-learner")

    def close(self) -> None:
        """End the second thread."""
        if self._second_thread is not None:
            self._second_thread.shutdown()

    @abstractmethod
    def loss(self, batch: EpisodeBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """The scalar to minimize, and detached scalars worth logging."""

    def update(self, batch: EpisodeBatch) -> dict[str, Tensor]:
        """One optimizer step; scalars as tensors, so that nothing waits for a device until they are logged."""
        self.networks.train()
        self.optimizer.zero_grad(set_to_none=True)
        with working_beside(self._second_thread):
            loss, metrics = self.loss(batch)
            loss.backward()
        norm = self._clip()
        self.optimizer.step()
        self.updates += 1
        self.target.step(self.updates)
        return {"loss": loss.detach(), "grad_norm": norm, **metrics}

    def _clip(self) -> Tensor:
        """Make the gradient no longer than allowed; returns its norm before."""
        if self._grad_clip is not None:
            return nn.utils.clip_grad_norm_(self.networks.parameters(), self._grad_clip)
        return nn.utils.get_total_norm([p.grad for p in self.networks.parameters() if p.grad is not None])

    def observe(self, batch: EpisodeBatch) -> None:
        """See newly collected episodes once, before they are replayed: running statistics."""
        if self._scaler is not None:
            self._scaler.observe(batch.reward, batch.filled)

    def rewards(self, batch: EpisodeBatch, n_values: int) -> Tensor:
        """Rewards to learn from as ``[B, T, V]``: a common reward is given to each of V values.

        Raises:
            ValueError: individual rewards for one joint value.
        """
        reward = batch.reward if self._scaler is None else self._scaler(batch.reward)
        if reward.dim() == 2:
            return reward.unsqueeze(-1).expand(-1, -1, n_values)
        if reward.shape[-1] != n_values:
            raise ValueError("individual rewards cannot be learned as one joint value; choose mixer=none")
        return reward

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs: networks, targets, optimizer, statistics, counter."""
        scaler = self._scaler and [self._scaler.count, self._scaler.mean, self._scaler.square]
        return {
            "networks": self.networks.state_dict(),
            "target": self.target.networks.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "reward_scaler": scaler,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.networks.load_state_dict(state["networks"])
        self.target.networks.load_state_dict(state["target"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self._scaler is not None:
            self._scaler.count, self._scaler.mean, self._scaler.square = state["reward_scaler"]
        self.updates = state["updates"]

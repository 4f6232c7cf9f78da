"""What all learners share: optimizing, clipping, counting updates, scaling rewards, saving."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor, nn

from ..components.episode import NO_EXTRAS, Columns, EpisodeBatch
from ..components.optimizers.base import OptimizerFactory
from ..components.replay.base import Sample
from ..components.rng import Stream
from ..components.threads import second_thread
from ..controllers.base import Controller
from ..modules.noisy import NoisyLinear, drawn, noisy_layers
from ..ranges import Positive
from .reward_scaler import RewardScaler


class Loss(NamedTuple):
    """What an optimizer step minimizes.

    Attributes:
        loss: a scalar.
        metrics: detached scalars worth logging, those of `Learner.metric_names` that the subclass adds.
        priorities: ``[B]``, how much is left to be learned from each episode, for prioritized replay, whose samples
            have weights; ``None`` otherwise.
    """

    loss: Tensor
    metrics: Mapping[str, Tensor]
    priorities: Tensor | None = None


class Update(NamedTuple):
    """The results of an optimizer step.

    Attributes:
        metrics: scalars by `Learner.metric_names`; tensors, so that nothing waits for a device until they are logged.
        priorities: see `Loss`.
    """

    metrics: dict[str, Tensor]
    priorities: Tensor | None = None


class Learner(ABC):
    """Turns samples of episodes into updates; counts its own updates; knows no logger, environment or step counter.

    A learner is a class in ``src/learners/`` decorated with ``@register("learner")``; it implements `loss`. Its
    constructor asks for what it needs by name, in any order: ``spec``, ``controller``, ``mixer``, ``critic``,
    ``optimizer``; ``make_controller``, ``make_mixer`` and ``make_critic`` are functions that make further ones, the
    latter two also for other sizes (an `EnvSpec`), to be called in the constructor, where random numbers are those of
    the run's seed. Only what is asked for is built. Its
    keyword-only parameters are its settings; with ``**settings`` it takes over those of the class it inherits from.

    Args:
        networks: what is trained, by the names under which weights are saved; ``controller`` is what acts.
        optimizer: makes the optimizer of all of them.
        grad_clip: largest norm of the gradient; null for none.
        standardize_rewards: learn on rewards with running mean 0 and standard deviation 1.

    Attributes:
        metric_names: names of what `update` measures.
        on_policy: whether it must learn from the newest episodes only (``replay=latest``).
        max_lag: how many collections old the weights may be with which its episodes are played; ``None``: any number.
        needs: extras of the acting policy without which it cannot learn, such as ``log_prob``; they may depend on its
            settings. A selector that can store them is told (`hymarl.components.selectors.base.Selector`).
        clips_apart: whether the gradient of each network is clipped by its own norm, instead of all by one.
        extras: columns that `prepare` adds to the episodes.
        networks: as given.
        state: what an exact continuation needs besides the optimizer: the networks, and what subclasses add.
        updates: number of updates so far.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("loss", "grad_norm")
    on_policy: ClassVar[bool] = False
    max_lag: ClassVar[int | None] = None
    clips_apart: ClassVar[bool] = False
    needs: tuple[str, ...] = ()
    extras: Columns = NO_EXTRAS

    def __init__(
        self,
        networks: Mapping[str, nn.Module],
        optimizer: OptimizerFactory,
        *,
        grad_clip: Positive | None,
        standardize_rewards: bool,
    ) -> None:
        if "controller" not in networks or {"policy", "step"} & set(networks):
            raise ValueError(
                "a learner's networks must include 'controller', which acts, and none may be called 'policy' or "
                f"'step', which weights files hold too; got {', '.join(networks)}"
            )
        self.updates = 0
        device = next(networks["controller"].parameters()).device  # where those are that the learner did not make
        self.networks = nn.ModuleDict(dict(networks)).train().to(device)
        self.state = nn.ModuleDict({"networks": self.networks})
        self.optimizer = optimizer(self.networks)
        self._schedule = optimizer.schedule
        self._second_thread: ThreadPoolExecutor | None = None
        self._grad_clip = grad_clip
        self._scaler = RewardScaler() if standardize_rewards else None
        if self._scaler is not None:
            self.state["reward_scaler"] = self._scaler

    @property
    def device(self) -> torch.device:
        """Where the networks are; samples are moved there, but not the episodes given to `prepare`."""
        return next(self.networks.parameters()).device

    def use_second_thread(self) -> None:
        """Let updates give work to a second thread, see `hymarl.components.threads.in_background`; changes no bit."""
        self._second_thread = ThreadPoolExecutor(1, "hymarl-learner")

    def close(self) -> None:
        """End the second thread."""
        if self._second_thread is not None:
            self._second_thread.shutdown()

    def prepare(self, batch: EpisodeBatch) -> EpisodeBatch:
        """Prepare newly collected episodes, once, before they are stored for replay.

        Running statistics are updated here, and a learner with `extras` adds them (`EpisodeBatch.extended`), e.g. the
        advantages of an on-policy learner.
        """
        if self._scaler is not None:
            self._scaler.observe(batch.reward, batch.filled)
        for controller in self._controllers():
            controller.observe(batch)
        return batch

    def finish_collection(self) -> None:
        """Called after the updates on a collection, before weights are taken to play the next."""
        for controller in self._controllers():
            controller.refresh()

    @abstractmethod
    def loss(self, batch: EpisodeBatch, weights: Tensor | None = None) -> Loss:
        """What to minimize.

        Args:
            batch: the episodes.
            weights: ``[B]``, how much each counts; ``None``: all alike.
        """

    def update(self, sample: Sample) -> Update:
        """One optimizer step; noisy layers have other noise at each, those of target networks noise of their own."""
        self.optimizer.zero_grad(set_to_none=True)
        with second_thread(self._second_thread), drawn(self._noisy_layers, self.updates):
            loss, metrics, priorities = self.loss(sample.episodes, sample.weights)
            loss.backward()
        norm = self._clip()
        self._schedule(self.optimizer, self.updates)
        self.optimizer.step()
        self.updates += 1
        return Update({"loss": loss.detach(), "grad_norm": norm, **metrics}, priorities)

    def policy_weights(self) -> dict[str, Any]:
        """Weights for the acting policy: those of the network ``controller``, in the learner's own memory."""
        return self.networks["controller"].state_dict()

    def describe(self) -> dict[str, str]:
        """Lines of a run's header, by what they are about."""
        return {}

    def weights_replaced(self) -> list[str]:
        """Called when the networks got other weights than by learning; a learner with target networks copies them.

        Returns:
            What that changed beside the networks, for people.
        """
        return []

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
        """Everything an exact continuation needs: networks and other state, optimizer, counter."""
        return {
            "state": self.state.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "updates": self.updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`."""
        self.state.load_state_dict(state["state"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.updates = state["updates"]

    def _controllers(self) -> list[Controller]:
        """Those that act, and those of critics."""
        return [module for module in self.networks.modules() if isinstance(module, Controller)]

    @cached_property
    def _noisy_layers(self) -> list[tuple[NoisyLinear, Stream]]:
        """Those of the networks, and of what subclasses keep beside them."""
        streams = {name: Stream.UPDATE_NOISE if name == "networks" else Stream.TARGET_NOISE for name in self.state}
        return [(layer, streams[name]) for name, part in self.state.items() for layer in noisy_layers(part)]

    def _clip(self) -> Tensor:
        """Clip the norm of the gradient, of each network's with `clips_apart`; returns the whole norm before."""
        parts = self.networks.values() if self.clips_apart else [self.networks]
        trained = [[p for p in part.parameters() if p.grad is not None] for part in parts]
        norms = [self._clip_part(part) for part in trained if part]
        return norms[0] if len(norms) == 1 else torch.stack(norms).norm()

    def _clip_part(self, parameters: list[nn.Parameter]) -> Tensor:
        if self._grad_clip is not None:
            return nn.utils.clip_grad_norm_(parameters, self._grad_clip)
        return nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])

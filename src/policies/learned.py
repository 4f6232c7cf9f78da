"""The learned policy: a controller and a selector; loading it from a run."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor

from ..components.episode import EpisodeBatch
from ..components.rng import Stream
from ..components.selectors.base import Moment, Selector
from ..components.selectors.greedy import Greedy
from ..components.spec import EnvSpec, IntArray
from ..controllers.base import Controller
from ..modules.noisy import noisy_layers
from ..registry import register
from .base import Policy, PolicyState, complete


class Job(NamedTuple):
    """Training episodes to be played, with everything that they depend on; none of it changes later.

    Attributes:
        numbers: ``[N]`` the episodes' numbers in their stream.
        steps: training steps so far, for schedules of exploration.
        n_updates: updates that the weights have seen.
        weights: of the acting policy, as `LearnedPolicy.load_state_dict` takes them.
        noise: scale of the noise that is added to them, `LearnedPolicy.noise` when the job was planned.
    """

    numbers: IntArray
    steps: int
    n_updates: int
    weights: Mapping[str, Tensor]
    noise: float


@register("policy")
class LearnedPolicy(Policy):
    """Scores by a controller, actions by a selector; one batched forward pass for all environments.

    The policy has a controller of its own, which gets the learner's weights by `load_state_dict` only. So it can act
    while the learner updates, in another thread or process, or on another machine.

    Args:
        spec: sizes of the environment.
        controller: the agents' networks.
        selector: from scores to actions; greedy unless told otherwise.

    Attributes:
        spec: as given.
        controller: as given; its weights are those that act.
        extras: see `Policy`.
        noise: scale of the noise in the weights of collections that are planned from now on; 0 in this class.
        own_metric_names: those of its `metrics` that are not the selector's.
    """

    own_metric_names: ClassVar[tuple[str, ...]] = ()
    noise: float = 0.0

    def __init__(self, spec: EnvSpec, controller: Controller, selector: Selector | None = None) -> None:
        self.spec, self.controller, self._selector = spec, controller.eval(), selector or Greedy()
        self.extras = self._selector.extras
        self._step = controller.stepper()
        self._weights = controller.state_dict(keep_vars=True)

    def __repr__(self) -> str:
        spec, weights = self.spec, sum(weight.numel() for weight in self.controller.parameters())
        sizes = f"{spec.n_agents} agents, {spec.obs_dim} observations, {spec.n_actions} actions"
        return f"{type(self).__name__}({sizes}; {weights:,} weights, {type(self._selector).__name__})"

    def load_state_dict(self, weights: Mapping[str, Tensor]) -> None:
        """Act with other weights from now on: those of a controller's ``state_dict``, which are copied.

        Raises:
            KeyError: a weight is missing.
            ValueError: one has another shape.
        """
        with torch.no_grad():
            for name, weight in self._weights.items():
                given, needed = list(weights[name].shape), list(weight.shape)
                if given != needed:
                    raise ValueError(f"{name} has the shape {given}, needed is {needed}")
                weight.copy_(weights[name])

    def explore(self, job: Job) -> None:
        """Act with the weights of a job, and with the noise in them that belongs to it; once for each collection.

        The noise of noisy layers is a function of their key and the number of the job's first episode.
        """
        self.load_state_dict(job.weights)
        for layer in noisy_layers(self.controller):
            layer.perturb(Stream.PARAMETER_NOISE, int(job.numbers[0]))

    def adapt(self, job: Job, batch: EpisodeBatch) -> None:
        """Take note of what was played, in the order of collections; nothing unless a subclass does.

        It is called while later jobs may be played, so it uses nothing that `explore` and `act` do.

        Args:
            job: what was played.
            batch: the episodes.
        """

    @classmethod
    def load(
        cls, path: str | Path, checkpoint: str = "best", trust: Collection[str] = (), agents: int | None = None
    ) -> LearnedPolicy:
        """A greedy policy from a run directory or a weights file, without learner or configuration.

        Args:
            path: a run directory, or one ``.pt`` file of its ``checkpoints/``.
            checkpoint: in a run directory: ``best`` (by validation return) or ``last``.
            trust: packages beside HyMARL that the file may name, which are then imported.
            agents: number of agents to act for, such as 1 in a process of its own; ``None``: as many as were trained.

        Raises:
            CheckpointError: nothing to load there.
            ConfigError: the file names a module that is not trusted, or it cannot act for this number of agents.
        """
        from .saved import read_policy  # which imports this module

        saved = read_policy(Path(path), checkpoint)
        return saved.policy(saved.resized(agents), trust=trust)

    def act(
        self, obs: ArrayLike, avail: ArrayLike | None = None, state: PolicyState | None = None
    ) -> tuple[IntArray, PolicyState]:
        """Actions and the next state; every action is available and an episode begins unless said otherwise.

        Args:
            obs: ``[B, A, O]``, or ``[A, O]`` for one environment; lists are arrays.
            avail: ``[B, A, U]`` or ``[A, U]``: which actions there are.
            state: what the previous call returned.

        Raises:
            ValueError: observations of another shape.
        """
        if np.ndim(obs) == 2:
            actions, state = self.act(np.asarray(obs)[None], None if avail is None else np.asarray(avail)[None], state)
            return actions[0], state
        given, available, state = complete(self.spec, obs, avail, state)
        scores, hidden = self._step(given, state.last_actions, state.hidden, state.keys)
        moment = Moment(state.exploration, state.t, state.steps)
        actions, extras = self._selector.select(scores, available, moment)
        return actions, state.after(actions, hidden, extras)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Keys of `metrics`."""
        return self._selector.metric_names

    def metrics(self, steps: int) -> dict[str, float]:
        """What the selector reports after ``steps`` training steps, e.g. epsilon."""
        return self._selector.metrics(steps)

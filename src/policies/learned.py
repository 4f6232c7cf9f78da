"""A controller and an action selector as a policy, and its life outside of training."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any, Self

import numpy as np

from ..components.files import CheckpointError, find_weights, load
from ..components.rng import Stream, derive
from ..components.selectors.base import Selector
from ..components.selectors.greedy import Greedy
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray
from ..controllers.base import Controller
from ..registry import register
from .base import Policy, PolicyState


@register("policy")
class LearnedPolicy(Policy):
    """Scores by a controller, actions by a selector; one batched forward pass for all environments.

    Args:
        spec: sizes of the environment.
        controller: the agents' networks; shared with the learner while training.
        selector: from scores to actions; greedy unless told otherwise.
    """

    def __init__(self, spec: EnvSpec, controller: Controller, selector: Selector | None = None) -> None:
        self.spec, self.controller, self._selector = spec, controller, selector or Greedy()
        self._step = controller.stepper()
        self._episodes = self._keys = np.zeros(0, np.uint64)  # keys of the episodes in play, and for exploring in them

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:  # the copy steps with its own weights
        return type(self)(self.spec, copy.deepcopy(self.controller, memo), self._selector)

    @classmethod
    def load(cls, path: str | Path, checkpoint: str = "best") -> Self:
        """A greedy policy from a run directory or a weights file, without learner or configuration.

        Args:
            path: a run directory, or one ``.pt`` file of its ``checkpoints/``.
            checkpoint: in a run directory: ``best`` (by validation return) or ``last``.

        Raises:
            CheckpointError: nothing to load there.
        """
        from .description import PolicyDescription  # imports networks by name

        saved = load(find_weights(Path(path), checkpoint))
        if "policy" not in saved:
            raise CheckpointError(f"{path} holds no policy; give best.pt or a weights_*.pt")
        description = PolicyDescription.from_plain(saved["policy"])
        controller = description.controller()
        controller.load_state_dict(saved["controller"])
        return cls(description.spec, controller.eval())

    def act(
        self, obs: FloatArray, avail: BoolArray | None = None, state: PolicyState | None = None
    ) -> tuple[IntArray, PolicyState]:
        """See `Policy.act`; every action is available and an episode begins unless said otherwise.

        Args:
            obs: ``[B, A, O]``, or ``[A, O]`` for one environment.
            avail: ``[B, A, U]`` or ``[A, U]``.
            state: what the previous call returned.

        Raises:
            ValueError: observations of another shape.
        """
        if obs.ndim == 2:
            actions, state = self.act(obs[None], None if avail is None else avail[None], state)
            return actions[0], state
        if obs.shape[1:] != (self.spec.n_agents, self.spec.obs_dim):
            a, o = self.spec.n_agents, self.spec.obs_dim
            raise ValueError(f"observations must have the shape [B, {a}, {o}] or [{a}, {o}], got {list(obs.shape)}")
        if state is None:
            state = PolicyState.start(self.spec, np.zeros(len(obs), np.uint64))
        scores, hidden = self._step(obs, state.last_actions, state.hidden)
        if avail is None:
            avail = np.ones(scores.shape, np.bool_)
        if state.keys is not self._episodes:
            self._episodes, self._keys = state.keys, derive(state.keys, Stream.EXPLORATION)
        actions = self._selector.select(scores, avail, self._keys, state.t, state.steps)
        return actions, state.after(actions, hidden)

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Keys of `metrics`."""
        return self._selector.metric_names

    def metrics(self, steps: int) -> dict[str, float]:
        """What the selector reports after ``steps`` training steps, e.g. epsilon."""
        return self._selector.metrics(steps)

"""The available action with the largest score, or with probability epsilon a random available one."""

from __future__ import annotations

from collections.abc import Callable, Collection
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import numpy as np
import torch

from ...ranges import Fraction, Range
from ...registry import register
from .. import rng, schedules
from ..compiled import entry_point, part, sources
from ..episode import NO_EXTRAS, Column
from ..rng import GOLDEN, UInt64Array, mix64
from ..spec import BoolArray, EnvSpec, FloatArray, IntArray
from .base import Extras, Moment, Selector, greedy_actions

_LEAST = 1e-9
"""The smallest epsilon of an exponential schedule, which cannot reach 0."""


@register("selector")
class EpsilonGreedy(Selector):
    """With probability epsilon, which falls with the training step, an agent takes a random available action.

    Where the learner needs it, it adds the column ``log_prob``, ``[B, T, A]``: the logarithm of the probability of each
    action taken, (1 - epsilon) * [it is the best one] + epsilon / (number of available ones).

    Args:
        spec: sizes of the environment.
        needs: names of the extras that the learner needs.
        schedule: shape of the fall.
        start: epsilon at step 0.
        finish: epsilon from ``anneal_steps`` on.
        anneal_steps: environment steps of the fall.
        explore: ``agent``, each agent takes a random action or not on its own; ``team``, at each time all of them do,
            or none.

    Raises:
        ValueError: an exponential schedule that starts or ends at 0, or the learner needs the probability of each
            agent's action, and they are not independent.
    """

    metric_names: ClassVar[tuple[str, ...]] = ("epsilon",)

    def __init__(
        self,
        spec: EnvSpec,
        needs: Collection[str],
        *,
        schedule: Literal["linear", "exponential"],
        start: Fraction,
        finish: Fraction,
        anneal_steps: Annotated[int, Range(at_least=0, at_most=10**15)],
        explore: Literal["agent", "team"],
    ) -> None:
        if schedule == "exponential" and min(start, finish) < _LEAST:
            raise ValueError(
                f"with schedule=exponential start and finish must be at least {_LEAST}, got {start} and {finish}; "
                f"schedule=linear reaches 0"
            )
        if explore == "team" and "log_prob" in needs:
            raise ValueError(
                "with explore=team the agents' actions are not independent of each other, so none has the probability "
                "of its own that the learner needs; choose explore=agent"
            )
        self.extras = {"log_prob": Column((spec.n_agents,), torch.float32, "T")} if "log_prob" in needs else NO_EXTRAS
        self._schedule = schedules.linear if schedule == "linear" else schedules.exponential
        self._start, self._finish, self._anneal_steps = start, finish, anneal_steps
        self._by_team = explore == "team"

    def epsilon(self, steps: int) -> float:
        """Probability of a random action after ``steps`` training steps."""
        return self._schedule(steps, self._start, self._finish, self._anneal_steps)

    def metrics(self, steps: int) -> dict[str, float]:
        """See `Selector.metrics`."""
        return {"epsilon": self.epsilon(steps)}

    def select(self, scores: FloatArray, avail: BoolArray, moment: Moment) -> tuple[IntArray, Extras]:
        """See `Selector.select`."""
        keys, t, steps = moment
        if scores.shape != avail.shape or len(keys) != len(scores):  # the compiled loop would read beyond them
            raise ValueError(f"scores {scores.shape}, avail {avail.shape} and {len(keys)} keys do not fit together")
        actions, epsilon = np.empty(avail.shape[:2], np.int64), self.epsilon(steps)
        _choose(scores, avail, keys, t, epsilon, self._by_team, actions)
        if not self.extras:
            return actions, {}
        is_best, n_available = actions == greedy_actions(scores, avail), np.maximum(avail.sum(axis=-1), 1)
        return actions, {"log_prob": np.log((1 - epsilon) * is_best + epsilon / n_available)}


_mix = part(mix64)
_ONE, _SHIFT_11, _TO_UNIT = np.uint64(1), np.uint64(11), 1.0 / (1 << 53)


@part
def _uniform(key, counter):  # type: ignore[no-untyped-def]  # numba infers the types
    """``uniform(draw(key, counter))`` of `hymarl.components.rng`."""
    return (_mix(key + (np.uint64(counter) + _ONE) * GOLDEN) >> _SHIFT_11) * _TO_UNIT


@part
def _best(scores, avail):  # type: ignore[no-untyped-def]
    """The available action with the largest score, the first of equals."""
    best, found = 0, False
    for action in range(len(scores)):
        if avail[action] and (not found or scores[action] > scores[best]):
            best, found = action, True
    return best


@part
def _nth(avail, position):  # type: ignore[no-untyped-def]
    """`hymarl.components.selectors.base.nth_available` of one agent."""
    left = int(position * avail.sum())
    for action in range(len(avail)):
        left -= avail[action]
        if left < 0:
            return action
    return 0


def _compile(version: int) -> Callable[..., Any]:
    @entry_point
    def choose(
        scores: FloatArray,
        avail: BoolArray,
        keys: UInt64Array,
        t: int,
        epsilon: float,
        by_team: bool,
        actions: IntArray,
    ) -> int:
        n_envs, n_agents, _ = scores.shape
        for b in range(n_envs):
            for a in range(n_agents):
                counter = 2 * (t * n_agents + a)  # two draws per decision: whether, and which
                whether = 2 * t * n_agents if by_team else counter  # that of the first agent
                if _uniform(keys[b], whether) < epsilon:
                    actions[b, a] = _nth(avail[b, a], _uniform(keys[b], counter + 1))
                else:
                    actions[b, a] = _best(scores[b, a], avail[b, a])
        return version

    return choose


_choose = _compile(sources(Path(rng.__file__)))

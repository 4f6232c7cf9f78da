"""The contract of action selectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..episode import NO_EXTRAS, Columns
from ..rng import UInt64Array
from ..spec import BoolArray, FloatArray, IntArray

Extras = Mapping[str, NDArray[Any]]
"""Values of extra columns for the actions just chosen, by name: ``[B, *shape of a cell]``."""


class Moment(NamedTuple):
    """When a decision is made.

    Attributes:
        keys: ``[B]`` exploration keys of the episodes in play.
        t: time within the episodes, so that randomness is a function of (key, t, agent).
        steps: training steps so far, for schedules.
    """

    keys: UInt64Array
    t: int
    steps: int


def greedy_actions(scores: FloatArray, avail: BoolArray) -> IntArray:
    """The available action with the largest score, the first of equals: ``[B, A, U]`` to ``[B, A]``."""
    return np.where(avail, scores, -np.inf).argmax(axis=-1)


def nth_available(avail: BoolArray, position: np.ndarray) -> IntArray:
    """The available action at relative ``position`` in [0, 1) ``[B, A]``: uniform when the position is."""
    rank = np.floor(position * avail.sum(axis=-1)).astype(np.int64)  # B A
    return (np.cumsum(avail, axis=-1) > rank[..., None]).argmax(axis=-1)


class Selector(ABC):
    """Chooses among available actions by their scores.

    A selector is a class in ``src/components/selectors/`` decorated with ``@register("selector")`` whose constructor
    asks for what it needs by name: ``spec``, the sizes of the environment, and ``needs``, the names of the extras that
    the learner needs, for a selector that stores what costs memory only then. Its keyword-only parameters are settings.

    Attributes:
        metric_names: keys of what `metrics` returns.
        samples: whether actions are samples of the policy whose logits are the scores, from which learners that are on
            policy and need probabilities must learn.
        extras: columns that it adds to every episode, such as the log-probability of the actions; `select` returns
            their values.
    """

    metric_names: ClassVar[tuple[str, ...]] = ()
    samples: ClassVar[bool] = False
    extras: Columns = NO_EXTRAS

    def metrics(self, steps: int) -> dict[str, float]:
        """Numbers worth logging, such as the current rate of exploration."""
        return {}

    @abstractmethod
    def select(self, scores: FloatArray, avail: BoolArray, moment: Moment) -> tuple[IntArray, Extras]:
        """Actions ``[B, A]``, all available, and the values of `extras`.

        Args:
            scores: ``[B, A, U]``, finite.
            avail: ``[B, A, U]``.
            moment: episodes, time and training step.
        """

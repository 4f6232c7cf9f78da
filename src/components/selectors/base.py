"""The contract of action selectors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from ..rng import UInt64Array
from ..spec import BoolArray, FloatArray, IntArray


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
    takes ``(*, settings...)``.

    Attributes:
        metric_names: keys of what `metrics` returns.
    """

    metric_names: ClassVar[tuple[str, ...]] = ()

    def metrics(self, steps: int) -> dict[str, float]:
        """Numbers worth logging, such as the current rate of exploration."""
        return {}

    @abstractmethod
    def select(self, scores: FloatArray, avail: BoolArray, keys: UInt64Array, t: int, steps: int) -> IntArray:
        """Actions ``[B, A]``, all available.

        Args:
            scores: ``[B, A, U]``, finite.
            avail: ``[B, A, U]``.
            keys: ``[B]`` exploration keys of the episodes in play.
            t: time within the episodes, so that randomness is a function of (key, t, agent).
            steps: training steps so far, for schedules.
        """

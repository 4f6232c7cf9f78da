"""Always the best-looking available action."""

from __future__ import annotations

from ...registry import register
from ..rng import UInt64Array
from ..spec import BoolArray, FloatArray, IntArray
from .base import Selector, greedy_actions


@register("selector")
class Greedy(Selector):
    """No exploration."""

    def select(self, scores: FloatArray, avail: BoolArray, keys: UInt64Array, t: int, steps: int) -> IntArray:
        """See `Selector.select`."""
        return greedy_actions(scores, avail)

"""Always the best-looking available action."""

from __future__ import annotations

from ...registry import register
from ..spec import BoolArray, FloatArray, IntArray
from .base import Extras, Moment, Selector, greedy_actions


@register("selector")
class Greedy(Selector):
    """No exploration."""

    def select(self, scores: FloatArray, avail: BoolArray, moment: Moment) -> tuple[IntArray, Extras]:
        """See `Selector.select`."""
        return greedy_actions(scores, avail), {}

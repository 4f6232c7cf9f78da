"""SMAClite (Michalski, Christianos and Albrecht, 2023): the battles of SMAC in Python, without StarCraft II."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..registry import register
from .gymnasium import Gymnasium, TupleEnv


class SmacliteTupleEnv(TupleEnv):
    """The library's environment, with episodes that begin as they should."""

    def reset(self, seed: int) -> tuple[dict[int, Any], dict[int, Any]]:
        """Start a new episode, whose first state does not hold the last actions of the episode before it.

        The library leaves them there.
        """
        self.unwrapped.last_actions = np.zeros_like(self.unwrapped.last_actions)
        return super().reset(seed)


@register("env")
class Smaclite(Gymnasium):
    """A battle; its settings are those of `Gymnasium`."""

    _view = SmacliteTupleEnv

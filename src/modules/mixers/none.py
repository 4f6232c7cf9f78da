"""No mixing: every agent learns its own value (independent Q-learning)."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ...registry import register
from .base import Mixer, MixerInputs


@register("mixer")
class NoMixer(Mixer):
    """The agents' values as they are (IQL; Tan, 1993), also for individual rewards."""

    joint: ClassVar[bool] = False

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        return inputs.values

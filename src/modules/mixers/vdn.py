"""Value decomposition networks."""

from __future__ import annotations

from torch import Tensor

from ...registry import register
from .base import Mixer, MixerInputs


@register("mixer")
class VDNMixer(Mixer):
    """The sum of the agents' values (Sunehag et al., "Value-Decomposition Networks", 2018, eq. 1)."""

    def mix(self, inputs: MixerInputs) -> Tensor:
        """See `Mixer.mix`."""
        return inputs.values.sum(dim=-1, keepdim=True)

"""Linear layers with noise in their weights, for exploration."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..components.rng import Stream, generator


class NoisyLinear(nn.Linear):
    """A linear layer whose weights are normally distributed, with means and standard deviations that are learned.

    Factorised Gaussian noise (Fortunato et al., "Noisy Networks for Exploration", 2018, eq. 9 to 11): the weight from
    input i to output j is ``weight + weight_sigma * f(e_i) f(e_j)``, the bias of j ``bias + bias_sigma * f(e_j)``, with
    f(e) = sgn(e) sqrt|e| and standard normal e. Initialized as there (section 3.2): means uniform within 1/sqrt(p) of
    0, standard deviations sigma/sqrt(p), p being the number of inputs.

    The layer computes with the means, except inside of `drawn` and after `perturb`.

    Args:
        n_inputs: p.
        n_outputs: number of outputs.
        sigma: sigma_0 of the paper, where it is 0.5.
    """

    def __init__(self, n_inputs: int, n_outputs: int, sigma: float) -> None:
        super().__init__(n_inputs, n_outputs)
        self.weight_sigma = nn.Parameter(torch.full_like(self.weight, sigma / math.sqrt(n_inputs)))
        self.bias_sigma = nn.Parameter(torch.full_like(self.bias, sigma / math.sqrt(n_inputs)))
        self._key = int(torch.randint(2**63 - 1, (), device="cpu"))  # a function of the run's seed, as the weights are
        self._noise: tuple[Tensor, Tensor] | None = None

    def forward(self, inputs: Tensor) -> Tensor:
        """``[*, p]`` to ``[*, n_outputs]``."""
        if self._noise is None:
            return super().forward(inputs)
        of_weight, of_bias = self._noise
        weight = torch.addcmul(self.weight, self.weight_sigma, of_weight)
        return F.linear(inputs, weight, torch.addcmul(self.bias, self.bias_sigma, of_bias))

    def draw(self, stream: Stream, index: int) -> None:
        """Compute with the noise of this stream and index from now on; copies of a layer have the same."""
        self._noise = self._sample(stream, index)

    def clear(self) -> None:
        """Compute with the means again."""
        self._noise = None

    @torch.no_grad()
    def perturb(self, stream: Stream, index: int) -> None:
        """Add the noise of this stream and index to the means themselves, which acts at no cost per step."""
        of_weight, of_bias = self._sample(stream, index)
        self.weight.addcmul_(self.weight_sigma, of_weight)
        self.bias.addcmul_(self.bias_sigma, of_bias)

    def _sample(self, stream: Stream, index: int) -> tuple[Tensor, Tensor]:
        """The factors of both standard deviations."""
        numbers = generator(self._key, stream, index).standard_normal(self.in_features + self.out_features, np.float32)
        noise = torch.from_numpy(numbers).to(self.weight.device)
        of_inputs, of_outputs = (noise.sign() * noise.abs().sqrt()).split([self.in_features, self.out_features])
        return torch.outer(of_outputs, of_inputs), of_outputs


def noisy_layers(module: nn.Module) -> list[NoisyLinear]:
    """Those in a module."""
    return [layer for layer in module.modules() if isinstance(layer, NoisyLinear)]


@contextmanager
def drawn(layers: Iterable[tuple[NoisyLinear, Stream]], index: int) -> Iterator[None]:
    """Inside the ``with`` block, each layer computes with the noise of its stream and this index."""
    chosen = list(layers)
    for layer, stream in chosen:
        layer.draw(stream, index)
    try:
        yield
    finally:
        for layer, _ in chosen:
            layer.clear()

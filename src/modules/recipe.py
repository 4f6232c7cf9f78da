"""What a network computes, written down as operations that need no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from ..portable.operations import FUNCTIONS, Network, Operation, network
from .gru import gru_step
from .noisy import NoisyLinear

_COMPILED: Mapping[str, Callable[..., NDArray[Any]]] = {**FUNCTIONS, "gru": gru_step}


class NoRecipeError(Exception):
    """A module computes something that cannot be written down; the message says which and continues a sentence."""


class Recipe:
    """Operations of `hymarl.portable`, in order, and their arrays, which share memory with the modules' weights.

    Arrays have the names of a module's weights; what they are computed from are values, which every step returns the
    name of. So a module is written down in the way in which its ``forward`` is.

    Args:
        root: the module whose ``state_dict`` has the names.

    Attributes:
        operations: so far.
        arrays: by name.
        outputs: names of the scores, the features and the next recurrent state, once a network was written down.
    """

    outputs: tuple[str, str, str]

    def __init__(self, root: nn.Module) -> None:
        self._names = {id(module): f"{name}." for name, module in root.named_modules()}
        self.operations: list[Operation] = []
        self.arrays: dict[str, NDArray[Any]] = {}

    def step(self, kind: str, *inputs: str, **arrays: Tensor | NDArray[Any]) -> str:
        """Add an operation, and return the name of the value that it makes.

        Args:
            kind: its name.
            inputs: names of values.
            arrays: its arrays by their full names.
        """
        output = f"v{len(self.operations)}"
        self.operations.append(Operation(kind, inputs, tuple(arrays), output))
        self.arrays |= {n: x.detach().numpy() if isinstance(x, Tensor) else x for n, x in arrays.items()}
        return output

    def layers(self, x: str, *layers: nn.Module) -> str:
        """Linear layers, ReLU, layer normalization; returns the name of what comes out of the last.

        Raises:
            NoRecipeError: a layer of another kind.
        """
        for layer in layers:
            if type(layer) is nn.ReLU:
                x = self.step("relu", x)
            elif type(layer) in (nn.Linear, NoisyLinear):
                x = self.step("linear", x, **self._weights(layer, "weight", "bias"))
            elif isinstance(layer, nn.LayerNorm) and layer.bias is not None and len(layer.normalized_shape) == 1:
                epsilon = {f"{self._names[id(layer)]}epsilon": np.array(layer.eps, np.float32)}
                x = self.step("normalize", x, **self._weights(layer, "weight", "bias"), **epsilon)
            elif type(layer) is not nn.Identity:
                raise NoRecipeError(f"has a layer {type(layer).__name__}, which takes torch")
        return x

    def gru(self, x: str, hidden: str, layer: nn.GRU) -> str:
        """A gated recurrent unit of one layer; returns the name of its next state."""
        names = "weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"
        return self.step("gru", x, hidden, **self._weights(layer, *names))

    def constant(self, kind: str, x: str, owner: nn.Module, **tables: NDArray[Any]) -> str:
        """`step` with arrays that follow from sizes, whose names begin with that of the module that needs them."""
        return self.step(kind, x, **{f"{self._names[id(owner)]}{name}": table for name, table in tables.items()})

    def compiled(self, outputs: Sequence[str]) -> Network:
        """A function that carries it out; recurrent units are compiled.

        Args:
            outputs: names of the values that it returns.
        """
        return network(self.operations, self.arrays, outputs, _COMPILED)

    def _weights(self, layer: nn.Module, *names: str) -> dict[str, Tensor]:
        """Those of a layer's weights that it has, in this order, by their full names."""
        there = dict(layer.named_parameters(recurse=False))
        return {f"{self._names[id(layer)]}{name}": there[name] for name in names if name in there}

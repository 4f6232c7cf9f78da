"""The operations that exported policies consist of, and the functions that carry them out for a team."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]
Array = NDArray[Any]

VALUES = ("obs", "last_actions", "agents", "hidden")
"""What operations start from, for N agents: observations ``[N, O]``, last actions ``[N]`` (-1: none), the agents'
numbers ``[N]``, and what their networks remember ``[N, *]``."""


class Operation(NamedTuple):
    """One step of a network: a function of earlier values and of arrays.

    Attributes:
        kind: its name in `FUNCTIONS`.
        inputs: names of values, of `VALUES` or outputs of earlier operations.
        arrays: names of arrays, the further arguments.
        output: name of the value that it makes.
    """

    kind: str
    inputs: tuple[str, ...]
    arrays: tuple[str, ...]
    output: str


# What operations do. Values have N rows, one per agent; where a network looks at K entities, they are [N, K, F].


def scale(x: FloatArray, shift: FloatArray, factor: FloatArray, limit: FloatArray) -> FloatArray:
    """``(x - shift) * factor``, within plus and minus ``limit``."""
    scaled = np.subtract(x, shift, out=np.empty_like(x))
    scaled *= factor
    return np.clip(scaled, -limit, limit, out=scaled)


def lookup(index: IntArray, table: FloatArray) -> FloatArray:
    """Rows of a table, the last one for -1: ``[N]`` to ``[N, *]``."""
    return table.take(index, axis=0)


def choose(x: FloatArray, places: IntArray) -> FloatArray:
    """Of each row's numbers, counted through, those at these places: ``[N, *]`` to ``[N, *places.shape]``."""
    return flatten(x).take(places, axis=1)


def join(*parts: FloatArray) -> FloatArray:
    """Features side by side."""
    return np.concatenate(parts, axis=-1)


def append(x: FloatArray, more: FloatArray) -> FloatArray:
    """Entities, and further ones behind them."""
    return np.concatenate([x, more], axis=1)


def linear(x: FloatArray, weight: FloatArray, bias: FloatArray | None = None) -> FloatArray:
    """``x @ weight.T + bias`` on the last axis."""
    out: FloatArray = (x if x.ndim == 2 else x.reshape(-1, x.shape[-1])) @ weight.T
    if bias is not None:
        out += bias
    return out if x.ndim == 2 else out.reshape(*x.shape[:-1], -1)


def relu(x: FloatArray) -> FloatArray:
    """The positive part."""
    return np.maximum(x, 0)


def normalize(x: FloatArray, weight: FloatArray, bias: FloatArray, epsilon: FloatArray) -> FloatArray:
    """Layer normalization over the last axis (Ba, Kiros and Hinton, 2016)."""
    x = x - _mean(x, -1)
    x /= np.sqrt(_mean(np.square(x), -1) + epsilon)
    x *= weight
    x += bias
    return x


def gru(
    x: FloatArray, state: FloatArray, w_ih: FloatArray, w_hh: FloatArray, b_ih: FloatArray, b_hh: FloatArray
) -> FloatArray:
    """The next state of a gated recurrent unit, with gates in PyTorch's order r, z, n and r after the product."""
    h = state.shape[-1]
    of_inputs, of_state = linear(x, w_ih, b_ih), linear(state, w_hh, b_hh)
    gates = np.tanh(0.5 * (of_inputs[..., : 2 * h] + of_state[..., : 2 * h])) * 0.5 + 0.5  # the logistic function
    new = np.tanh(of_inputs[..., 2 * h :] + gates[..., :h] * of_state[..., 2 * h :])
    after: FloatArray = new + gates[..., h:] * (state - new)
    return after


def mean(x: FloatArray) -> FloatArray:
    """The mean over entities, ``[N, K, F]`` to ``[N, 1, F]``."""
    return _mean(x, 1)


def center(x: FloatArray) -> FloatArray:
    """``x`` less its mean over the last axis."""
    return x - _mean(x, -1)


def add(x: FloatArray, y: FloatArray) -> FloatArray:
    """The sum; ``y`` may have one number for all entities or features of ``x``."""
    return np.add(x, y, out=np.empty_like(x))


def flatten(x: FloatArray) -> FloatArray:
    """All numbers of a row, one after the other: ``[N, *]`` to ``[N, F]``."""
    return x if x.ndim == 2 else x.reshape(len(x), math.prod(x.shape[1:]))


def _mean(x: FloatArray, axis: int) -> FloatArray:
    out: FloatArray = np.add.reduce(x, axis=axis, keepdims=True)  # faster than NumPy's mean
    out /= x.shape[axis]
    return out


FUNCTIONS: Mapping[str, Callable[..., Array]] = {
    f.__name__: f
    for f in (scale, lookup, choose, join, append, linear, relu, normalize, gru, mean, center, add, flatten)
}
"""Every operation by its name."""

Network = Callable[..., tuple[Array, ...]]
"""From the four `VALUES` of N agents to the values asked for."""
Team = Callable[[FloatArray, IntArray, FloatArray], tuple[Array, ...]]
"""From observations ``[B, A, O]``, last actions ``[B, A]`` and hidden ``[B, A, *]`` to the values asked for."""


def network(
    operations: Sequence[Operation],
    arrays: Mapping[str, Array],
    outputs: Sequence[str],
    functions: Mapping[str, Callable[..., Array]] = FUNCTIONS,
) -> Network:
    """A function that carries out operations.

    Args:
        operations: in this order.
        arrays: their arrays, which are read where they are in memory at each call.
        outputs: names of the values that it returns.
        functions: what operations do.
    """
    needed = {name: i for i, o in enumerate(operations) for name in o.inputs}  # for the last time
    places, free, steps = {name: n for n, name in enumerate(VALUES)}, list[int](), []
    n_places = len(places)
    for i, o in enumerate(operations):
        inputs = [places[name] for name in o.inputs]
        free += [places[name] for name in dict.fromkeys(o.inputs) if needed[name] == i and name not in outputs]
        n_places += not free
        places[o.output] = free.pop() if free else n_places - 1  # memory that is freed early is still in the cache
        steps.append((functions[o.kind], inputs, [arrays[name] for name in o.arrays], places[o.output]))
    given_up, results = [None] * (n_places - len(VALUES)), [places[name] for name in outputs]

    def forward(*given: Array) -> tuple[Array, ...]:
        values: list[Any] = [*given, *given_up]
        for function, inputs, constants, output in steps:
            values[output] = function(*[values[place] for place in inputs], *constants)
        return tuple([values[place] for place in results])

    return forward


def team(networks: Sequence[Network], groups: Sequence[int], numbers: Sequence[int] | None) -> Team:
    """All agents, each through its own network.

    Args:
        networks: one or several.
        groups: for each agent the index of its network.
        numbers: the agents on the axis A; ``None``: any number, where they share one network that asks for no numbers.
    """
    own = [0] if numbers is None else [groups[n] for n in numbers]
    places = {g: np.flatnonzero(np.array(own) == g) for g in sorted(set(own))}
    agents = np.zeros(1, np.int64) if numbers is None else np.array(numbers)

    def rows(g: int, who: IntArray, obs: FloatArray, last: IntArray, hidden: FloatArray) -> list[Array]:
        b, a = last.shape
        who = who if b == 1 else who[None].repeat(b, axis=0).reshape(-1)
        out = networks[g](obs.reshape(b * a, -1), last.reshape(-1), who, hidden.reshape(b * a, *hidden.shape[2:]))
        return [x.reshape(b, a, *x.shape[1:]) for x in out]

    def forward(obs: FloatArray, last_actions: IntArray, hidden: FloatArray) -> tuple[Array, ...]:
        if len(places) == 1:
            return tuple(rows(own[0], agents, obs, last_actions, hidden))
        parts = [rows(g, agents[p], obs[:, p], last_actions[:, p], hidden[:, p]) for g, p in places.items()]
        return tuple(np.concatenate(part, axis=1)[:, inverse] for part in zip(*parts, strict=True))

    inverse = np.argsort(np.concatenate(list(places.values())))
    return forward

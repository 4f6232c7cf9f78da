"""Random numbers inside the simulator: the counter scheme of `hymarl.components.rng`, compiled.

Each episode has one key per stream, and a row counts what it drew of each. Arrivals have a stream of their own with a
fixed number of draws per flow, so that the traffic of an episode is the same under every policy.
"""

from __future__ import annotations

import math

import numpy as np
from numba import njit

from ...components.rng import GOLDEN, mix64
from .compiled import part
from .layout import Clock

ARRIVALS, DECISIONS, PACKETS, SCENARIO = 0, 1, 2, 3
FIRST_STREAM = 0x10AD0000
"""Number of stream 0 under an episode's key; far from the small numbers that policies may derive from the same key."""

DRAWS_PER_FLOW = 5
GAP, BALANCER, SIZE_1, SIZE_2, KIND = 0, 1, 2, 3, 4

_ONE = np.uint64(1)
_SHIFT_11, _SHIFT_32 = np.uint64(11), np.uint64(32)
_PER_FLOW = np.uint64(DRAWS_PER_FLOW)
_TO_UNIT = 1.0 / (1 << 53)

mix = njit(mix64, nogil=True, forceinline=True)


@part
def next_bits(clock: Clock, b: int, stream: int) -> np.uint64:
    """The next 64 random bits of a stream."""
    clock.drawn[b, stream] += _ONE
    return mix(clock.keys[b, stream] + clock.drawn[b, stream] * GOLDEN)


@part
def next_uniform(clock: Clock, b: int, stream: int) -> float:
    """The next number of a stream, uniform on [0, 1)."""
    return (next_bits(clock, b, stream) >> _SHIFT_11) * _TO_UNIT


@part
def next_exponential(clock: Clock, b: int, stream: int) -> float:
    """The next number of a stream, exponential with mean 1."""
    return -math.log(1.0 - next_uniform(clock, b, stream))


@part
def next_integer(clock: Clock, b: int, stream: int, n: int) -> int:
    """The next number of a stream, uniform on 0..n-1 (n far below 2**32)."""
    return np.int64(((next_bits(clock, b, stream) >> _SHIFT_32) * np.uint64(n)) >> _SHIFT_32)


@part
def flow_uniform(clock: Clock, b: int, which: int) -> float:
    """One of the numbers of the next flow, uniform on [0, 1)."""
    counter = clock.flow[b] * _PER_FLOW + np.uint64(which) + _ONE
    return (mix(clock.keys[b, ARRIVALS] + counter * GOLDEN) >> _SHIFT_11) * _TO_UNIT


@part
def flow_exponential(clock: Clock, b: int, which: int) -> float:
    """One of the numbers of the next flow, exponential with mean 1."""
    return -math.log(1.0 - flow_uniform(clock, b, which))


@part
def flow_normal(clock: Clock, b: int) -> float:
    """A standard normal number of the next flow (Box and Muller), of the two draws for its size."""
    radius = math.sqrt(2.0 * flow_exponential(clock, b, SIZE_1))
    return radius * math.cos(2.0 * math.pi * flow_uniform(clock, b, SIZE_2))

"""Random numbers inside the simulator: the counter scheme of `hymarl.components.rng`, compiled.

Each episode has one key per stream, and a row counts what it drew of each. Arrivals have a stream of their own with a
fixed number of draws per flow, so that the traffic of an episode is the same under every policy.
"""

from __future__ import annotations

import math

import numpy as np

from ...components.compiled import part
from ...components.rng import GOLDEN, Stream, mix64
from .layout import Record, Row

ARRIVALS, DECISIONS, PACKETS, SCENARIO, LEVELS = 0, 1, 2, 3, 4
FIRST_STREAM = 0x10AD0000
"""Number of stream 0 under an episode's key; far from the small numbers that policies may derive from the same key."""
STREAM_NUMBERS = (*(FIRST_STREAM + stream for stream in (ARRIVALS, DECISIONS, PACKETS, SCENARIO)), Stream.EXPLORATION)
"""Number of every stream under an episode's key. Random levels stand for what agents do, as exploring does."""

DRAWS_PER_FLOW = 5
GAP, BALANCER, SIZE_1, SIZE_2, KIND = 0, 1, 2, 3, 4

_ONE = np.uint64(1)
_SHIFT_11, _SHIFT_32 = np.uint64(11), np.uint64(32)
_PER_FLOW = np.uint64(DRAWS_PER_FLOW)
_TO_UNIT = 1.0 / (1 << 53)

mix = part(mix64)


@part
def next_bits(stream: Record) -> np.uint64:
    """The next 64 random bits of a stream."""
    stream.drawn += _ONE
    return mix(stream.key + stream.drawn * GOLDEN)


@part
def next_uniform(stream: Record) -> float:
    """The next number of a stream, uniform on [0, 1)."""
    return (next_bits(stream) >> _SHIFT_11) * _TO_UNIT


@part
def next_exponential(stream: Record) -> float:
    """The next number of a stream, exponential with mean 1."""
    return -math.log(1.0 - next_uniform(stream))


@part
def next_integer(stream: Record, n: int) -> np.int64:
    """The next number of a stream, uniform on 0..n-1 (n far below 2**32)."""
    return np.int64(((next_bits(stream) >> _SHIFT_32) * np.uint64(n)) >> _SHIFT_32)


@part
def flow_uniform(row: Row, which: int) -> float:
    """One of the numbers of the next flow, uniform on [0, 1)."""
    counter = row.episode.n_flows * _PER_FLOW + np.uint64(which) + _ONE
    return (mix(row.streams[ARRIVALS].key + counter * GOLDEN) >> _SHIFT_11) * _TO_UNIT


@part
def flow_exponential(row: Row, which: int) -> float:
    """One of the numbers of the next flow, exponential with mean 1."""
    return -math.log(1.0 - flow_uniform(row, which))


@part
def flow_normal(row: Row) -> float:
    """A standard normal number of the next flow (Box and Muller), of the two draws for its size."""
    radius = math.sqrt(2.0 * flow_exponential(row, SIZE_1))
    return radius * math.cos(2.0 * math.pi * flow_uniform(row, SIZE_2))


@part
def level_uniform(row: Row, t: int, n: int) -> float:
    """Number n of step t of an episode, uniform on [0, 1)."""
    key = mix((row.streams[LEVELS].key ^ np.uint64(t)) * GOLDEN + GOLDEN)
    return (mix(key + np.uint64(n + 1) * GOLDEN) >> _SHIFT_11) * _TO_UNIT

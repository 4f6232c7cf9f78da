"""Counter-based randomness: every random number is a function of what it is for.

A *key* is a 64-bit mix of (seed, stream, index); the n-th draw of a key is ``mix64(key + (n + 1) * GOLDEN)``, i.e. the
SplitMix64 generator (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number Generators", OOPSLA 2014). Nothing is
consumed from shared state, so results do not depend on the number of environments or workers, evaluating never disturbs
training, and a resumed run needs counters instead of captured generator states.

The functions work on NumPy ``uint64`` arrays; `mix64` also compiles under ``numba.njit`` for scalars.
"""

from __future__ import annotations

from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

UInt64Array = NDArray[np.uint64]

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MULTIPLIER_1 = np.uint64(0xBF58476D1CE4E5B9)
_MULTIPLIER_2 = np.uint64(0x94D049BB133111EB)
_SHIFT_30, _SHIFT_27, _SHIFT_31 = np.uint64(30), np.uint64(27), np.uint64(31)
_SHIFT_11 = np.uint64(11)
_TO_UNIT = 1.0 / (1 << 53)


class Stream(IntEnum):
    """What a key is for. The numbers are part of every result: append, never renumber."""

    TRAINING = 1
    VALIDATION = 2
    TEST = 3
    EXPLORATION = 4
    REPLAY = 5
    INITIALIZATION = 6
    PARAMETER_NOISE = 7  # while acting
    UPDATE_NOISE = 8
    TARGET_NOISE = 9
    LATENT = 10
    UPDATE_ACTIONS = 11


def mix64(x):  # type: ignore[no-untyped-def]  # numba infers the types: scalars there, arrays here
    """The SplitMix64 finaliser, a bijection on 64-bit integers whose output bits all depend on all input bits."""
    x = (x ^ (x >> _SHIFT_30)) * _MULTIPLIER_1
    x = (x ^ (x >> _SHIFT_27)) * _MULTIPLIER_2
    return x ^ (x >> _SHIFT_31)


def keys(seed: int, stream: Stream, indices: NDArray[np.integer] | list[int] | int) -> UInt64Array:
    """One key per index, e.g. per episode number, shape of ``indices`` (at least one axis).

    Raises:
        ValueError: `seed` is negative.
    """
    if seed < 0:
        raise ValueError(f"a seed must not be negative, got {seed}")
    base = np.array([seed % 2**64], dtype=np.uint64)
    base = mix64(base + GOLDEN)
    base = mix64((base ^ np.uint64(stream)) * GOLDEN + GOLDEN)
    return mix64(base + np.atleast_1d(np.asarray(indices)).astype(np.uint64) * GOLDEN)


def derive(parent: UInt64Array, stream: int) -> UInt64Array:
    """Independent keys for one purpose under each parent key, e.g. exploration within an episode; same shape."""
    return mix64((parent ^ np.uint64(stream)) * GOLDEN + GOLDEN)


def draw(key: UInt64Array, counter: NDArray[np.integer] | int) -> UInt64Array:
    """Draw number ``counter`` (from 0) of each key as 64 random bits; the arguments broadcast."""
    return mix64(key + (np.atleast_1d(counter).astype(np.uint64) + np.uint64(1)) * GOLDEN)


def uniform(bits: UInt64Array) -> NDArray[np.float64]:
    """Random bits as floats, uniform on [0, 1) with 53 bits."""
    return (bits >> _SHIFT_11).astype(np.float64) * _TO_UNIT


def generator(seed: int, stream: Stream, index: int) -> np.random.Generator:
    """A NumPy generator for library calls such as ``choice``, keyed like everything else."""
    return np.random.Generator(np.random.Philox(key=int(keys(seed, stream, index)[0])))

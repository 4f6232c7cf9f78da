"""Python's and NumPy's global random generators, one pair per environment.

Many environments of other libraries draw from ``random`` and ``np.random``, whose state all share. Here each has a pair
of its own, which is put in their place while the environment runs and seeded when its episode starts. So an episode
depends on its key only: not on what other rows, other workers or this process draw, and they do not notice.

This takes time in every step (docs/benchmarks.md): NumPy's generator is exchanged, Python's can only be copied. For
environments that do not draw from the global generators it is switched off (``global_random``).

Not covered is what draws from elsewhere: the operating system (``np.random.default_rng()`` without a seed), PyTorch's
generators, or another program such as StarCraft II.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import numpy as np
from numpy.random.mtrand import get_bit_generator, set_bit_generator

_SEED_SHIFT = np.uint64(33)  # leaves 31 bits: many environments refuse larger seeds


def library_seed(key: int) -> int:
    """The upper 31 bits of an episode's 64-bit key, as a seed for other libraries."""
    return int(np.uint64(key) >> _SEED_SHIFT)


class GlobalGenerators:
    """What one environment sees as the global generators; equal for all environments until they are seeded.

    Args:
        used: whether the environment may draw from them; if not, nothing is done.
    """

    def __init__(self, used: bool = True) -> None:
        self._used = used
        self._numpy: np.random.BitGenerator = np.random.MT19937(0)
        self._python = random.Random(0).getstate()

    def installed(self, seed: int | None = None) -> AbstractContextManager[None]:
        """Make them the global ones inside a ``with`` block, inside one of `kept`.

        Args:
            seed: of 32 bits, gives both a new state, as ``random.seed`` and ``np.random.seed`` do.
        """
        return self._installed(seed) if self._used else nullcontext()

    @contextmanager
    def _installed(self, seed: int | None) -> Iterator[None]:
        set_bit_generator(self._numpy)
        if seed is None:
            random.setstate(self._python)
        else:
            np.random.seed(seed)  # noqa: NPY002  (it is what environments draw from)
            random.seed(seed)
        try:
            yield
        finally:
            self._numpy = get_bit_generator()
            self._python = random.getstate()


@contextmanager
def kept() -> Iterator[None]:
    """Give the process its global generators back at the end of a ``with`` block.

    Except the second normal number of a pair, which ``np.random.randn`` keeps for its next call.
    """
    numpy, python = get_bit_generator(), random.getstate()
    try:
        yield
    finally:
        set_bit_generator(numpy)
        random.setstate(python)

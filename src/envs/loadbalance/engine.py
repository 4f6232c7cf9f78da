"""The simulator from outside: memory, seeds, and threads around the compiled functions."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...components.compiled import compile_once
from ...components.rng import derive
from .draws import STREAM_NUMBERS
from .layout import Flags, Integers, Sizes, Words, World, allocate
from .parameters import Parameters
from .simulation import play_rows


class Engine:
    """A batch of simulations.

    Args:
        parameters: what stays the same.
        sizes: lengths of the arrays.
        n_threads: threads that share the rows; results do not depend on it.

    Attributes:
        parameters: what stays the same.
        sizes: lengths of the arrays.
        world: all that changes, readable between calls.
    """

    def __init__(self, parameters: Parameters, sizes: Sizes, n_threads: int) -> None:
        self.parameters, self.sizes = parameters, sizes
        self.world: World = allocate(sizes)
        self._actions = np.zeros((sizes.rows, sizes.balancers), np.int64)
        self._n_threads = min(n_threads, sizes.rows)
        edges = np.linspace(0, sizes.rows, self._n_threads + 1).astype(int).tolist()
        self._chunks = list(itertools.pairwise(edges))
        self._pool: ThreadPoolExecutor | None = None

    def reset(self, seeds: Words, where: Flags) -> None:
        """Start new episodes in the rows ``where`` is true."""
        key = self.world.streams["key"]  # a view
        for stream, number in enumerate(STREAM_NUMBERS):
            key[where, stream] = derive(seeds[where], number)
        self._play(where, True, self._actions)

    def step(self, actions: Integers, active: Flags) -> None:
        """Advance the active rows by a control interval."""
        self._play(active, False, actions)

    def close(self) -> None:
        """End the threads; they start again when they are needed."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _play(self, where: Flags, restart: bool, actions: Integers) -> None:
        compile_once(play_rows, self.parameters, self.world, 0, 0, where, restart, actions)
        if self._n_threads == 1:
            play_rows(self.parameters, self.world, *self._chunks[0], where, restart, actions)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._n_threads)
        calls = [
            self._pool.submit(play_rows, self.parameters, self.world, *chunk, where, restart, actions)
            for chunk in self._chunks
        ]
        for call in calls:
            call.result()

"""The simulator from outside: memory, seeds, and threads around the compiled functions."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from ...components.rng import derive
from .draws import FIRST_STREAM
from .layout import Flags, Floats, Integers, Sizes, Words, World, allocate
from .parameters import RULES, Parameters
from .simulation import CONTROL_OFF, reset_rows, step_rows

_NOMINAL = np.empty((0, 0, 0))


class Engine:
    """A batch of simulations.

    Args:
        parameters: what stays the same.
        sizes: lengths of the arrays.
        n_threads: threads that share the rows; results do not depend on it.

    Attributes:
        parameters: what stays the same.
        world: all that changes, readable between calls.
    """

    def __init__(self, parameters: Parameters, sizes: Sizes, n_threads: int) -> None:
        self.parameters = parameters
        self.world: World = allocate(sizes)
        self._n_threads = min(n_threads, sizes.rows)
        edges = np.linspace(0, sizes.rows, self._n_threads + 1).astype(int).tolist()
        self._chunks = list(zip(edges[:-1], edges[1:], strict=True))
        self._pool: ThreadPoolExecutor | None = None

    def reset(self, seeds: Words, where: Flags) -> None:
        """Start new episodes in the rows ``where`` is true."""
        clock = self.world.clock
        for stream in range(clock.keys.shape[1]):
            clock.keys[where, stream] = derive(seeds[where], FIRST_STREAM + stream)
        self._in_chunks(lambda first, last: reset_rows(self.parameters, self.world, first, last, where))

    def step(
        self, actions: Integers, active: Flags, rule: str | None, learned_rule: str, weights: Floats | None
    ) -> None:
        """Advance the active rows by a control interval, under a rule or (``None``) the agents' actions."""
        number = CONTROL_OFF if rule is None else RULES.index(rule)
        learned, used = RULES.index(learned_rule), _NOMINAL if weights is None else weights
        p, w = self.parameters, self.world
        self._in_chunks(
            lambda first, last: step_rows(p, w, first, last, active, actions, number, learned, used)
        )

    def close(self) -> None:
        """End the threads; they start again when they are needed."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _in_chunks(self, call: Callable[[int, int], int]) -> None:
        if self._n_threads == 1:
            call(*self._chunks[0])
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._n_threads)
        list(self._pool.map(lambda chunk: call(*chunk), self._chunks))

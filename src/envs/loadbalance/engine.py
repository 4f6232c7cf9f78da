"""The simulator from outside: memory, seeds, and threads around the compiled functions."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from ...components.rng import derive
from .draws import FIRST_STREAM
from .layout import Flags, Floats, Integers, Sizes, Words, World, allocate
from .parameters import RULES, Parameters
from .simulation import CONTROL_OFF, play_rows


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
        self._nominal = np.empty((sizes.rows, 0, sizes.slots))  # no weights given
        self._actions = np.zeros((sizes.rows, sizes.balancers), np.int64)
        self._n_threads = min(n_threads, sizes.rows)
        edges = np.linspace(0, sizes.rows, self._n_threads + 1).astype(int).tolist()
        self._chunks = list(itertools.pairwise(edges))
        self._pool: ThreadPoolExecutor | None = None

    def reset(self, seeds: Words, where: Flags) -> None:
        """Start new episodes in the rows ``where`` is true."""
        key = self.world.streams["key"]  # a view
        for stream in range(key.shape[1]):
            key[where, stream] = derive(seeds[where], FIRST_STREAM + stream)
        self._play(where, True, self._actions, CONTROL_OFF, CONTROL_OFF, self._nominal)

    def step(
        self, actions: Integers, active: Flags, rule: str | None, learned_rule: str, weights: Floats | None
    ) -> None:
        """Advance the active rows by a control interval, under a rule or (``None``) the agents' actions."""
        number = CONTROL_OFF if rule is None else RULES.index(rule)
        used = self._nominal if weights is None else weights
        self._play(active, False, actions, number, RULES.index(learned_rule), used)

    def close(self) -> None:
        """End the threads; they start again when they are needed."""
        if self._pool is not None:
            self._pool.shutdown()
            self._pool = None

    def _play(self, where: Flags, restart: bool, *rest: Any) -> None:
        if self._n_threads == 1:
            play_rows(self.parameters, self.world, *self._chunks[0], where, restart, *rest)
            return
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._n_threads)
        calls = [
            self._pool.submit(play_rows, self.parameters, self.world, *chunk, where, restart, *rest)
            for chunk in self._chunks
        ]
        for call in calls:
            call.result()

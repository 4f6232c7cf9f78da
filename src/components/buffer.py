"""Replay of whole episodes."""

from __future__ import annotations

from collections.abc import Iterable

import torch

from .episode import EpisodeBatch
from .rng import Stream, generator
from .spec import EnvSpec


class EpisodeBuffer:
    """A ring of the last ``capacity`` episodes in contiguous memory: episode number e lies at ``e % capacity``.

    Args:
        spec: sizes of the environment.
        capacity: number of episodes.
        seed: of the run; update u samples with the key (seed, u), so nothing but counters is needed to continue.

    Raises:
        ValueError: a capacity below 1.
    """

    def __init__(self, spec: EnvSpec, capacity: int, seed: int) -> None:
        if capacity < 1:
            raise ValueError(f"buffer_episodes must be at least 1, got {capacity}")
        self._storage = EpisodeBatch.empty(spec, capacity)
        self._padding = EpisodeBatch.empty(spec, 1)
        self._capacity, self._seed = capacity, seed
        self.n_inserted = 0

    @property
    def first(self) -> int:
        """Number of the oldest episode still stored."""
        return max(0, self.n_inserted - self._capacity)

    @property
    def size(self) -> int:
        """Number of episodes stored."""
        return self.n_inserted - self.first

    def insert(self, batch: EpisodeBatch) -> None:
        """Add episodes; the oldest are overwritten whole, so nothing of a longer predecessor survives."""
        for start in range(0, batch.n_episodes, self._capacity):
            self._write(batch, slice(start, min(start + self._capacity, batch.n_episodes)))

    def _write(self, batch: EpisodeBatch, rows: slice) -> None:
        n = rows.stop - rows.start
        places = torch.arange(self.n_inserted, self.n_inserted + n) % self._capacity
        new, padding = batch.tensors(), self._padding.tensors()
        for name, stored in self._storage.tensors().items():
            if stored.dim() > 1 and new[name].shape[1] < stored.shape[1]:
                stored[places] = padding[name]
                stored[places, : new[name].shape[1]] = new[name][rows]
            else:
                stored[places] = new[name][rows]
        self.n_inserted += n

    def sample(self, n_episodes: int, update: int) -> EpisodeBatch:
        """Different episodes drawn uniformly for optimizer step number ``update``, trimmed before copying.

        Raises:
            ValueError: fewer episodes are stored.
        """
        if n_episodes > self.size:
            raise ValueError(f"cannot sample {n_episodes} episodes, the buffer holds {self.size}")
        rng = generator(self._seed, Stream.REPLAY, update)
        return self._storage.select(torch.from_numpy(rng.choice(self.size, n_episodes, replace=False)))

    def episodes(self, first: int) -> EpisodeBatch:
        """A copy of the stored episodes from number ``first`` on, oldest first."""
        return self._storage.select(torch.arange(first, self.n_inserted) % self._capacity)

    def restore(self, first: int, parts: Iterable[EpisodeBatch]) -> None:
        """Put episodes back at the places they had, the first being number ``first``."""
        self.n_inserted = first
        for part in parts:
            self.insert(part)

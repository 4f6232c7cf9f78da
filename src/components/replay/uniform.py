"""Uniform replay of the last episodes (Lin, 1992; Mnih et al., 2015), whole episodes at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch

from ...ranges import Count, NonNegative
from ...registry import register
from ..episode import Columns, EpisodeBatch
from ..memory import require_memory
from ..rng import Stream, generator
from ..spec import EnvSpec, IntArray
from .base import Replay, Sample

_ROUNDING = 1e-9  # so that ten times a tenth of an update counts as one


@register("replay")
class UniformReplay(Replay):
    """A ring of the last episodes in contiguous memory, from which each update draws different ones, all equally
    likely.

    Episode number e lies at ``e % buffer_episodes``. Update u draws with the key (seed, u), so nothing but counters is
    needed to continue.

    Args:
        spec: sizes of the environment.
        extras: columns that the policy and the learner add.
        seed: of the run.
        batch_episodes: episodes per update; learning begins when so many are stored.
        buffer_episodes: episodes kept.
        updates_per_episode: optimizer steps per collected episode, may be below 1; the same for any number of
            environments.

    Raises:
        ValueError: a buffer smaller than a batch, or larger than memory.
    """

    def __init__(
        self,
        spec: EnvSpec,
        extras: Columns,
        seed: int,
        *,
        batch_episodes: Count,
        buffer_episodes: Count,
        updates_per_episode: NonNegative,
    ) -> None:
        super().__init__(spec, extras, seed)
        if batch_episodes > buffer_episodes:
            raise ValueError(
                f"batch_episodes={batch_episodes} must not be above buffer_episodes={buffer_episodes}, "
                "or learning would never begin"
            )
        self._n_bytes = self._padding.n_bytes * buffer_episodes
        require_memory(self._n_bytes, f"replay of {buffer_episodes} episodes", "lower replay.buffer_episodes")
        self._storage = EpisodeBatch.empty(spec, buffer_episodes, extras=extras)
        self._batch_episodes, self._capacity = batch_episodes, buffer_episodes
        self._updates_per_episode = updates_per_episode
        self._credit = 0.0  # updates due, a fraction below 1 between collections

    @property
    def first(self) -> int:
        """See `Replay.first`."""
        return max(0, self.n_inserted - self._capacity)

    @property
    def size(self) -> int:
        """Number of episodes stored."""
        return self.n_inserted - self.first

    def insert(self, batch: EpisodeBatch) -> None:
        """See `Replay.insert`; the oldest are overwritten whole, so nothing of a longer predecessor survives."""
        self._store(batch)
        # The episode with which learning can begin earns the first credit, collected alone or with others.
        earning = self.n_inserted - self._batch_episodes + 1
        self._credit += self._updates_per_episode * max(0, min(batch.n_episodes, earning))

    def due(self, n_updates: int) -> Iterator[Sample]:
        """See `Replay.due`."""
        while self._credit >= 1 - _ROUNDING:
            self._credit -= 1
            yield self.sample(self._batch_episodes, n_updates)
            n_updates += 1

    def sample(self, n_episodes: int, update: int) -> Sample:
        """Different episodes drawn uniformly for optimizer step number ``update``, trimmed before copying.

        Raises:
            ValueError: fewer episodes are stored.
        """
        self._require(n_episodes)
        places = generator(self._seed, Stream.REPLAY, update).choice(self.size, n_episodes, replace=False)
        return Sample(self._storage.select(torch.from_numpy(places)), self._numbers(places))

    def episodes(self, first: int) -> EpisodeBatch:
        """See `Replay.episodes`."""
        return self._storage.select(torch.arange(first, self.n_inserted) % self._capacity)

    def restore(self, first: int, parts: Iterable[EpisodeBatch]) -> None:
        """See `Replay.restore`."""
        self.n_inserted = first
        for part in parts:
            self._store(part)

    def state_dict(self) -> dict[str, Any]:
        """See `Replay.state_dict`."""
        return {**super().state_dict(), "credit": self._credit}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See `Replay.load_state_dict`."""
        super().load_state_dict(state)
        self._credit = state["credit"]

    def why_none_was_due(self) -> str:
        """See `Replay.why_none_was_due`."""
        if self.n_inserted < self._batch_episodes:
            return (
                f"learning begins when {self._batch_episodes} episodes are stored, this run collected "
                f"{self.n_inserted}; raise train.total_steps or lower replay.batch_episodes"
            )
        return (
            f"replay.updates_per_episode={self._updates_per_episode}, and learning began with episode "
            f"{self._batch_episodes} of the {self.n_inserted} collected"
        )

    def describe(self) -> dict[str, str]:
        """See `Replay.describe`."""
        return {
            "updates_per_episode": f"{self._updates_per_episode}",
            "replay_memory": f"{self._n_bytes / 1e6:.0f} MB, as much on disk when full",
        }

    def _require(self, n_episodes: int) -> None:
        if n_episodes > self.size:
            raise ValueError(f"cannot sample {n_episodes} episodes, the buffer holds {self.size}")

    def _numbers(self, places: IntArray) -> IntArray:
        """The numbers of the episodes at these places of the ring."""
        return self.first + (places - self.first) % self._capacity

    def _store(self, batch: EpisodeBatch) -> None:
        for start in range(0, batch.n_episodes, self._capacity):
            self._write(batch, slice(start, min(start + self._capacity, batch.n_episodes)))

    def _write(self, batch: EpisodeBatch, rows: slice) -> None:
        n = rows.stop - rows.start
        places = torch.arange(self.n_inserted, self.n_inserted + n) % self._capacity
        new, padding = batch.tensors(), self._padding.tensors()
        for name, stored in self._storage.tensors().items():
            in_time = self.columns[name].axis != "episode"
            if in_time and new[name].shape[1] < stored.shape[1]:
                stored[places] = padding[name]
                stored[places, : new[name].shape[1]] = new[name][rows]
            else:
                stored[places] = new[name][rows]
        self.n_inserted += n

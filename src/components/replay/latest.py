"""The newest episodes only, as on-policy learners need them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import ClassVar

import numpy as np
import torch

from ...ranges import Count
from ...registry import register
from ..episode import Columns, EpisodeBatch
from ..rng import Stream, generator
from ..spec import EnvSpec
from .base import Replay, Sample


@register("replay")
class LatestReplay(Replay):
    """The newest collection, learned from whole or in minibatches, once or in several epochs, then forgotten.

    The order of the episodes in an epoch is drawn with the key (seed, number of the epoch's first update).

    Args:
        spec: sizes of the environment.
        extras: columns that the policy and the learner add.
        seed: of the run.
        epochs: how often each collection is gone through.
        minibatches: equal parts of a collection, one optimizer step each.
    """

    keeps: ClassVar[bool] = False

    def __init__(self, spec: EnvSpec, extras: Columns, seed: int, *, epochs: Count, minibatches: Count) -> None:
        super().__init__(spec, extras, seed)
        self._epochs, self._minibatches = epochs, minibatches
        self._newest: EpisodeBatch | None = None

    @property
    def first(self) -> int:
        """See `Replay.first`."""
        return self.n_inserted - (0 if self._newest is None else self._newest.n_episodes)

    def insert(self, batch: EpisodeBatch) -> None:
        """See `Replay.insert`."""
        self._newest = batch.select(torch.arange(batch.n_episodes))
        self.n_inserted += batch.n_episodes

    def due(self, n_updates: int) -> Iterator[Sample]:
        """See `Replay.due`; a collection of fewer episodes than minibatches has a minibatch per episode."""
        newest, first = self._newest, self.first
        if newest is None or newest.n_episodes == 0:
            return
        for _ in range(self._epochs):
            order = generator(self._seed, Stream.REPLAY, n_updates).permutation(newest.n_episodes)
            for places in np.array_split(order, min(self._minibatches, newest.n_episodes)):
                yield Sample(newest.select(torch.from_numpy(places)), first + places)
                n_updates += 1
        self._newest = None

    def episodes(self, first: int) -> EpisodeBatch:
        """See `Replay.episodes`."""
        newest = self._newest or EpisodeBatch.empty(self._spec, 0, 1, extras=self._extras)
        return newest.select(torch.arange(first - self.first, newest.n_episodes))

    def restore(self, first: int, parts: Iterable[EpisodeBatch]) -> None:
        """See `Replay.restore`."""
        for part in parts:
            self._newest = part

    def describe(self) -> dict[str, str]:
        """See `Replay.describe`."""
        return {"replay": f"none: {self._epochs} epochs of {self._minibatches} minibatches on each collection"}

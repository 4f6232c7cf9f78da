"""The contract of replay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar, NamedTuple

from torch import Tensor

from ..episode import Columns, EpisodeBatch
from ..spec import EnvSpec, IntArray


class Sample(NamedTuple):
    """What one optimizer step learns from.

    Attributes:
        episodes: B episodes.
        numbers: ``[B]``, which they are: their numbers in the order of insertion, from 0.
        weights: ``[B]`` float32, how much each counts in the loss; ``None``: all alike.
    """

    episodes: EpisodeBatch
    numbers: IntArray
    weights: Tensor | None = None


class Replay(ABC):
    """Keeps collected episodes and says which of them each optimizer step learns from, and how many steps are due.

    A replay is a class in ``src/components/replay/`` decorated with ``@register("replay")`` whose constructor takes
    ``(spec, extras, seed, *, settings...)``.

    Args:
        spec: sizes of the environment.
        extras: columns that the policy and the learner add to every episode.
        seed: of the run; what is random is a function of it and of the number of the optimizer step.

    Attributes:
        keeps: whether episodes are learned from again after later collections; false: from the newest only.
        columns: of the episodes.
        n_inserted: episodes inserted so far; the next one gets this number.
    """

    keeps: ClassVar[bool] = True

    def __init__(self, spec: EnvSpec, extras: Columns, seed: int) -> None:
        self._spec, self._extras, self._seed = spec, extras, seed
        self._padding = EpisodeBatch.empty(spec, 1, extras=extras)
        self.n_inserted = 0

    @property
    def columns(self) -> Columns:
        """Columns of the episodes."""
        return self._padding.columns

    @property
    @abstractmethod
    def first(self) -> int:
        """Number of the oldest episode still stored; ``n_inserted`` if none is."""

    @abstractmethod
    def insert(self, batch: EpisodeBatch) -> None:
        """Copy the episodes of a collection."""

    @abstractmethod
    def due(self, n_updates: int) -> Iterator[Sample]:
        """The samples to learn from after this collection, one for each optimizer step.

        Args:
            n_updates: optimizer steps so far; each sample is followed by one.
        """

    def learned(self, sample: Sample, priorities: Tensor | None) -> None:  # noqa: B027  # most have no use for it
        """Take note of the priorities that an optimizer step returned.

        Args:
            sample: the episodes that it learned from.
            priorities: ``[B]``, how much is left to be learned from each; ``None`` if the learner gives none.
        """

    @abstractmethod
    def episodes(self, first: int) -> EpisodeBatch:
        """A copy of the stored episodes from number ``first`` on."""

    @abstractmethod
    def restore(self, first: int, parts: Iterable[EpisodeBatch]) -> None:
        """Put episodes back at the places they had, the first being number ``first``."""

    def state_dict(self) -> dict[str, Any]:
        """Everything an exact continuation needs besides the episodes, as tensors and plain data."""
        return {"n_inserted": self.n_inserted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from `state_dict`; before `restore`."""
        self.n_inserted = state["n_inserted"]

    def why_none_was_due(self) -> str:
        """Why a run ended without an update, and what to change, for people."""
        return f"{self.n_inserted} episodes were collected"

    def describe(self) -> dict[str, str]:
        """Lines of a run's header, by what they are about."""
        return {}

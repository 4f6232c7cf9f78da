"""What happened since the last row of metrics, and how long it took."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from torch import Tensor

from ..runners.base import EpisodeStatistics


@dataclass
class SinceLastRow:
    """What has been seen since the last row of metrics.

    Attributes:
        returns: of the episodes.
        lengths: of the episodes.
        metrics: of the episodes, in the order of `EnvSpec.metric_names`.
        updates: what the updates returned, by name.
    """

    returns: list[float] = field(default_factory=list)
    lengths: list[float] = field(default_factory=list)
    metrics: list[list[float]] = field(default_factory=list)
    updates: dict[str, list[Tensor | float]] = field(default_factory=dict)

    def played(self, statistics: EpisodeStatistics) -> None:
        """Note episodes."""
        self.returns += statistics.returns.tolist()
        self.lengths += statistics.lengths.tolist()
        self.metrics += statistics.metrics.tolist()

    def updated(self, metrics: Mapping[str, Tensor]) -> None:
        """Note an update."""
        for name, value in metrics.items():
            self.updates.setdefault(name, []).append(value)

    def means(self, metric_names: Sequence[str]) -> dict[str, float]:
        """Mean return, length and metrics of the episodes, each over the episodes where it is known."""
        by_metric = [list(column) for column in zip(*self.metrics, strict=True)] or [[] for _ in metric_names]
        episodes = {"return_mean": _mean(self.returns), "length_mean": _mean(self.lengths)}
        return episodes | {name: _mean(column) for name, column in zip(metric_names, by_metric, strict=True)}

    def update_means(self) -> dict[str, float]:
        """The mean of everything the updates returned."""
        return {name: _mean([float(x) for x in values]) for name, values in self.updates.items()}

    def state_dict(self) -> dict[str, Any]:
        """As plain data."""
        updates = {name: [float(x) for x in values] for name, values in self.updates.items()}
        return asdict(replace(self, updates={})) | {"updates": updates}


class Stopwatch:
    """Seconds per phase and steps per second since the last `lap`."""

    columns = ("env_steps_per_s", "wall_s", "collect_s", "update_s", "evaluate_s")

    def __init__(self, steps: int = 0) -> None:
        self._seconds = dict.fromkeys(self.columns[2:], 0.0)
        self._began, self._steps = time.perf_counter(), steps

    @contextmanager
    def measure(self, phase: str) -> Iterator[None]:
        """Add the time spent inside to a phase."""
        began = time.perf_counter()
        yield
        self._seconds[phase] += time.perf_counter() - began

    def lap(self, steps: int) -> dict[str, float]:
        """What was measured since the last lap, and start the next."""
        now = time.perf_counter()
        wall = max(now - self._began, 1e-9)
        lap = {"env_steps_per_s": (steps - self._steps) / wall, "wall_s": wall, **self._seconds}
        self._seconds = dict.fromkeys(self._seconds, 0.0)
        self._began, self._steps = now, steps
        return lap


def _mean(values: Sequence[float]) -> float:
    """Mean of what is known, NaN if nothing is."""
    known = [x for x in values if x == x]
    return sum(known) / len(known) if known else float("nan")

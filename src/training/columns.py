"""Names of columns that every run writes, and which names that leaves for an environment's metrics."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ..registry import ConfigError

COUNTERS = ("episodes", "updates", "return_mean", "length_mean")
"""Columns of ``metrics.csv`` between the step and what the policy, the environment and the learner add."""
EPISODE = ("step", "stream", "episode", "return", "length")
"""Columns of ``evaluations.csv`` before the environment's metrics."""

_BESIDE = ("policy", "return_ci95")  # of comparison.csv, and of what loggers get of an evaluation


def check_metric_names(names: Sequence[str], others: Iterable[str]) -> None:
    """Refuse metrics of an environment whose columns could not be told from others.

    Args:
        names: of the environment's metrics.
        others: columns that the chosen selector and learner add to ``metrics.csv``.

    Raises:
        ConfigError: one has the name of another column or of another metric, or is no line of text.
    """
    taken = {*COUNTERS, *EPISODE, *_BESIDE, *others}
    for i, name in enumerate(names):
        if name in taken:
            raise ConfigError(
                f"the environment's metric {name!r} has the name of a column that the run's tables have already; give "
                "it another name in the environment, or leave it out of its metrics"
            )
        if name in names[:i]:
            raise ConfigError(f"the environment has two metrics of the name {name!r}; leave one out or rename it")
        if not name or not name.isprintable():
            raise ConfigError(f"the environment's metric {name!r} heads a column: give it a name of one line")

"""What a run's ``evaluations.csv`` says while the run goes on and when it has ended."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from ..registry import ConfigError, suggest
from ..reports.evaluations import read_evaluations

_NO_RESULT = frozenset({"step", "episode"})


def validations(directory: Path, column: str, episodes: int, interval: int) -> dict[int, float]:
    """A run's validations after the first update: the mean of a column over the episodes, by step.

    As runs do not reach exactly the same steps, they are rounded down to the interval. A validation whose rows are not
    yet all written is left out.

    Args:
        directory: of the run.
        column: of the table.
        episodes: of a validation.
        interval: steps between validations.

    Raises:
        ConfigError: the table has no such column, or is damaged.
    """
    try:
        table = read_evaluations(directory, "validation")
    except OSError:
        return {}
    except ValueError as error:
        raise ConfigError(str(error)) from error
    if not table:
        return {}
    if column not in table or column in _NO_RESULT:
        known = [name for name in table if name not in _NO_RESULT]
        raise ConfigError(f"hydra.sweeper.objective={column}: runs have no such column; {suggest(column, known)}")
    values: dict[int, list[float]] = {}
    for step, value in zip(table["step"].tolist(), table[column].tolist(), strict=True):
        if step > 0:
            values.setdefault(int(step), []).append(value)
    whole = {n: found for n, found in values.items() if len(found) >= episodes}
    return {max(1, n // interval) * interval: sum(found) / len(found) for n, found in sorted(whole.items())}


def score(values: Mapping[int, float], which: str, direction: str) -> float:
    """One number for a run: its last validation, the best one, or the mean of all."""
    if which == "last":
        return values[max(values)]
    if which == "mean":
        return sum(values.values()) / len(values)
    return max(values.values()) if direction == "maximize" else min(values.values())

"""What a run's ``evaluations.csv`` says while the run goes on and when it has ended."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

from ..registry import ConfigError, suggest
from ..reports.evaluations import read_evaluations

_NO_RESULT = frozenset({"step", "episode"})


class DamagedTable(Exception):
    """A run's ``evaluations.csv`` cannot be understood; the message is one sentence."""


def validations(directory: Path, column: str, episodes: int) -> dict[int, float]:
    """A run's validations after the first update: the mean of a column over the episodes, by step.

    A validation whose rows are not yet all written is left out.

    Args:
        directory: of the run.
        column: of the table.
        episodes: of a validation.

    Raises:
        ConfigError: the table has no such column.
        DamagedTable: it cannot be understood.
        OSError: it cannot be read.
    """
    try:
        table = read_evaluations(directory, "validation")
    except FileNotFoundError:
        return {}
    except (ValueError, csv.Error) as error:
        raise DamagedTable(f"{directory / 'evaluations.csv'} is damaged: {error}") from error
    if not table:
        return {}
    if column not in table or column in _NO_RESULT:
        known = [name for name in table if name not in _NO_RESULT]
        raise ConfigError(f"hydra.sweeper.objective={column}: runs have no such column; {suggest(column, known)}")
    if "step" not in table:
        raise DamagedTable(f"{directory / 'evaluations.csv'} is damaged: it has no steps")
    values: dict[int, list[float]] = {}
    for step, value in zip(table["step"].tolist(), table[column].tolist(), strict=True):
        if math.isnan(step):
            raise DamagedTable(f"{directory / 'evaluations.csv'} is damaged: a step is missing")
        if step > 0:
            values.setdefault(int(step), []).append(value)
    return {step: sum(found) / len(found) for step, found in sorted(values.items()) if len(found) >= episodes}


def at_common_steps(values: Mapping[int, float], interval: int, total: int) -> dict[int, float]:
    """Validations by the step at which they were due, which runs have in common: they do not reach exactly the same.

    Args:
        values: by the step that was reached.
        interval: between validations.
        total: at which training ends, always with a validation.
    """
    return {total if n >= total else max(1, n // interval) * interval: value for n, value in sorted(values.items())}


def score(values: Mapping[int, float], which: str, direction: str) -> float:
    """One number for a run: its last validation, the best one of those that are numbers, or the mean of all.

    Args:
        values: its validations by step, at least one.
        which: ``last``, ``best`` or ``mean``.
        direction: ``maximize`` or ``minimize``.
    """
    if which == "last":
        return values[max(values)]
    if which == "mean":
        return sum(values.values()) / len(values)
    numbers = [value for value in values.values() if not math.isnan(value)] or [math.nan]
    return max(numbers) if direction == "maximize" else min(numbers)

"""Reading ``evaluations.csv``: what the policy achieved in each evaluation episode."""

from __future__ import annotations

import csv
import math
from collections.abc import Collection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatColumn = NDArray[np.float64]


def read_evaluations(run_dir: Path, stream: str, only: Collection[str] | None = None) -> dict[str, FloatColumn]:
    """The rows of one stream as columns: ``step``, ``episode``, ``return``, ``length`` and the environment's metrics.

    An empty cell is NaN. A last line that a killed run left unfinished is ignored.

    Args:
        run_dir: directory of a run.
        stream: ``validation`` or ``test``.
        only: the columns to read, of those that there are; ``None`` for all.

    Raises:
        FileNotFoundError: the run has no ``evaluations.csv``.
        ValueError: a cell is not a number, or a line has the wrong number of cells.
    """
    path = run_dir / "evaluations.csv"
    reader = csv.reader(complete_lines(path))
    header = next(reader, [])
    at = header.index("stream") if "stream" in header else None
    places = [i for i, name in enumerate(header) if i != at and (only is None or name in only)]
    rows: list[list[float]] = []
    for cells in reader:
        if len(cells) != len(header):
            raise ValueError(f"{path}:{reader.line_num}: {len(cells)} cells instead of {len(header)}")
        if at is not None and cells[at] != stream:
            continue
        rows.append([_number(cells[i], path, reader.line_num) for i in places])
    table = np.array(rows, np.float64).reshape(len(rows), len(places))
    return {header[place]: table[:, i] for i, place in enumerate(places)}


def complete_lines(path: Path) -> list[str]:
    """The lines of a file but for one at its end that was not finished."""
    text = path.read_text(encoding="utf-8")
    return text[: text.rfind("\n") + 1].splitlines()


def _number(cell: str, path: Path, line: int) -> float:
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(f"{path}:{line}: {cell!r} is not a number") from error

"""Reading ``evaluations.csv``: what the policy achieved in each evaluation episode."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FloatColumn = NDArray[np.float64]


def read_evaluations(run_dir: Path, stream: str) -> dict[str, FloatColumn]:
    """The rows of one stream as columns: ``step``, ``episode``, ``return``, ``length`` and the environment's metrics.

    An empty cell is NaN. A last line that a killed run left unfinished is ignored.

    Args:
        run_dir: directory of a run.
        stream: ``validation`` or ``test``.

    Raises:
        FileNotFoundError: the run has no ``evaluations.csv``.
        ValueError: a cell is not a number, or a line has the wrong number of cells.
    """
    path = run_dir / "evaluations.csv"
    text = path.read_text(encoding="utf-8")
    complete = text[: text.rfind("\n") + 1]
    reader = csv.reader(complete.splitlines())
    header = next(reader, [])
    at = header.index("stream") if "stream" in header else None
    names = [name for name in header if name != "stream"]
    rows: list[list[float]] = []
    for cells in reader:
        if len(cells) != len(header):
            raise ValueError(f"{path}:{reader.line_num}: {len(cells)} cells instead of {len(header)}")
        if at is not None and cells[at] != stream:
            continue
        rows.append([_number(cell, f"{path}:{reader.line_num}") for i, cell in enumerate(cells) if i != at])
    table = np.array(rows, np.float64).reshape(len(rows), len(names))
    return {name: table[:, i] for i, name in enumerate(names)}


def _number(cell: str, where: str) -> float:
    if not cell:
        return math.nan
    try:
        return float(cell)
    except ValueError as error:
        raise ValueError(f"{where}: {cell!r} is not a number") from error

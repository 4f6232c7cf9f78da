"""What grid worlds share: cells as numbers, row by row from the upper left, and where moves lead."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..components.spec import BoolArray, FloatArray, IntArray

UP, DOWN, LEFT, RIGHT, STAY = range(5)
_STEPS = ((-1, 0), (1, 0), (0, -1), (0, 1), (0, 0))


class Grid(NamedTuple):
    """Tables of a grid with N = height x width cells.

    Attributes:
        height: number of rows.
        width: number of columns.
        target: ``[N, 5]`` the cell that a move (`UP` to `STAY`) leads to; a move into the wall leads nowhere.
        wall: ``[N, 5]`` which moves run into the wall.
        place: ``[N, 2]`` row and column of each cell, divided by the largest.
    """

    height: int
    width: int
    target: IntArray
    wall: BoolArray
    place: FloatArray

    @classmethod
    def of(cls, height: int, width: int) -> Grid:
        """The tables for these sizes.

        Raises:
            ValueError: the grid has fewer than two rows or columns.
        """
        if min(height, width) < 2:
            raise ValueError(f"a grid needs at least 2 rows and columns, got {height} x {width}")
        at = np.stack(np.divmod(np.arange(height * width), width), axis=-1)  # N 2
        largest = np.array([height - 1, width - 1])
        wanted = at[:, None] + np.array(_STEPS)  # N 5 2
        target = np.clip(wanted, 0, largest)
        return cls(
            height=height,
            width=width,
            target=target @ np.array([width, 1]),
            wall=(target != wanted).any(axis=-1),
            place=(at / largest).astype(np.float32),
        )

    def distance(self, one: IntArray, other: IntArray) -> IntArray:
        """Manhattan distance between cells."""
        (row, column), (other_row, other_column) = np.divmod(one, self.width), np.divmod(other, self.width)
        return np.abs(row - other_row) + np.abs(column - other_column)


def own_first(n_agents: int) -> IntArray:
    """``[A, A]``: for each agent itself, then the others in order."""
    return np.array([[i, *(j for j in range(n_agents) if j != i)] for i in range(n_agents)])

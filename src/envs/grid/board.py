"""A square board with a border for batched grid worlds: numbered cells, what is around them, different random cells."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Annotated

import numpy as np

from ...components.rng import UInt64Array, draw, uniform
from ...components.spec import BoolArray, FloatArray, IntArray
from ...ranges import Range
from ..contract.scene import Shape, Thing

Side = Annotated[int, Range(at_least=2, at_most=10_000)]
"""Cells per side of a board."""

STAY = 0
"""The action that does nothing; actions 1 to 4 move to the cells of `Board.around`."""


def own_first(n_agents: int) -> IntArray:
    """``[A, A]``: for each agent itself, then the others in order."""
    i, others = np.arange(n_agents)[:, None], np.arange(n_agents - 1)
    return np.hstack([i, others + (others >= i)])


@dataclass(frozen=True)
class Board:
    """A square of ``size × size`` cells inside a border, so that looking around a cell needs no test for the edge.

    A cell is one number, ``row * width + column`` with the border counted.

    Attributes:
        size: cells per side.
        margin: width of the border, at least 1.
    """

    size: int
    margin: int = 1

    @property
    def width(self) -> int:
        """Cells per side with the border."""
        return self.size + 2 * self.margin

    @property
    def n_cells(self) -> int:
        """Number of cells with those of the border."""
        return self.width**2

    @property
    def around(self) -> IntArray:
        """What is added to a cell to find the cells above, below, to its left and to its right ``[4]``."""
        return np.array([-self.width, self.width, -1, 1])

    @cached_property
    def inside(self) -> IntArray:
        """The cells that are not border, row by row ``[size * size]``."""
        return self.cell(*np.divmod(np.arange(self.size**2), self.size))

    @cached_property
    def is_border(self) -> BoolArray:
        """Whether a cell is border ``[n_cells]``."""
        border = np.ones(self.n_cells, np.bool_)
        border[self.inside] = False
        return border

    @cached_property
    def place(self) -> FloatArray:
        """Row and column of each cell, divided by the largest ``[n_cells, 2]``; from 0 to 1 inside."""
        return (np.stack(self.row_column(np.arange(self.n_cells)), axis=-1) / (self.size - 1)).astype(np.float32)

    def distance(self, one: IntArray, other: IntArray) -> IntArray:
        """Manhattan distance between cells."""
        (row, column), (other_row, other_column) = self.row_column(one), self.row_column(other)
        return np.abs(row - other_row) + np.abs(column - other_column)

    def cell(self, row: IntArray, column: IntArray) -> IntArray:
        """The cell in a row and column, which count from 0 without the border."""
        return (row + self.margin) * self.width + column + self.margin

    def row_column(self, cell: IntArray) -> tuple[IntArray, IntArray]:
        """The inverse of `cell`."""
        row, column = np.divmod(cell, self.width)
        return row - self.margin, column - self.margin

    def thing(self, cell: IntArray, label: str, color: str, shape: Shape = "disc") -> Thing:
        """What is shown in a cell of a scene."""
        row, column = self.row_column(cell)
        return Thing(int(row), int(column), label, color, shape)

    def random_cells(self, keys: UInt64Array, n: int) -> IntArray:
        """For each key ``n`` different cells that are not border, all choices equally likely ``[B, n]``.

        The first ``n`` cards of a shuffled pack (Fisher and Yates), draws 0 to n - 1 of each key.
        """
        pack = np.tile(self.inside, (len(keys), 1))
        every, turn = np.arange(len(keys)), np.arange(n)
        picks = turn + (uniform(draw(keys[:, None], turn)) * (self.size**2 - turn)).astype(np.int64)
        for i in range(n):
            picked = pack[every, picks[:, i]]
            pack[every, picks[:, i]] = pack[:, i]
            pack[:, i] = picked
        return pack[:, :n]

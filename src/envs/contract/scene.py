"""What can be seen of an environment: things on a grid, levels that change over time, or a ready picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Shape = Literal["disc", "square", "ring"]


class Thing(NamedTuple):
    """Something in a cell of a grid.

    Attributes:
        row: from the top.
        column: from the left.
        label: one or two characters that are shown in the cell.
        color: a color's name, as Matplotlib knows it.
        shape: ``disc`` for what acts, ``square`` for what is acted on, ``ring`` for a mark such as a goal.
    """

    row: int
    column: int
    label: str
    color: str
    shape: Shape = "disc"


@dataclass(frozen=True)
class GridScene:
    """A grid world at one moment.

    Attributes:
        height: number of rows.
        width: number of columns.
        things: what is on the grid; a later thing covers an earlier one.
        caption: one line about the moment.
    """

    height: int
    width: int
    things: tuple[Thing, ...]
    caption: str = ""


@dataclass(frozen=True)
class LevelScene:
    """Quantities whose course over an episode is worth a look, e.g. queue lengths.

    Attributes:
        names: of the quantities.
        values: of the quantities at one moment.
        unit: what they are, with the unit.
        time: the moment, in seconds.
        caption: one line about the moment.
    """

    names: tuple[str, ...]
    values: tuple[float, ...]
    unit: str
    time: float
    caption: str = ""


@dataclass(frozen=True, eq=False)
class PictureScene:
    """A picture that an environment draws itself.

    Attributes:
        pixels: ``[height, width, 3]`` uint8, red, green and blue.
        caption: one line about the moment.
    """

    pixels: NDArray[np.uint8]
    caption: str = ""


Scene = GridScene | LevelScene | PictureScene


@runtime_checkable
class Visible(Protocol):
    """An environment that can be looked at."""

    def scene(self, row: int) -> Scene:
        """What row ``row`` looks like now."""
        ...


def require_visible(env: object) -> Visible:
    """The environment, if it can be looked at.

    Raises:
        ValueError: it cannot.
    """
    if not isinstance(env, Visible):
        raise ValueError("this environment has no picture of itself (a method scene)")
    return env


TEAM_COLORS = ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple", "tab:brown", "tab:pink", "tab:olive")
"""Colors of the agents, in order; more agents start over."""


def team_color(agent: int) -> str:
    """The color of an agent."""
    return TEAM_COLORS[agent % len(TEAM_COLORS)]

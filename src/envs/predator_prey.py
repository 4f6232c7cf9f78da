"""Predators that must catch prey together: the stag hunt on which value factorization with a punishment fails."""

from __future__ import annotations

from itertools import product
from typing import Annotated, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..components.memory import require_memory
from ..components.rng import UInt64Array, derive, draw, uniform
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Count, Natural, Payoff, Range
from ..registry import register
from .contract.scene import GridScene, team_color
from .grid.board import STAY, Board, Side

CATCH = 5
_FREE, _TAKEN, _CATCHING = range(3)  # what a cell is to a prey beside it; the border is taken
_CODE = 3 ** np.arange(4)  # the four cells around a prey as one number
_WAYS = 12  # divisible by 1, 2, 3 and 4: a number below it chooses evenly among that many free cells
_PLACES, _TURNS = 1, 2  # what keys are derived for


@register("env")
class PredatorPrey:
    """Prey on a grid, 10 × 10 by default, that two predators catch together; one alone is punished for trying.

    The task is that of Böhmer et al. ("Deep Coordination Graphs", ICML 2020, relative overgeneralization) and Rashid et
    al. ("Weighted QMIX", NeurIPS 2020), with the rules of their public code. In each step

    1. the predators move, one after the other in random order. A move into a cell that is taken at that moment, by
       anyone, does nothing.
    2. the prey take turns in random order. A prey beside which (above, below, left, right) ``catchers`` or more
       predators chose to catch is captured: the team gets ``capture_reward``, and the prey and *all* these predators
       leave the grid. If they are fewer, but at least one, the team gets ``punishment``: once per prey that is tried,
       also if the other predator was used up by a capture earlier in the same step. A prey that is not captured moves
       to a free cell beside it, all equally likely, and stays only if there is none.

    Actions: 0 stay, 1 up, 2 down, 3 left, 4 right, 5 catch. Not available are moves off the grid (moves into taken
    cells are) and catching with no prey beside. A predator that left sees zeros and can only stay.

    An observation is the square of ``2 * view_radius + 1`` cells around the predator, row by row, with two numbers per
    cell: whether a predator (itself in the middle) and whether a prey is there; off the grid both are zero, and the
    position is not told. The state is the same two numbers for every cell. Episodes start with everyone in different
    cells, all choices equally likely. They terminate when all prey are captured or all predators have left, and are
    truncated at the limit: with 8 predators at most 4 captures, a return of 40, are possible; a single predator that is
    left over plays on. Metrics: ``captures`` and ``punishments`` so far.

    Differences to the public code, without effect on returns: the actions' order; no third number per cell for hares,
    of which this task has none; and an episode that a capture ends exactly at the limit counts as terminated.

    Args:
        agents: the number of agents asked for; ``None`` is 8.
        n_envs: B.
        size: cells per side.
        prey: number of prey.
        catchers: predators that a capture needs, 1 to 4.
        capture_reward: what the team gets for a capture.
        punishment: what the team gets, 0 or less, for trying with too few.
        view_radius: how far predators see to each side.
        episode_limit: steps after which an episode is truncated.

    Raises:
        ValueError: not everyone fits on the grid, or all of it not into memory.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        size: Side,
        prey: Count,
        catchers: Annotated[int, Range(at_least=1, at_most=4)],
        capture_reward: Payoff,
        punishment: Annotated[float, Range(at_least=-1e9, at_most=0)],
        view_radius: Natural,
        episode_limit: Count,
    ) -> None:
        n_agents = 8 if agents is None else agents
        if n_agents < 1:
            raise ValueError(f"agents must be at least 1, got {n_agents}")
        if n_agents + prey > size**2:
            raise ValueError(f"{n_agents} agents and {prey} prey do not fit on {size}×{size} cells; make size larger")
        self.n_envs = n_envs
        self.spec = EnvSpec(
            n_agents=n_agents,
            n_actions=6,
            obs_dim=2 * (2 * view_radius + 1) ** 2,
            state_dim=2 * size**2,
            episode_limit=episode_limit,
            metric_names=("captures", "punishments"),
            headline_metrics=("captures",),
        )
        self._n_prey, self._pay = prey, np.array([capture_reward, punishment])
        self._board = board = Board(size, margin=max(view_radius, 1) + 1)
        n_bytes = 60 * (n_envs + 1) * board.n_cells + 5 * TimeStep.n_bytes(self.spec, n_envs)
        require_memory(n_bytes, "the games played side by side", "make size or view_radius smaller")
        self._outcomes = _Outcomes.of(board, catchers)
        self._offset = np.array([0, *board.around, 0])  # U
        reach = np.arange(-view_radius, view_radius + 1)
        self._window = (reach[:, None] * board.width + reach).ravel()
        beside = np.arange(board.n_cells)[:, None] + board.around
        # Which moves lead from one cell of the board to another, cells 4; beyond the border nothing matters.
        self._moves = ~board.is_border[:, None] & ~board.is_border.take(beside, mode="clip")
        self._out = TimeStep.zeros(self.spec, n_envs)
        self._make_rows()

    def _make_rows(self) -> None:
        """Make the arrays of what changes in an episode; cells are numbered consecutively over all rows.

        Predators and prey that left the grid are put into a border cell that has only border around it. It is never
        free and nothing is beside it, so the rules need no mask for them.
        """
        board = self._board
        self._base = np.arange(self.n_envs)[:, None] * board.n_cells
        away = board.margin - 1
        self._away = self._base[:, 0] + away * board.width + away
        self._turns = np.zeros(self.n_envs, np.uint64)
        self._t = np.zeros(self.n_envs, np.int64)
        self._counts = np.zeros((self.n_envs, 2))
        self._predators = np.tile(self._away[:, None], self.spec.n_agents)
        self._prey = np.tile(self._away[:, None], self._n_prey)
        self._cells = np.tile(np.where(board.is_border, _TAKEN, _FREE), self.n_envs)
        self._seen = np.zeros((self.n_envs * board.n_cells, 2), np.float32)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes; see `VectorEnv.reset`."""
        n_agents = self.spec.n_agents
        rows = np.flatnonzero(where)
        cells = self._board.random_cells(derive(seeds[rows], _PLACES), n_agents + self._n_prey)
        self._turns[rows] = derive(seeds[rows], _TURNS)
        self._place(rows, cells[:, :n_agents], cells[:, n_agents:])
        return self._observe(where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """One action of each predator, then the prey's turns, in the active rows; see `VectorEnv.step`."""
        rows = np.flatnonzero(active)
        n_agents, n_prey = self.spec.n_agents, self._n_prey
        n_draws = n_agents + 2 * n_prey
        bits = draw(self._turns[rows, None], self._t[rows, None] * n_draws + np.arange(n_draws))
        first, second, way = np.split(bits, [n_agents, n_agents + n_prey], axis=1)
        self._move_predators(rows, actions[rows], first.argsort(axis=1))
        events = self._move_prey(rows, second.argsort(axis=1), (uniform(way) * _WAYS).astype(np.int64))
        self._t[rows] += 1
        self._counts[rows] += events
        out = self._observe(active)
        gone = [(who == self._away[:, None]).all(axis=1) for who in (self._predators, self._prey)]
        out.terminated[:] = active & (gone[0] | gone[1])
        out.truncated[:] = active & ~out.terminated & (self._t == self.spec.episode_limit)
        out.reward[rows] = events @ self._pay
        out.metrics[rows] = self._counts[rows]
        return out

    def close(self) -> None:
        """Nothing to release."""

    def scene(self, row: int) -> GridScene:
        """The predators, numbered, and the prey that are left."""
        board, base, away = self._board, self._base[row, 0], self._away[row]
        prey, predators = self._prey[row], self._predators[row]
        things = [board.thing(prey[j] - base, str(j), "tab:gray", "square") for j in np.flatnonzero(prey != away)]
        for i in np.flatnonzero(predators != away).tolist():
            things.append(board.thing(predators[i] - base, str(i), team_color(i)))
        captures, punishments = self._counts[row]
        caption = f"step {self._t[row]}, {captures:.0f} captures, {punishments:.0f} punishments"
        return GridScene(board.size, board.size, tuple(things), caption)

    def _place(self, rows: IntArray, predators: IntArray, prey: IntArray) -> None:
        """Begin episodes in ``rows`` with these cells of the board taken, ``[rows, A]`` and ``[rows, prey]``."""
        self._t[rows], self._counts[rows] = 0, 0
        for who, cells in ((self._predators, predators), (self._prey, prey)):
            self._cells[who[rows]] = _FREE
            who[rows] = self._base[rows] + cells
        self._cells[self._away[rows]] = _TAKEN
        for who in (self._predators, self._prey):
            self._cells[who[rows]] = _TAKEN

    def _move_predators(self, rows: IntArray, actions: IntArray, order: IntArray) -> None:
        """Move the predators of ``rows``, each row in its order, and mark where they try to catch."""
        here = self._predators[rows[:, None], order].T.copy()  # turns rows
        chosen = np.take_along_axis(actions, order, axis=1).T
        offset, mark = self._offset.take(chosen), np.where(chosen == CATCH, _CATCHING, _TAKEN)
        for turn in range(len(here)):
            there = here[turn] + offset[turn]
            there = np.where(self._cells.take(there) == _FREE, there, here[turn])
            self._cells[here[turn]] = _FREE
            self._cells[there] = mark[turn]
            here[turn] = there
        self._predators[rows[:, None], order] = here.T

    def _move_prey(self, rows: IntArray, order: IntArray, way: IntArray) -> NDArray[np.float64]:
        """Capture or move the prey of ``rows``, each row in its order; captures and punishments ``[rows, 2]``."""
        here = self._prey[rows[:, None], order].T.copy()  # turns rows
        around = self._board.around[:, None]
        events = np.zeros((len(rows), 2))
        for turn, way_now in enumerate(way.T):
            code = _CODE @ self._cells.take(here[turn] + around)
            there = here[turn] + self._outcomes.moves.take(code * _WAYS + way_now)
            self._cells[here[turn]] = _FREE
            self._cells[there] = _TAKEN
            tried = np.flatnonzero(self._outcomes.events.take(code))
            if tried.size:
                captured = self._outcomes.captures.take(code[tried])
                events[tried, np.where(captured, 0, 1)] += 1
                at = tried[captured]
                self._capture(rows[at], there[at])
                there[at] = self._away[rows[at]]
            here[turn] = there
        self._prey[rows[:, None], order] = here.T
        return events

    def _capture(self, rows: IntArray, prey: IntArray) -> None:
        """Take the prey in these cells, one per row, and those who caught them off the grid."""
        beside = prey[:, None] + self._board.around  # rows 4
        caught_by = self._cells.take(beside) == _CATCHING
        self._cells[prey] = _FREE
        self._cells[beside[caught_by]] = _FREE
        predators = self._predators[rows]
        # Cells of predators that are still there are never free.
        self._predators[rows] = np.where(self._cells.take(predators) == _FREE, self._away[rows, None], predators)

    def _observe(self, where: BoolArray) -> TimeStep:
        out, board = self._out, self._board
        self._seen[:] = 0
        for kind, who in enumerate((self._predators, self._prey)):
            self._seen[who, kind] = 1
        self._seen[self._away] = 0
        inner = slice(board.margin, board.margin + board.size)
        squares = self._seen.reshape(self.n_envs, board.width, board.width, 2)
        out.state.reshape(self.n_envs, board.size, board.size, 2)[:] = squares[:, inner, inner]
        there = self._predators != self._away[:, None]
        window = self._seen.view(np.complex64)[:, 0].take(self._predators[..., None] + self._window)  # both numbers
        np.multiply(window.view(np.float32), there[..., None], out=out.obs)
        out.avail[..., STAY] = True
        out.avail[..., 1:CATCH] = self._moves.take(self._predators - self._base, axis=0)
        prey_beside = self._seen[:, 1].take(self._predators[..., None] + board.around)
        out.avail[..., CATCH] = prey_beside.any(axis=-1)
        for ending in (out.reward, out.terminated, out.truncated, out.metrics):
            ending[:] = 0
        return out.only(where)


class _Outcomes(NamedTuple):
    """What happens to a prey, by the code of the four cells around it.

    Attributes:
        events: whether it is captured or tried by too few ``[codes]``.
        captures: whether it is captured ``[codes]``.
        moves: what is added to its cell ``[codes * _WAYS]``, by code and random number.
    """

    events: BoolArray
    captures: BoolArray
    moves: IntArray

    @classmethod
    def of(cls, board: Board, catchers: int) -> _Outcomes:
        around = np.array(list(product(range(3), repeat=4)))[:, ::-1]  # the first cell has the smallest weight
        n_catching = (around == _CATCHING).sum(axis=1)
        captures = n_catching >= catchers
        moves = np.zeros((len(around), _WAYS), np.int64)
        for code, cells in enumerate(around):
            free = board.around[cells == _FREE]
            if free.size and not captures[code]:
                moves[code] = free[np.arange(_WAYS) % free.size]
        return cls(n_catching > 0, captures, moves.ravel())

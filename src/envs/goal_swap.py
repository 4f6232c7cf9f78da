"""Agents on a grid whose ways to their corners cross those of the others."""

from __future__ import annotations

import numpy as np

from ..components.memory import require_memory
from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Count
from ..registry import register
from .contract.scene import GridScene, team_color
from .grid.board import Board, Side, own_first

_WALL_COST = 0.5
_BOUNCE_COST = 0.5
_STEP_COST = 0.05
_DISTANCE_COST = 0.1
_HOME_REWARD = 10.0


@register("env")
class GoalSwap:
    """A square grid on whose edge the agents start, evenly spread, each with a goal one side further on.

    The edge is followed downwards from the upper left corner, so two agents start in (0, 0) and in the opposite
    corner, with the lower left and the upper right corner as goals; four agents each have the next one's start as goal.

    Actions are up, down, left, right. A move into the wall leads nowhere and costs 0.5. Agents that would share a cell
    bounce back to where they were, at 0.5 for each that had moved; this is repeated until all cells differ. Two
    agents may exchange their cells, which costs nothing: only sharing one counts. An agent that has reached its goal
    stays there with every action. When all are at their goals the team gets 10 and the episode
    terminates; every other step costs 0.05, 0.1 times the sum of the Manhattan distances that remain, and the costs
    above. With two agents on 5 x 5 the best return is 8.65, in 4 steps.

    Observation: own row and column, those of the others in order, the own goal's; state: row and column of all agents,
    then of all goals. Rows and columns are divided by ``size - 1``. The metric ``home`` is 1 at the end of an episode
    in which all agents reached their goals.

    Args:
        agents: the number of agents asked for; ``None`` is 2.
        n_envs: B.
        size: rows and columns of the grid.
        episode_limit: steps after which an episode is truncated.

    Raises:
        ValueError: more agents than cells on the edge, or all of it does not fit into memory.
    """

    def __init__(self, agents: int | None, n_envs: int, *, size: Side, episode_limit: Count) -> None:
        a = 2 if agents is None else agents
        self._board = Board(size)
        n_bytes = 40 * (a + 1) * self._board.n_cells + (n_envs + 10) * 4 * a**2
        require_memory(n_bytes, "the games played side by side", "make size smaller")
        edge = _edge(self._board)
        if not 1 <= a <= len(edge):
            raise ValueError(f"agents={a}, but a grid of size {size} has room for 1 to {len(edge)} on its edge")
        start = np.arange(a) * len(edge) // a
        self._start, self._goal = edge[start], edge[(start + size - 1) % len(edge)]
        self._order, self._offset = own_first(a), self._board.around
        # Of every agent from every cell, agent after agent.
        self._distance = self._board.distance(np.arange(self._board.n_cells), self._goal[:, None]).ravel()
        self._first_distance = np.arange(a) * self._board.n_cells
        self.n_envs = n_envs
        self.spec = EnvSpec(
            n_agents=a,
            n_actions=4,
            obs_dim=2 * a + 2,
            state_dim=4 * a,
            episode_limit=episode_limit,
            metric_names=("home",),
            headline_metrics=("home",),
        )
        self._cell = np.tile(self._start, (n_envs, 1))  # B A
        self._t = np.zeros(n_envs, np.int64)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes; the task has no randomness, so the seeds change nothing."""
        self._cell[where], self._t[where] = self._start, 0
        return self._observe().only(where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Move in the active rows."""
        offset = self._offset.take(actions, mode="clip")  # of rows that are not active actions may be anything
        wanted = self._cell + offset * (self._cell != self._goal)
        wall = self._board.is_border.take(wanted)
        cell, bounced = _bounce(self._cell, np.where(wall, self._cell, wanted))
        cost = _WALL_COST * wall.sum(axis=1) + _BOUNCE_COST * bounced
        np.copyto(self._cell, cell, where=active[:, None])
        self._t += active
        distance = self._distance.take(self._cell + self._first_distance).sum(axis=1)
        home = distance == 0
        out = self._observe()
        out.reward[:] = np.where(home, _HOME_REWARD, -_STEP_COST - _DISTANCE_COST * distance - cost)
        out.terminated[:] = home
        out.truncated[:] = ~home & (self._t >= self.spec.episode_limit)
        out.metrics[:, 0] = home
        return out.only(active)

    def close(self) -> None:
        """Nothing to release."""

    def scene(self, row: int) -> GridScene:
        """Agents as discs, goals as rings of the same color."""
        board = self._board
        goals = [board.thing(cell, str(i), team_color(i), "ring") for i, cell in enumerate(self._goal)]
        agents = [board.thing(cell, str(i), team_color(i)) for i, cell in enumerate(self._cell[row])]
        return GridScene(board.size, board.size, (*goals, *agents), f"step {self._t[row]}")

    def _observe(self) -> TimeStep:
        out = TimeStep.zeros(self.spec, self.n_envs)
        b, a = self._cell.shape
        place, goal = self._board.place.take(self._cell, axis=0), self._board.place[self._goal]
        out.obs[:, :, : 2 * a] = place.take(self._order, axis=1).reshape(b, a, 2 * a)
        out.obs[:, :, 2 * a :] = goal
        out.state[:, : 2 * a] = place.reshape(b, 2 * a)
        out.state[:, 2 * a :] = goal.ravel()
        out.avail[:] = True
        return out


def _edge(board: Board) -> IntArray:
    """The cells along the edge, from the upper left corner downwards and around."""
    last, line = board.size - 1, np.arange(board.size - 1)
    first, end = np.zeros(last, np.int64), np.full(last, last)
    rows, columns = [line, end, last - line, first], [first, line, end, last - line]
    return board.cell(np.concatenate(rows), np.concatenate(columns))


def _bounce(old: IntArray, new: IntArray) -> tuple[IntArray, IntArray]:
    """Cells ``[B, A]`` with nobody in one cell, and how many agents bounced ``[B]``.

    An agent that is sent back may meet one that was moving there, hence the repetition; all cells were different.
    """
    bounced = np.zeros(len(old), np.int64)
    others = ~np.eye(old.shape[1], dtype=np.bool_)
    while True:
        meeting = ((new[:, :, None] == new[:, None, :]) & others).any(axis=2) & (new != old)
        if not meeting.any():
            return new, bounced
        bounced += meeting.sum(axis=1)
        new = np.where(meeting, old, new)

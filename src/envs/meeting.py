"""Agents that must stand on one cell at the same moment."""

from __future__ import annotations

import numpy as np

from ..components.memory import require_memory
from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Count
from ..registry import register
from .contract.scene import GridScene, team_color
from .grid.board import Board, Side, own_first

_MEETING_REWARD = 10.0
_STEP_COST = 0.01


@register("env")
class Meeting:
    """A square grid with a goal that pays 10 as soon as all agents stand on it at once, which ends the episode.

    Actions are up, down, left, right, stay; a move into the wall leads nowhere, agents may share a cell. Every step but
    the last costs 0.01. The goal and the agents' starts, all different cells, are drawn anew for each episode.

    Observation: own row and column, with ``observe_others`` those of the others in order, the goal's; state: row and
    column of all agents, then of the goal. Rows and columns are divided by ``size - 1``. The metric ``success`` is 1 at
    the end of an episode in which the agents met.

    Args:
        agents: the number of agents asked for; ``None`` is 2.
        n_envs: B.
        size: rows and columns of the grid.
        episode_limit: steps after which an episode is truncated.
        observe_others: whether agents see each other.

    Raises:
        ValueError: more agents than cells, or all of it does not fit into memory.
    """

    def __init__(
        self, agents: int | None, n_envs: int, *, size: Side, episode_limit: Count, observe_others: bool
    ) -> None:
        a = 2 if agents is None else agents
        self._board = Board(size)
        self._offset = np.append(self._board.around, 0)  # U
        if not 1 <= a < size**2:
            raise ValueError(f"agents={a}, but a grid of size {size} has room for 1 to {size**2 - 1} besides the goal")
        n_bytes = 40 * (n_envs + 1) * self._board.n_cells + (n_envs + 2) * 8 * a**2
        require_memory(n_bytes, "the games played side by side", "make size smaller")
        self._seen = own_first(a)[:, : a if observe_others else 1]
        self.n_envs = n_envs
        self.spec = EnvSpec(
            n_agents=a,
            n_actions=5,
            obs_dim=2 * self._seen.shape[1] + 2,
            state_dim=2 * a + 2,
            episode_limit=episode_limit,
            metric_names=("success",),
            headline_metrics=("success",),
        )
        self._cell = np.full((n_envs, a + 1), self._board.inside[0])  # the last is the goal
        self._t = np.zeros(n_envs, np.int64)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes with a goal and starts that derive from the seeds."""
        self._cell[where] = self._board.random_cells(seeds[where], self.spec.n_agents + 1)
        self._t[where] = 0
        return self._observe().only(where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Move in the active rows."""
        actions = np.where(active[:, None], actions, 0)
        agents, goal = self._cell[:, :-1], self._cell[:, -1:]
        wanted = agents + self._offset[actions]
        np.copyto(agents, wanted, where=active[:, None] & ~self._board.is_border[wanted])
        self._t += active
        met = (agents == goal).all(axis=1)
        out = self._observe()
        out.reward[:] = np.where(met, _MEETING_REWARD, -_STEP_COST)
        out.terminated[:] = met
        out.truncated[:] = ~met & (self._t >= self.spec.episode_limit)
        out.metrics[:, 0] = met
        return out.only(active)

    def close(self) -> None:
        """Nothing to release."""

    def scene(self, row: int) -> GridScene:
        """Agents as discs, the goal as a ring."""
        board, (*agents, goal) = self._board, self._cell[row]
        discs = [board.thing(cell, str(i), team_color(i)) for i, cell in enumerate(agents)]
        things = (board.thing(goal, "G", "black", "ring"), *discs)
        return GridScene(board.size, board.size, things, f"step {self._t[row]}")

    def _observe(self) -> TimeStep:
        out = TimeStep.zeros(self.spec, self.n_envs)
        b, a, seen = self.n_envs, self.spec.n_agents, 2 * self._seen.shape[1]
        place = self._board.place[self._cell]  # B A+1 2
        out.obs[:, :, :seen] = place[:, self._seen].reshape(b, a, seen)
        out.obs[:, :, seen:] = place[:, -1:]
        out.state[:] = place.reshape(b, -1)
        out.avail[:] = True
        return out

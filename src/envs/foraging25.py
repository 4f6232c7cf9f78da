"""Foraging on a large grid with narrow views: agents share the work of collecting a few foods."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np

from ..components.memory import require_memory
from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, FloatArray, IntArray, TimeStep
from ..ranges import Count, Range
from ..registry import register
from .contract.scene import GridScene, team_color
from .contract.team_reward import Reward, of_team
from .grid.board import STAY, Board, Side

Start = Literal["random", "fixed"]

COLLECT = 5
_X, _Y, _LEVEL = range(3)


@register("env")
class Foraging25:
    """Agents walk over a grid, 25 × 25 by default, and take foods, all of level 1 like themselves.

    Actions: 0 nothing, 1 up, 2 down, 3 left, 4 right, 5 collect. A move onto a food takes it, and so does collecting
    next to it (above, below, left, right). Not available are moves off the grid or into a cell that another agent is in
    now, which rules out swaps, and collecting where there is no food. In a step the agents act in the order of their
    numbers; so of two that move to the same cell the first moves and the other stays, of two that collect the same food
    the first gets it, and one that collects next to several foods takes that with the smallest number.

    Taking a food pays the agent 1. An episode terminates with the last food; at the limit it is truncated, which costs
    every agent ``penalty`` for each food left. The metric ``collected`` is the share of the foods taken.

    Agents and foods are shown as (x, y, level): column and row divided by ``size - 1``, and 1; a taken food is three
    zeros. An observation ``[6 + 3 * foods]`` is the agent itself, one other agent, and as many slots as there are
    foods. Agents 0 and 1 see one another, agent i ≥ 2 sees agent i - 2 (of four: 1, 0, 0, 1); a single agent sees
    zeros. The first ``visible_foods`` slots of agent i hold the foods i, i + 1, ..., counted modulo their number; the
    others are zero. The state is all agents and all foods.

    Starts: ``random`` puts agents and foods into different cells, all choices equally likely; ``fixed`` spaces the
    agents evenly along the edge of the grid, clockwise from the top left corner, and the foods in the same way along
    the square a quarter of the size further in.

    Args:
        agents: the number of agents asked for; ``None`` is 4.
        n_envs: B.
        size: cells per side.
        foods: number of foods.
        visible_foods: how many of them an agent sees.
        start: where an episode starts.
        penalty: what each agent loses for each food left at the limit.
        reward: the team's reward: ``sum`` or ``mean`` over the agents; ``individual``: one reward per agent.
        episode_limit: steps after which an episode is truncated.

    Raises:
        ValueError: agents and foods do not fit on the grid, or all of it not into memory.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        size: Side,
        foods: Count,
        visible_foods: Count,
        start: Start,
        penalty: Annotated[float, Range(at_least=0, at_most=1e9)],
        reward: Reward,
        episode_limit: Count,
    ) -> None:
        n_agents = 4 if agents is None else agents
        _check(n_agents, size, foods, visible_foods)
        self._board = Board(size, margin=1)
        self._fixed = _fixed_start(self._board, n_agents, foods) if start == "fixed" else None
        self._n_foods, self._penalty, self._reward = foods, penalty, reward
        self.n_envs = n_envs
        self.spec = EnvSpec(
            n_agents=n_agents,
            n_actions=6,
            obs_dim=6 + 3 * foods,
            state_dim=3 * (n_agents + foods),
            episode_limit=episode_limit,
            metric_names=("collected",),
            headline_metrics=("collected",),
            individual_rewards=reward == "individual",
        )
        n_bytes = 60 * (n_envs + 1) * self._board.n_cells + 3 * TimeStep.n_bytes(self.spec, n_envs)
        require_memory(n_bytes, "the games played side by side", "make size or foods smaller")
        self._out = TimeStep.zeros(self.spec, n_envs)
        self._shown = _shown(n_agents, foods, visible_foods)
        row, column = self._board.row_column(np.arange(self._board.n_cells))
        self._xy = (np.stack([column, row], axis=-1) / (size - 1)).astype(np.float32)  # cells 2
        self._offset = np.array([0, *self._board.around, 0])  # U
        self._make_rows()

    def _make_rows(self) -> None:
        """Make the arrays of what changes in an episode; cells are numbered consecutively over all rows."""
        n_agents, n_cells, every = self.spec.n_agents, self._board.n_cells, np.arange(self.n_envs)
        self._rows = every
        self._base = every[:, None] * n_cells  # the first cell of each row: border, never used
        self._t = np.zeros(self.n_envs, np.int64)
        self._cells = np.tile(self._base, n_agents)
        # The extra food stands for none: in a cell that nobody reaches, shown as zeros.
        self._food_cells = np.tile(self._base, self._n_foods + 1)
        self._things = np.zeros((self.n_envs, n_agents + self._n_foods + 1, 3), np.float32)
        self._blocked = np.tile(self._board.is_border, self.n_envs)
        self._food_at = np.full(self.n_envs * n_cells, self._n_foods)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes; see `VectorEnv.reset`."""
        n_agents = self.spec.n_agents
        rows = np.flatnonzero(where)
        if self._fixed is None:
            cells = self._board.random_cells(seeds[rows], n_agents + self._n_foods)
        else:
            cells = np.tile(self._fixed, (len(rows), 1))
        self._place(rows, cells[:, :n_agents], cells[:, n_agents:])
        return self._observe(where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """One action of each agent in the active rows; see `VectorEnv.step`."""
        earned = self._act(np.where(active[:, None], actions, STAY))
        self._t += active
        out = self._observe(active)
        n_left = self._things[:, self.spec.n_agents :, _LEVEL].sum(axis=1)
        np.equal(n_left, 0, out=out.terminated, where=active)
        np.logical_and(active & ~out.terminated, self._t == self.spec.episode_limit, out=out.truncated)
        earned -= (self._penalty * n_left * out.truncated)[:, None]
        out.reward[:] = of_team(earned, self._reward)
        out.metrics[active, 0] = 1 - n_left[active] / self._n_foods
        return out

    def close(self) -> None:
        """Nothing to release."""

    def scene(self, row: int) -> GridScene:
        """The agents, numbered, and the foods that are left."""
        board, base = self._board, self._base[row, 0]
        level = self._things[row, self.spec.n_agents :, _LEVEL]
        foods, agents = self._food_cells[row] - base, self._cells[row] - base
        things = [board.thing(foods[k], str(k), "tab:green", "square") for k in np.flatnonzero(level)]
        things += [board.thing(cell, str(i), team_color(i)) for i, cell in enumerate(agents)]
        caption = f"step {self._t[row]}, {np.count_nonzero(level)} of {self._n_foods} foods left"
        return GridScene(board.size, board.size, tuple(things), caption)

    def _place(self, rows: IntArray, agents: IntArray, foods: IntArray) -> None:
        """Begin episodes in ``rows`` with agents and foods in these cells of the board, ``[rows, A]`` and foods."""
        n_agents = agents.shape[1]
        self._t[rows] = 0
        self._blocked[self._cells[rows]] = False
        self._food_at[self._food_cells[rows]] = self._n_foods
        self._blocked[self._base[rows, 0]] = True  # where the agents of a new environment were
        self._cells[rows] = self._base[rows] + agents
        self._food_cells[rows, :-1] = self._base[rows] + foods
        self._blocked[self._cells[rows]] = True
        self._food_at[self._food_cells[rows, :-1]] = np.arange(self._n_foods)
        self._things[rows, n_agents:-1, :_LEVEL] = self._xy[foods]
        self._things[rows, :-1, _LEVEL] = 1

    def _act(self, actions: IntArray) -> FloatArray:
        """Let all agents act, in order; what each took ``[B, A]``."""
        left = self._cells.copy()
        taken = np.empty(actions.shape, np.float32)
        for agent in range(self.spec.n_agents):
            taken[:, agent] = self._act_one(agent, actions[:, agent])
        self._blocked[left] = False  # only now, so that nobody follows into a cell that was not free before
        self._blocked[self._cells] = True
        return taken

    def _act_one(self, agent: int, action: IntArray) -> BoolArray:
        """Move one agent, or let it collect; whether it took a food ``[B]``."""
        here = self._cells[:, agent]
        there = here + self._offset.take(action)
        there = np.where(self._blocked.take(there), here, there)  # its own cell is blocked, too
        self._blocked[there] = True
        beside = self._food_at.take(here + self._board.around[:, None]).min(axis=0)
        food = np.where(action == COLLECT, beside, self._food_at.take(there))
        self._cells[:, agent] = there
        self._food_at[self._food_cells[self._rows, food]] = self._n_foods
        self._things[self._rows, self.spec.n_agents + food] = 0
        return food < self._n_foods

    def _observe(self, where: BoolArray) -> TimeStep:
        out, n_agents = self._out, self.spec.n_agents
        self._things[:, :n_agents, :_LEVEL] = self._xy.take(self._cells - self._base, axis=0)
        out.state[:] = self._things[:, :-1].reshape(self.n_envs, -1)
        out.obs[:] = self._things.take(self._shown, axis=1).reshape(out.obs.shape)
        around = self._cells[..., None] + self._board.around  # B A 4
        out.avail[..., STAY] = True
        np.logical_not(self._blocked.take(around), out=out.avail[..., 1:COLLECT])
        np.less(self._food_at.take(around).min(axis=-1), self._n_foods, out=out.avail[..., COLLECT])
        for ending in (out.reward, out.terminated, out.truncated, out.metrics):
            ending[:] = 0
        return out.only(where)


def _check(n_agents: int, size: int, foods: int, visible_foods: int) -> None:
    if n_agents < 1:
        raise ValueError(f"agents must be at least 1, got {n_agents}")
    if visible_foods > foods:
        raise ValueError(f"visible_foods={visible_foods} must not be above foods={foods}")
    if n_agents + foods > size**2:
        raise ValueError(f"{n_agents} agents and {foods} foods do not fit on {size}×{size} cells; make size larger")


def _shown(n_agents: int, foods: int, visible_foods: int) -> IntArray:
    """What each agent's observation is made of: numbers of agents, then of foods, the one after the last is zeros."""
    nothing = n_agents + foods
    shown = np.full((n_agents, 2 + foods), nothing)
    for agent in range(n_agents):
        neighbor = agent - 2 if agent >= 2 else 1 - agent
        shown[agent, 0] = agent
        shown[agent, 1] = neighbor if neighbor < n_agents else nothing
        shown[agent, 2 : 2 + visible_foods] = n_agents + (agent + np.arange(visible_foods)) % foods
    return shown


def _fixed_start(board: Board, n_agents: int, foods: int) -> IntArray:
    """Cells of agents and foods, each evenly along the edge of a square."""
    inset = board.size // 4
    if inset < 1 or max(n_agents, foods) > 4 * (board.size - 2 * inset - 1):
        raise ValueError(
            f"start=fixed has no room for {n_agents} agents and {foods} foods on {board.size}×{board.size} cells; make "
            "size larger or choose start=random"
        )
    return np.concatenate([_along_edge(board, 0, n_agents), _along_edge(board, inset, foods)])


def _along_edge(board: Board, inset: int, n: int) -> IntArray:
    """``n`` cells along the edge of the square ``inset`` cells inside the board, clockwise from its top left corner."""
    last = board.size - 1 - 2 * inset
    place = np.arange(n) * 4 * last // n
    column = np.clip(np.minimum(place, 3 * last - place), 0, last)
    row = np.clip(np.minimum(place - last, 4 * last - place), 0, last)
    return board.cell(row + inset, column + inset)

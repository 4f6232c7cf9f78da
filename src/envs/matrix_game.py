"""Small games given by payoff tables, for which the right answer is known."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray

from ..components.rng import UInt64Array
from ..components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..ranges import Range
from ..registry import register

_END = -1
_LARGEST = 1e9  # its square still is a number of 32 bits


@register("env")
class MatrixGame:
    """A team game on a few states: each joint action pays what the state's table says and leads to the next state.

    Covers the one-step games (climbing, penalty, the QTRAN game), their repetition over several steps, and games such
    as the two-step game of the QMIX paper (Rashid et al., ICML 2018, section 5). The payoffs nest once per agent, so a
    table of tables of lists is a game of three agents. Agents may have different numbers of actions.

    The observation of every agent, and the state alike: the current state, one-hot, then (see ``observe_step``) the
    step, one-hot; the state's part is zero when the game is over. Every episode ends with ``terminated``. The metric
    ``optimal`` is 1 at the end of an episode that collected the largest possible sum of payoffs.

    Args:
        agents: the number of agents asked for; ``None`` is what the payoffs are made for.
        n_envs: B.
        payoffs: ``payoffs[u_0][u_1]`` is what the team gets for the joint action (u_0, u_1). With ``next_state``: one
            such table per state, the game starts in the first.
        next_state: for each state the number of the state that follows: one number, or a table like the payoffs with
            one number per joint action; -1 ends the episode. ``None``: there is one state, and it repeats.
        steps: the largest number of joint actions in an episode.
        observe_step: whether a game of more than one step shows the step.
        individual_rewards: give every agent its own copy of the payoff instead of one common reward.

    Raises:
        ValueError: the tables do not fit together, or are not for ``agents`` agents.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        payoffs: list[Any],
        next_state: list[Any] | None,
        steps: Annotated[int, Range(at_least=1, at_most=1_000)],
        observe_step: bool,
        individual_rewards: bool,
    ) -> None:
        self._payoffs = _payoff_tables(payoffs, one_state=next_state is None)
        self._following = _state_tables([0] if next_state is None else next_state, self._payoffs.shape)
        self._best = _best_return(self._payoffs, self._following, steps)
        n_states, sizes = len(self._payoffs), self._payoffs.shape[1:]
        if agents not in (None, len(sizes)):
            raise ValueError(
                f"agents={agents}, but the payoffs are for {len(sizes)} agents (they nest {len(sizes)} times)"
            )
        shown_steps = steps if observe_step and steps > 1 else 0
        self.n_envs = n_envs
        self.spec = EnvSpec(
            n_agents=len(sizes),
            n_actions=max(sizes),
            obs_dim=n_states + shown_steps,
            state_dim=n_states + shown_steps,
            episode_limit=steps,
            metric_names=("optimal",),
            headline_metrics=("optimal",),
            individual_rewards=individual_rewards,
        )
        self._avail = np.arange(max(sizes)) < np.array(sizes)[:, None]  # A U
        self._state_rows = np.eye(n_states + 1, n_states, dtype=np.float32)  # the extra row, also number -1, is zero
        self._step_rows = np.eye(steps + 1, shown_steps, dtype=np.float32)
        self._state = np.zeros(n_envs, np.int64)
        self._step = np.zeros(n_envs, np.int64)
        self._return = np.zeros(n_envs)

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes; the game has no randomness, so the seeds change nothing."""
        self._state[where], self._step[where], self._return[where] = 0, 0, 0.0
        return self._observe(where)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Give the payoffs and go to the next states in the active rows."""
        played = (self._state[active], *actions[active].T)
        payoff = self._payoffs[played]
        self._state[active] = self._following[played]
        self._step[active] += 1
        self._return[active] += payoff
        over = active & ((self._state == _END) | (self._step == self.spec.episode_limit))
        self._state[over] = _END
        out = self._observe(active)
        out.reward[active] = payoff[:, None] if self.spec.individual_rewards else payoff
        out.terminated[:] = over
        out.metrics[:, 0] = over & np.isclose(self._return, self._best)
        return out

    def close(self) -> None:
        """Nothing to release."""

    def _observe(self, where: BoolArray) -> TimeStep:
        out = TimeStep.zeros(self.spec, self.n_envs)
        out.state[where] = np.hstack([self._state_rows[self._state[where]], self._step_rows[self._step[where]]])
        out.obs[:] = out.state[:, None]
        out.avail[where] = self._avail
        return out


def _payoff_tables(tables: list[Any], *, one_state: bool) -> NDArray[np.float64]:
    """One axis for the states, then one per agent."""
    try:
        payoffs = np.array([tables] if one_state else tables, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"payoffs must be tables of numbers, all of the same size, got {tables}") from error
    if payoffs.ndim < 3 or payoffs.size == 0:
        raise ValueError(
            "payoffs must nest once per agent, of which there are two or more, and with next_state once more for the "
            f"states; got {tables}"
        )
    if not (np.abs(payoffs) <= _LARGEST).all():
        raise ValueError(f"payoffs must be numbers from -{_LARGEST:,.0f} to {_LARGEST:,.0f}, got {tables}")
    return payoffs


def _state_tables(tables: list[Any], shape: tuple[int, ...]) -> IntArray:
    """What `next_state` says, spelled out per joint action: same shape as the payoffs."""
    if len(tables) != shape[0]:
        raise ValueError(f"next_state is for {len(tables)} states, payoffs for {shape[0]}")
    try:
        following = np.stack([np.broadcast_to(np.array(table), shape[1:]) for table in tables])
    except ValueError as error:
        raise ValueError(f"each entry of next_state must be a number or have the shape {list(shape[1:])}") from error
    if following.dtype.kind != "i" or following.min() < _END or following.max() >= shape[0]:
        raise ValueError(f"next_state must hold whole numbers from -1 (the end) to {shape[0] - 1}, got {tables}")
    return following.astype(np.int64)


def _best_return(payoffs: NDArray[np.float64], following: IntArray, steps: int) -> float:
    """The largest sum of payoffs within ``steps`` joint actions from state 0, by dynamic programming."""
    value = np.zeros(len(payoffs) + 1)  # the extra entry, also number -1, is the end
    for _ in range(steps):
        value[:-1] = (payoffs + value[following]).reshape(len(payoffs), -1).max(axis=1)
    return float(value[0])

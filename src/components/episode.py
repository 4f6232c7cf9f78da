"""Batches of episodes: what runners hand to replay and learners.

Axes, always in this order, features last: B batch (environments or episodes), T time, A agents, U actions,
O observation, S state, H hidden, V value (1 when mixed, A when not). A shape comment reads ``# B T+1 A U``.

An episode of length L has L actions, L rewards and L + 1 observations::

    time          0      1      2           L-1      L
    obs, state,   o_0    o_1    o_2   ...   o_L-1    o_L      T+1 entries: the last is what came after the last action
    avail
    actions,      a_0    a_1    a_2   ...   a_L-1             T entries: reward t is the reward of action t
    reward
    filled        1      1      1     ...   1        (0)      action t was executed: reward t, observation t+1 real
    terminated    0      0      0     ...   0 or 1            1: no future value; 0 at the last filled step: truncated
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Literal, NamedTuple, Self

import torch
from torch import Tensor

from .spec import EnvSpec


class Column(NamedTuple):
    """One field of an `EpisodeBatch`: what is stored for B episodes, and where in time.

    Attributes:
        shape: of one cell, after the axes B and T.
        dtype: of one cell.
        axis: ``T+1`` for one cell per observation, ``T`` for one per action, ``episode`` for one per episode.
        padding: what cells hold that no step has filled.
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    axis: Literal["T+1", "T", "episode"]
    padding: float = 0

    def empty(self, n_episodes: int, length: int) -> Tensor:
        """All padding, for B episodes of up to T steps: ``[B, T+1, *]``, ``[B, T, *]`` or ``[B, *]``."""
        try:
            return torch.full((n_episodes, *self._episode_shape(length)), self.padding, dtype=self.dtype)
        except RuntimeError as error:  # torch's own way to say so
            raise MemoryError(f"{n_episodes} episodes of {length} steps do not fit into memory") from error

    def n_bytes(self, length: int) -> int:
        """Memory of one episode of T steps, in bytes."""
        return math.prod(self._episode_shape(length)) * self.dtype.itemsize

    def _episode_shape(self, length: int) -> tuple[int, ...]:
        time = {"T+1": (length + 1,), "T": (length,), "episode": ()}[self.axis]
        return (*time, *self.shape)


Columns = Mapping[str, Column]
"""Columns by name. Those that an algorithm adds to an `EpisodeBatch` are its *extras*."""

NO_EXTRAS: Mapping[str, Column] = {}


def action_dtype(n_actions: int) -> torch.dtype:
    """The smallest signed integer type that holds an action index."""
    return torch.int8 if n_actions <= 127 else torch.int16


def columns(spec: EnvSpec, extras: Columns = NO_EXTRAS) -> Columns:
    """Every column of the episodes of an environment; an extra ``x`` is the column ``extras.x``."""
    a, u = spec.n_agents, spec.n_actions
    own = {
        "obs": Column((a, spec.obs_dim), torch.float32, "T+1"),
        "state": Column((spec.state_dim,), torch.float32, "T+1"),
        "avail": Column((a, u), torch.bool, "T+1", padding=1),
        "actions": Column((a,), action_dtype(u), "T"),
        "reward": Column((a,) if spec.individual_rewards else (), torch.float32, "T"),
        "terminated": Column((), torch.bool, "T"),
        "filled": Column((), torch.bool, "T"),
        "key": Column((), torch.int64, "episode"),
        "policy_updates": Column((), torch.int64, "episode"),
    }
    return own | {f"{_EXTRA}{name}": column for name, column in extras.items()}


@dataclass
class EpisodeBatch:
    """B whole episodes, padded in time to a common T; see the module's picture of the time axis.

    Padding and the row after a terminal step have ``avail`` all true, everything else zero, so masked cells never
    turn into NaN or infinities.

    Attributes:
        obs: ``[B, T+1, A, O]`` float32.
        state: ``[B, T+1, S]`` float32.
        avail: ``[B, T+1, A, U]`` bool.
        actions: ``[B, T, A]`` int8 or int16.
        reward: ``[B, T]`` float32, or ``[B, T, A]`` with individual rewards.
        terminated: ``[B, T]`` bool.
        filled: ``[B, T]`` bool, a prefix of each row; the loss mask.
        key: ``[B]`` int64, the bits of each episode's key: all randomness of the episode derives from it.
        policy_updates: ``[B]`` int64, number of updates the acting policy had seen.
        extras: further columns by name, which the policy or the learner has declared.
        columns: shape, type, time axis and padding of every column, see `columns`.
    """

    obs: Tensor
    state: Tensor
    avail: Tensor
    actions: Tensor
    reward: Tensor
    terminated: Tensor
    filled: Tensor
    key: Tensor
    policy_updates: Tensor
    extras: Mapping[str, Tensor] = field(kw_only=True)
    columns: Columns = field(kw_only=True, repr=False)

    @classmethod
    def empty(cls, spec: EnvSpec, n_episodes: int, length: int | None = None, extras: Columns = NO_EXTRAS) -> Self:
        """All padding: memory for ``n_episodes`` of up to ``length`` (default: the episode limit) steps."""
        table = columns(spec, extras)
        length = spec.episode_limit if length is None else length
        return cls.from_tensors(table, {name: column.empty(n_episodes, length) for name, column in table.items()})

    @classmethod
    def from_tensors(cls, table: Columns, tensors: Mapping[str, Tensor]) -> Self:
        """The inverse of `tensors`.

        Raises:
            ValueError: the tensors are not those of the columns.
        """
        if set(tensors) != set(table):
            raise ValueError(f"episodes need the columns {', '.join(table)}, got {', '.join(tensors)}")
        own = {name: x for name, x in tensors.items() if not name.startswith(_EXTRA)}
        extras = {name.removeprefix(_EXTRA): x for name, x in tensors.items() if name.startswith(_EXTRA)}
        return cls(**own, extras=extras, columns=table)

    @staticmethod
    def bytes_per_episode(spec: EnvSpec, extras: Columns = NO_EXTRAS) -> int:
        """Memory of one episode of full length, in bytes; nothing is allocated."""
        return sum(column.n_bytes(spec.episode_limit) for column in columns(spec, extras).values())

    def tensors(self) -> dict[str, Tensor]:
        """Every column by name, extras as ``extras.<name>``."""
        own = {name: getattr(self, name) for name in _OWN}
        return own | {f"{_EXTRA}{name}": x for name, x in self.extras.items()} if self.extras else own

    @property
    def n_bytes(self) -> int:
        """Memory of all columns together."""
        return sum(x.numel() * x.element_size() for x in self.tensors().values())

    @property
    def n_episodes(self) -> int:
        """B."""
        return self.filled.shape[0]

    @property
    def lengths(self) -> Tensor:
        """``[B]`` int64, executed steps per episode."""
        return self.filled.sum(dim=1)

    @property
    def truncated(self) -> Tensor:
        """``[B, T]`` bool, true at the last filled step of each episode that did not terminate."""
        next_filled = torch.cat([self.filled[:, 1:], torch.zeros_like(self.filled[:, :1])], dim=1)
        return self.filled & ~next_filled & ~self.terminated

    def to(self, device: torch.device | str) -> Self:
        """The same episodes on another device; the program does not wait for the copy.

        For such a copy to a GPU the memory must be pinned.
        """
        pinned = torch.device(device).type == "cuda"
        tensors = {k: x.pin_memory() if pinned else x for k, x in self.tensors().items()}
        return self.from_tensors(self.columns, {k: x.to(device, non_blocking=True) for k, x in tensors.items()})

    def select(self, index: Tensor) -> Self:
        """A copy of the episodes at ``index``, trimmed to the longest of them before copying."""
        length = max([1, *self.filled[index].sum(dim=1).tolist()])
        rows = {name: _until(length, self.columns[name], x)[index] for name, x in self.tensors().items()}
        return self.from_tensors(self.columns, rows)

    def extended(self, extras: Columns, values: Mapping[str, Tensor]) -> Self:
        """The same episodes with further extras; nothing is copied, unless values are on another device.

        Args:
            extras: the columns.
            values: their values.

        Raises:
            ValueError: a value has another shape or type than its column says.
        """
        table = {**self.columns, **{f"{_EXTRA}{name}": column for name, column in extras.items()}}
        added = {f"{_EXTRA}{name}": values[name].to(self.filled.device) for name in extras}
        for name, x in added.items():
            wanted = table[name].empty(0, self.filled.shape[1])
            if x.shape != (self.n_episodes, *wanted.shape[1:]) or x.dtype != wanted.dtype:
                raise ValueError(
                    f"EpisodeBatch.{name} is {tuple(x.shape)} {x.dtype}, "
                    f"expected {(self.n_episodes, *wanted.shape[1:])} {wanted.dtype}"
                )
        return self.from_tensors(table, self.tensors() | added)

    def clear(self, rows: slice | list[int] = slice(None)) -> None:
        """Fill episodes with padding."""
        for name, x in self.tensors().items():
            x[rows] = self.columns[name].padding

    def validate(self, spec: EnvSpec) -> None:
        """Check shapes, types and the rules of the time axis.

        Raises:
            ValueError: names the field and what is wrong with it.
        """
        b, t = self.filled.shape
        for name, x in self.tensors().items():
            wanted = self.columns[name].empty(0, t)
            if x.shape != (b, *wanted.shape[1:]) or x.dtype != wanted.dtype:
                raise ValueError(
                    f"EpisodeBatch.{name} is {tuple(x.shape)} {x.dtype}, "
                    f"expected {(b, *wanted.shape[1:])} {wanted.dtype}"
                )
        if bool((self.filled[:, 1:] & ~self.filled[:, :-1]).any()):
            raise ValueError("EpisodeBatch.filled must be a prefix: a step follows a step that was not executed")
        last = torch.zeros_like(self.filled).scatter_(1, (self.lengths - 1).clamp(min=0)[:, None], True)
        if bool((self.terminated & ~(last & self.filled)).any()):
            raise ValueError("EpisodeBatch.terminated may be true at the last filled step only")
        if bool(((self.actions < 0) | (self.actions >= spec.n_actions)).any()):
            raise ValueError("EpisodeBatch.actions holds a number that is no action")
        taken = self.avail[:, :-1].gather(-1, self.actions.long().unsqueeze(-1)).squeeze(-1)  # B T A
        if not bool((taken | ~self.filled.unsqueeze(-1)).all()):
            raise ValueError("EpisodeBatch.actions holds an action that was not available")


_EXTRA = "extras."
_OWN = tuple(f.name for f in fields(EpisodeBatch) if f.name not in ("extras", "columns"))


def _until(length: int, column: Column, x: Tensor) -> Tensor:
    """A view of a column's first steps."""
    return x if column.axis == "episode" else x[:, : length + (column.axis == "T+1")]

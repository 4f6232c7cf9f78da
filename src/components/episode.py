"""The types that travel through the system: what an environment is, what a step returns, what an episode batch holds.

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

from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from .spec import Entities, EnvSpec, TimeStep

__all__ = ["Entities", "EnvSpec", "EpisodeBatch", "TimeStep", "action_dtype"]


def action_dtype(n_actions: int) -> torch.dtype:
    """The smallest signed integer type that holds an action index."""
    return torch.int8 if n_actions <= 127 else torch.int16


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
        policy_updates: ``[B]`` int64, number of updates the acting policy had seen.
    """

    obs: Tensor
    state: Tensor
    avail: Tensor
    actions: Tensor
    reward: Tensor
    terminated: Tensor
    filled: Tensor
    policy_updates: Tensor

    @classmethod
    def empty(cls, spec: EnvSpec, n_episodes: int, length: int | None = None) -> Self:
        """All padding: memory for ``n_episodes`` of up to ``length`` (default: the episode limit) steps."""
        b, t, a = n_episodes, length or spec.episode_limit, spec.n_agents
        return cls(
            obs=torch.zeros(b, t + 1, a, spec.obs_dim),
            state=torch.zeros(b, t + 1, spec.state_dim),
            avail=torch.ones(b, t + 1, a, spec.n_actions, dtype=torch.bool),
            actions=torch.zeros(b, t, a, dtype=action_dtype(spec.n_actions)),
            reward=torch.zeros((b, t, a) if spec.individual_rewards else (b, t)),
            terminated=torch.zeros(b, t, dtype=torch.bool),
            filled=torch.zeros(b, t, dtype=torch.bool),
            policy_updates=torch.zeros(b, dtype=torch.int64),
        )

    @staticmethod
    def bytes_per_episode(spec: EnvSpec) -> int:
        """Memory of one episode of full length."""
        return EpisodeBatch.empty(spec, 1).n_bytes

    def tensors(self) -> dict[str, Tensor]:
        """The fields by name."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @property
    def n_bytes(self) -> int:
        """Memory of all fields together."""
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
        """The same episodes on another device; nothing waits for the copy.

        Memory that a GPU copies from while the program goes on must be pinned.
        """
        pinned = torch.device(device).type == "cuda"
        tensors = {k: x.pin_memory() if pinned else x for k, x in self.tensors().items()}
        return type(self)(**{k: x.to(device, non_blocking=True) for k, x in tensors.items()})

    def select(self, index: Tensor) -> Self:
        """A copy of the episodes at ``index``, trimmed to the longest of them before copying."""
        return self._cut(max([1, *self.filled[index].sum(dim=1).tolist()]), index)

    def trim(self) -> Self:
        """A view cut to the longest episode."""
        return self._cut(max([1, *self.lengths.tolist()]), slice(None))

    def _cut(self, length: int, index: Tensor | slice) -> Self:
        def cut(name: str, x: Tensor) -> Tensor:
            if name == "policy_updates":
                return x[index]
            return x[:, : length + (name in _HAVE_LAST)][index]

        return type(self)(**{name: cut(name, x) for name, x in self.tensors().items()})

    def validate(self, spec: EnvSpec) -> None:
        """Check shapes, types and the rules of the time axis.

        Raises:
            ValueError: names the field and what is wrong with it.
        """
        wanted = EpisodeBatch.empty(spec, self.n_episodes, self.filled.shape[1]).tensors()
        for name, x in self.tensors().items():
            if x.shape != wanted[name].shape or x.dtype != wanted[name].dtype:
                raise ValueError(
                    f"EpisodeBatch.{name} is {tuple(x.shape)} {x.dtype}, "
                    f"expected {tuple(wanted[name].shape)} {wanted[name].dtype}"
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


_HAVE_LAST = frozenset({"obs", "state", "avail"})

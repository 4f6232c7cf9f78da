"""Slowly changing copies of networks, from which targets are made (Mnih et al., 2015; Lillicrap et al., 2016)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Annotated, Literal

import torch
from torch import nn

from ..ranges import Range

Tau = Annotated[float, Range(above=0, at_most=1)]


class TargetNetworks(nn.Module):
    """Copies of networks that follow them.

    Args:
        online: the networks to follow, by name.
        mode: ``hard``, copy every ``interval_updates`` updates; ``soft``, move by ``tau`` at every update; ``none``,
            there are no copies, the networks themselves make the targets.
        interval_updates: unit: optimizer steps.
        tau: fraction of the way, in (0, 1].

    Attributes:
        networks: the copies, by the same names, or the networks themselves.
        are_copies: which of both.
    """

    networks: nn.ModuleDict | dict[str, nn.Module]

    def __init__(
        self,
        online: Mapping[str, nn.Module],
        *,
        mode: Literal["hard", "soft", "none"],
        interval_updates: int,
        tau: float,
    ) -> None:
        super().__init__()
        self._online = dict(online)
        self._mode, self._interval, self._tau = mode, interval_updates, tau
        self.are_copies = mode != "none"
        if self.are_copies:
            copies = copy.deepcopy(nn.ModuleDict(dict(online)))  # as a whole: what is shared stays shared
            self.networks = copies.requires_grad_(False).eval()
        else:
            self.networks = dict(online)

    def describe(self) -> str:
        """How and how often they follow, for people."""
        if not self.are_copies:
            return "none: the networks themselves make them"
        if self._mode == "hard":
            return f"copied every {self._interval} updates"
        return f"moved by {self._tau} at every update"

    @torch.no_grad()
    def follow(self, n_updates: int) -> None:
        """Copy or move after update number ``n_updates`` (from 1), also buffers such as running statistics."""
        if not self.are_copies:
            return
        if self._mode == "hard":
            if n_updates % self._interval == 0:
                self.copy()
            return
        for name, online in self._online.items():
            target = self.networks[name]
            for follower, followed in zip(target.parameters(), online.parameters(), strict=True):
                follower.lerp_(followed, self._tau)
            for old, new in zip(target.buffers(), online.buffers(), strict=True):
                if old.is_floating_point():
                    old.lerp_(new, self._tau)
                else:  # whole numbers
                    old.copy_(new)

    def copy(self) -> None:
        """Copy all weights and buffers of the networks."""
        for name, online in self._online.items() if self.are_copies else ():
            self.networks[name].load_state_dict(online.state_dict())

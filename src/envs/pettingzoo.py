"""Environments with PettingZoo's ``ParallelEnv`` interface (Terry et al., NeurIPS 2021)."""

from __future__ import annotations

from typing import Any

from ..registry import register
from .adapters.common import AdaptedEnvs, Treatment
from .adapters.importing import imported, loaded, made
from .adapters.parallel_game import INSTALL, ParallelGame


@register("env")
class PettingZoo(AdaptedEnvs):
    """Any PettingZoo ``ParallelEnv`` with discrete actions; each is stepped by itself.

    Observations are flattened and, like the actions, padded to the largest agent's. Action masks are taken from
    observations or infos under the key ``action_mask``. The own state is the environment's ``state()``, where it
    has one. An agent whose part ends early has zero observations, only its first action and no rewards from then on.
    The episode ends with the team's last agent: terminated if no part was cut off by a time limit, truncated otherwise,
    and also at ``episode_limit``.

    Args:
        agents: the number of agents asked for; ``None`` is the environment's own.
        n_envs: B.
        entry_point: ``module:function``; the function returns a ``ParallelEnv``.
        others: agents that are not of the team but scripted: the beginning of their names to the ``module:function``
            that plays them, see `hymarl.envs.adapters.parallel_game.Situation`. Rewards, sizes, metrics and the end of
            an episode are those of the team alone, and so are observations that a state is made of; the environment's
            own stays. ``None``: there are none.
        settings: those of `AdaptedEnvs`.

    Raises:
        ValueError: a package is missing, or the settings do not fit the environment.
    """

    def __init__(
        self,
        agents: int | None,
        n_envs: int,
        *,
        entry_point: str,
        others: dict[str, str] | None,
        global_random: bool,
        **settings: Any,
    ) -> None:
        imported("gymnasium.spaces", settings["install"] or INSTALL)
        make = loaded(entry_point, settings["install"])
        behaviors = {prefix: loaded(path, None, f"env.others.{prefix}") for prefix, path in (others or {}).items()}

        def game(treatment: Treatment) -> ParallelGame:
            return ParallelGame(made(make, treatment.kwargs), treatment, behaviors)

        super().__init__(agents, n_envs, game, f"env.entry_point={entry_point}", global_random, **settings)

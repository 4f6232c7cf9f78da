"""HyMARL's sweeper for Hydra; its imports are light, as Hydra imports it in every program that uses Hydra."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser

from ._launching import LaunchingSweeper


class HymarlSweeper(LaunchingSweeper):
    """Runs every combination of the values that are given, see `hymarl.app.sweep.Sweep`.

    Args:
        max_batch_size: the number of jobs that the launcher gets at once; None: all.
        params: overrides beside those of the command line, by key, which may list several values.
    """

    def __init__(self, max_batch_size: int | None, params: Mapping[str, Any] | None) -> None:
        self.max_batch_size, self.params = max_batch_size, params or {}

    def sweep(self, arguments: list[str]) -> None:
        """Run the jobs that these overrides mean."""
        from hymarl.app.search_space import MOST_VALUES, as_overrides, n_values
        from hymarl.app.sweep import Sweep
        from hymarl.registry import ConfigError

        parser = OverridesParser.create(config_loader=self.loader)
        overrides = parser.parse_overrides([*as_overrides(self.params), *arguments])
        for override in overrides:
            if override.is_interval_sweep():
                raise ConfigError(f"{override.input_line} is for a search; add hydra/sweeper=hymarl_optuna")
        n = prod(n_values(override) for override in {o.get_key_element(): o for o in overrides}.values())
        if n > MOST_VALUES:
            raise ConfigError(f"these are {n:,} jobs; a sweep has at most {MOST_VALUES:,}")
        (jobs,) = BasicSweeper.split_arguments(overrides, None)
        Sweep(self.config, self.loader, self.launcher).run(jobs, self.max_batch_size)

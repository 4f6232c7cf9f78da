"""HyMARL's search for Hydra; its imports are light, as Hydra imports it in every program that uses Hydra."""

from __future__ import annotations

from typing import Any

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class HymarlOptunaSweeper(Sweeper):
    """Searches for good settings, see `hymarl.app.search.Search`.

    Args:
        settings: those of `hymarl.app.study.SearchSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Called by Hydra before `sweep`."""
        self.hydra_context, self.config = hydra_context, config
        self.loader = hydra_context.config_loader
        self.launcher: Launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> None:
        """Search in the space that these overrides and ``hydra.sweeper.params`` mean."""
        from hymarl.app.search import Search
        from hymarl.app.study import read_settings
        from hymarl.app.sweep import Sweep

        Search(Sweep(self.config, self.loader, self.launcher), read_settings(self.settings), arguments).run()

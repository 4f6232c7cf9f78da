"""HyMARL's search for Hydra; its imports are light, as Hydra imports it in every program that uses Hydra."""

from __future__ import annotations

from typing import Any

from ._launching import LaunchingSweeper


class HymarlOptunaSweeper(LaunchingSweeper):
    """Searches for good settings, see `hymarl.app.search.Search`.

    Args:
        settings: those of `hymarl.app.search_settings.SearchSettings`.
    """

    def __init__(self, **settings: Any) -> None:
        self.settings = settings

    def sweep(self, arguments: list[str]) -> None:
        """Search in the space that these overrides and ``hydra.sweeper.params`` mean."""
        from hymarl.app.search import Search
        from hymarl.app.search_settings import read_settings
        from hymarl.app.sweep import Sweep

        Search(Sweep(self.config, self.loader, self.launcher), read_settings(self.settings), arguments).run()

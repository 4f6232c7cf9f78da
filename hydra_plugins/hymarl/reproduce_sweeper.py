"""Reproduction of published numbers; its imports are light, as Hydra imports it in every program that uses Hydra."""

from __future__ import annotations

from ._launching import LaunchingSweeper


class HymarlReproduceSweeper(LaunchingSweeper):
    """Runs the cells of a reproduction and reports on them, see `hymarl.app.reproduction.Reproduction`.

    Args:
        max_batch_size: the number of runs that the launcher gets at once; None: all.
    """

    def __init__(self, max_batch_size: int | None) -> None:
        self.max_batch_size = max_batch_size

    def sweep(self, arguments: list[str]) -> None:
        """Run what ``reproduce.…`` says."""
        from hymarl.app.reproduction import Reproduction

        Reproduction(self.config, self.loader, self.launcher).reproduce(arguments, self.max_batch_size)

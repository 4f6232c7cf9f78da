"""Environments that can say what their numbers mean outside of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class Explained(Protocol):
    """An environment whose agents can be put to work where it is only a model of; see `hymarl.portable`."""

    @classmethod
    def interface(cls, settings: Mapping[str, Any]) -> Mapping[str, Any]:
        """What a program must know that gives a policy its observations and executes its actions, as plain data.

        Args:
            settings: all of the environment's.

        Raises:
            ValueError: the settings are at odds with each other, or name a file that cannot be used.
        """
        ...

"""Stand-ins for packages that a peer imports at its start but does not use here, which saves gigabytes."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any


class _Absent(ModuleType):
    """A module in which every name can be found, but nothing of it used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {"__module__": self.__name__})


def stub(*names: str) -> None:
    """Let these modules, and the packages they are in, be imported as empty shells."""
    for name in names:
        parts = name.split(".")
        for n in range(1, len(parts) + 1):
            part = ".".join(parts[:n])
            if part not in sys.modules:
                module = _Absent(part)
                module.__path__ = []
                module.__spec__ = ModuleSpec(part, None, is_package=True)
                sys.modules[part] = module

"""Find the modules that a component would import, but that no option file of HyMARL names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from importlib import resources
from typing import Any

from ..registry import ships

_REFERENCE = re.compile(r"[^\W\d][\w.-]*:[^\W\d].*", re.DOTALL)  # module:name
_LINE = re.compile(r"^ *(\w+): +([^\s#]+)", re.MULTILINE)


def foreign_modules(group: str, component: Mapping[str, Any]) -> list[str]:
    """Modules that a component names and no option file of the package does.

    This includes HyMARL's own modules: a setting may name only those of their functions that an option file names.

    Args:
        group: the component's group.
        component: plain data with ``name`` and ``settings``.
    """
    foreign = [] if ships(group, component["name"]) else [component["name"]]
    named = list(_references("settings", component["settings"]))
    shipped = _shipped() if named else set()
    return foreign + [value.partition(":")[0] for key, value in named if (key, value) not in shipped]


def _references(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Key and value of all settings that name what adapters import: ``module:name``, or a ``package``."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from _references(str(name), part)
    elif isinstance(value, list):
        for part in value:
            yield from _references(key, part)
    elif isinstance(value, str) and (key == "package" or _REFERENCE.fullmatch(value)):
        yield key, value


def _shipped() -> set[tuple[str, str]]:
    """Key and value of all settings in the option files of the package."""
    folders = [folder for folder in resources.files("hymarl.conf").iterdir() if folder.is_dir()]
    files = [file for folder in folders for file in folder.iterdir() if file.name.endswith(".yaml")]
    return {pair for file in files for pair in _LINE.findall(file.read_text(encoding="utf-8"))}

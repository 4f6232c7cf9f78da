"""Values that apply while an option is chosen: the section ``when_chosen`` of algorithms, experiments, environments.

Precedence, low to high: the YAML of the chosen option, what the environment suggests (an option of ``suggestions``),
the algorithm, the experiment, the command line. Values for a component are written under
``when_chosen.<group>.<option>`` and apply only while that option is chosen, so ``algo=qmix mixer=vdn`` drops what the
algorithm says about ``mixer=qmix``. Those under ``when_chosen.<group>.any`` apply to whatever option has the setting;
what is said about the option itself is stronger.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ..registry import PACKAGES, ConfigError, find, names, parameters, suggest
from .names import WHEN_CHOSEN
from .options import options

_ANY = "any"
_FORM = f"values are written as {WHEN_CHOSEN}.<group>.<option>.<key>"


def apply(cfg: DictConfig, choices: Mapping[str, Any], given: Collection[str]) -> tuple[list[str], list[str]]:
    """Write the values under ``when_chosen`` into the sections of the chosen options.

    Args:
        cfg: the composed configuration, changed in place.
        choices: the option chosen for each group.
        given: the keys that the command line sets, which keep its values.

    Returns:
        The values that this changed, and those that do not apply to the chosen options, as text.

    Raises:
        ConfigError: an unknown group, option or key.
    """
    values, dropped = {}, []
    for group, option, key, value in _entries(cfg[WHEN_CHOSEN]):
        if option == _ANY and key not in cfg[group].keys():  # noqa: SIM118  # `in` overlooks keys without a value
            _check_some_has(group, key)
            dropped.append(f"{group}.{key} ({group}={choices[group]} has none)")
        elif option in (_ANY, choices[group]):
            values[f"{group}.{key}"] = value
        else:
            dropped.append(f"{group}.{key} (of {group}={option})")
    applied = []
    for path, value in values.items():
        if path in given:
            continue
        if OmegaConf.select(cfg, path) != value:
            applied.append(f"{path}={value}")
        OmegaConf.update(cfg, path, value, force_add=True)
    return applied, dropped


def _entries(node: DictConfig) -> Iterator[tuple[str, str, str, Any]]:
    """Group, option, key and value of all entries; in each group ``any`` comes first, so that others replace it."""
    single = [group for group in PACKAGES if group != "logger"]
    for group, by_option in _sections(node, WHEN_CHOSEN, single):
        sections = dict(_sections(by_option, f"{WHEN_CHOSEN}.{group}", [_ANY, *options(group)]))
        for option in sorted(sections, key=lambda name: name != _ANY):
            for key in map(str, sections[option]):
                yield group, option, key, sections[option][key]


def _sections(node: DictConfig, where: str, known: Sequence[str]) -> Iterator[tuple[str, DictConfig]]:
    """The sections in a section; refuses unknown names."""
    for key, section in node.items():
        name = str(key)
        if name not in known:
            raise ConfigError(f"{where}: unknown key {name!r}; {suggest(name, known)}")
        if not isinstance(section, DictConfig):
            raise ConfigError(f"{where}.{name}: {_FORM}, got {section}")
        yield name, section


def _check_some_has(group: str, key: str) -> None:
    """Refuse a key under ``any`` that is a setting of no component of the group."""
    known = {setting for name in names(group) for setting in parameters(find(group, name))}
    if key not in known:
        raise ConfigError(f"{WHEN_CHOSEN}.{group}.{_ANY}: no {group} has a setting {key!r}; {suggest(key, known)}")

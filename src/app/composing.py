"""Compose a checked configuration from overrides; works in any program and as often as needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import open_dict

from ..components.files import WriteError
from ..registry import ConfigError, check_settings, find
from .command_line import check_overrides
from .config import Component, RunConfig, read
from .hydra_state import as_override, initialized, set_aside
from .mistakes import explain
from .options import check_option

_FUNCTIONS: Mapping[str, str] = {
    "resume": "hymarl.resume(directory)",
    "evaluate": "hymarl.evaluate(directory)",
    "export": "hymarl.export(directory, to)",
    "check": "hymarl.check_environment(hymarl.make_env(…))",
    "render": "the command line",
}


def compose(overrides: Sequence[str], searchpath: Sequence[str | Path] = ()) -> RunConfig:
    """The configuration that these overrides compose to; relative paths start from the current folder.

    Args:
        overrides: as on the command line.
        searchpath: folders with option files, in addition to the package's.

    Raises:
        ConfigError: a mistake; the message is that of the command line.
    """
    folders = [_located(folder) for folder in searchpath]
    with set_aside(), _in_a_sentence(overrides):
        for override in check_overrides(overrides):
            _check_belongs(override)
        with initialized():
            cfg = hydra.compose("config", [*as_override(folders), *overrides], return_hydra_config=True)
            HydraConfig.instance().set_config(cfg)
            choices = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg["hydra"]
            return read(cfg, choices, overrides, Path.cwd())


def changed_option(group: str, name: str, searchpath: Sequence[str | Path], settings: Mapping[str, Any]) -> Component:
    """The component of an option, with some settings changed.

    Everything is composed, since an option may choose others: environments suggest a network.

    Args:
        group: the option's group.
        name: the option's name.
        searchpath: folders with option files, in addition to the package's.
        settings: the settings to change.

    Raises:
        ConfigError: there is no such option or setting, or a value is not allowed.
    """
    with set_aside(), _in_a_sentence([]):
        check_option(group, name)
    chosen = compose([f"{group}={name}"], searchpath).components[group]
    values = {**chosen.settings, **settings}
    checked = check_settings(find(group, chosen.name), values, f"{group}={name}", Path.cwd())
    return replace(chosen, settings=checked)


def _located(folder: str | Path) -> str:
    return folder if isinstance(folder, str) and "://" in folder else str(Path(folder).expanduser().absolute())


def _check_belongs(override: Override) -> None:
    """Refuse overrides that are for the command line only: tasks other than training, sweeps, settings of Hydra."""
    key = override.key_or_group
    if override.is_sweep_override():
        raise ConfigError(f"{override.input_line}: a configuration is one run; compose one for each value")
    if key in _FUNCTIONS:
        raise ConfigError(f"{key}= is for the command line; here it is {_FUNCTIONS[key]}")
    if key.startswith("hydra") and key != "hydra.searchpath":
        raise ConfigError(f"{key}= is for the command line, which Hydra runs; leave it out")


@contextmanager
def _in_a_sentence(overrides: Sequence[str]) -> Iterator[None]:
    """Inside the ``with`` block, mistakes that Hydra finds become a `ConfigError`."""
    try:
        yield
    except (ConfigError, WriteError):
        raise
    except Exception as error:
        sentence = explain(error, composing=True, overrides=overrides)
        if sentence is None:
            raise
        raise ConfigError(sentence) from error

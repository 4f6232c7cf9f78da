"""The options of a group: YAML files of the package, and of the folders that ``hydra.searchpath`` adds."""

from __future__ import annotations

import json
from contextlib import nullcontext
from importlib import resources

from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from ..registry import ConfigError, suggest

_CONF = "hymarl.conf"


def option_names(group: str) -> list[str]:
    """Every option of a group that Hydra sees; where Hydra was not started, those that ship with the package."""
    if GlobalHydra.instance().is_initialized():
        return GlobalHydra.instance().config_loader().get_group_options(group, overrides=_search_path())
    folder = resources.files(_CONF) / group
    files = folder.iterdir() if folder.is_dir() else ()
    return [file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")]


def load_option(group: str, name: str) -> DictConfig:
    """What the YAML file of an option says, without the command line's values.

    Raises:
        ConfigError: there is no such option.
    """
    known = option_names(group)
    if name not in known:
        raise ConfigError(f"{group}={name}: there is no such option; {suggest(name, known)}")
    started = GlobalHydra.instance().is_initialized()
    with nullcontext() if started else initialize_config_module(_CONF, version_base="1.3"):
        cfg = compose(overrides=[*_search_path(), f"+{group}={name}"])
    values = cfg[group]
    assert isinstance(values, DictConfig)
    return values


def _search_path() -> list[str]:
    """The folders that the present job adds, as an override."""
    folders = HydraConfig.get().searchpath if HydraConfig.initialized() else []
    return [f"hydra.searchpath={json.dumps(list(folders))}"] if folders else []

"""The configuration in a run's directory: how it is written, read back and checked."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ..components.added_settings import with_added
from ..components.files import keeps_checksum, refuse_references, texts, with_checksum
from ..registry import ConfigError, check_settings, find, parameters, written
from ..training.settings import TrainingSettings
from .config import FORMAT, SINGLE_GROUPS, SOMETIMES, Component, EvaluationSettings, RunConfig, SavedSettings
from .names import one_line
from .runs import require_run
from .trust import foreign_modules

_KEYS = ("algo", *SavedSettings.__dataclass_fields__, "components", "loggers", "train", "eval", "applied", "dropped")
_ADDED: Mapping[str, Any] = {"joint": False}
"""Settings of no component that older runs of this format lack, with the values that mean what they did."""
_MOVED: Mapping[str, str] = {"hymarl.envs.mpe_opponents:": "hymarl.envs.adapters.mpe_opponents:"}


def to_yaml(config: RunConfig) -> str:
    """The text of a run's ``config.yaml``, which `load_saved` reads."""
    text = OmegaConf.to_yaml(OmegaConf.create(config.plain()))
    return with_checksum(text)


def load_saved(directory: Path, today: RunConfig, *, to_resume: bool = False) -> RunConfig:
    """The configuration a run directory was made with, checked again: the program may have changed since.

    Args:
        directory: the run's directory.
        today: what the command line composes to; gives the trusted packages, and the settings that the first release
            did not have.
        to_resume: whether the run is to be resumed, which is impossible for runs of the first release.

    Raises:
        ConfigError: it is no run directory, was damaged or changed, or names modules that are not trusted.
    """
    require_run(directory)
    path = directory / "config.yaml"
    plain = _read(path)
    form = plain.pop("format", 1)
    if form not in range(1, FORMAT + 1):
        raise ConfigError(f"{path} has the format {form}, of a newer HyMARL than this one; install that")
    try:
        _check_form(plain)
        if form < FORMAT and to_resume:
            raise ConfigError(
                f"{directory} was made by the first release of HyMARL, whose runs cannot be continued; evaluate it "
                f"with evaluate={directory}, or start a new run from its weights with init_from={directory}"
            )
        if form < FORMAT:
            plain = from_first_release(plain, today.plain())
        return replace(_from_plain(plain, today.trust, path), searchpath=today.searchpath)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _not_a_configuration(path, error) from error


def from_first_release(plain: Mapping[str, Any], today: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration of the first release in today's form, good enough to evaluate the run, but not to resume it.

    Groups and settings that it did not have are taken from today's configuration.

    Args:
        plain: the old configuration as plain data.
        today: a configuration of today as plain data.
    """
    old = plain["components"]
    components = {**today["components"], **{group: _modernized(group, c) for group, c in old.items()}}
    return {
        **plain,
        "components": components,
        "loggers": {name: _modernized("logger", component) for name, component in plain["loggers"].items()},
        "train": {name: plain["train"].get(name, value) for name, value in today["train"].items()},
        "eval": {**today["eval"], **plain["eval"]},
        "applied": [],
        "dropped": [],
    }


def _modernized(group: str, component: Mapping[str, Any]) -> dict[str, Any]:
    """A component with the settings that its option has today; old ones are dropped, except an environment's."""
    settings = _renamed(component["settings"])
    today = written(group, component["option"])
    if today.pop("name", None) == component["name"]:
        kept = {name: value for name, value in settings.items() if name in today or group == "env"}
        settings = {**today, **kept}
    return {**component, "settings": settings}


def _renamed(value: Any) -> Any:
    """Settings with the names that moved modules have today."""
    if isinstance(value, dict):
        return {name: _renamed(part) for name, part in value.items()}
    if isinstance(value, str):
        for old, new in _MOVED.items():
            value = value.replace(old, new)
    return value


def _read(path: Path) -> dict[str, Any]:
    """The file as plain data, of which only the checksum has been checked."""
    try:
        content = path.read_bytes()
        text = content.decode()
        kept = keeps_checksum(text)
        if kept is False:
            raise ConfigError(f"{path} was changed or damaged since the run wrote it: its checksum is another one")
        plain = OmegaConf.to_container(OmegaConf.create(text))
        refuse_references(plain, path)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except (AssertionError, ValueError, RecursionError, OmegaConfBaseException, YAMLError) as error:
        raise _not_a_configuration(path, error) from error
    if not isinstance(plain, dict) or ("format" in plain and kept is None):
        raise ConfigError(f"{path} is not the configuration of a run, or its end is missing")
    return {str(key): value for key, value in plain.items()}


def _not_a_configuration(path: Path, error: Exception) -> ConfigError:
    reason = f"it has no {error}" if isinstance(error, KeyError) else one_line(error)
    return ConfigError(f"{path} is not the configuration of a run: {reason or 'unknown form'}")


def _check_form(plain: Mapping[str, Any]) -> None:
    """Refuse what does not have the sections of a saved configuration.

    Raises:
        TypeError: a value is of the wrong type, or a key is unknown.
        KeyError: something is missing.
        ValueError: a string outside the settings of components is not printable.
    """
    for key in ("train", "eval"):
        _section(plain, key)
    beside = [{key: value for key, value in plain.items() if key not in ("components", "loggers")}]
    for key in ("components", "loggers"):
        for name, component in _section(plain, key).items():
            _section(component if isinstance(component, dict) else {}, "settings", f"{key}.{name}.")
            if not isinstance(component["option"], str) or not isinstance(component["name"], str):
                raise TypeError(f"{key}.{name}: option and name must be texts")
            beside.append({name: [component["option"], component["name"]]})
    for text in texts(beside):
        if not text.isprintable():  # most of these strings are written into logs
            raise ValueError(f"{text!r} must be one line of printable characters")
    unknown = [key for key in plain if key not in _KEYS] + [g for g in plain["components"] if g not in SINGLE_GROUPS]
    if unknown:
        raise TypeError(f"unknown key {unknown[0]}")


def _section(plain: Mapping[str, Any], key: str, where: str = "") -> dict[str, Any]:
    section = plain.get(key)
    if not isinstance(section, dict):
        raise TypeError(f"{where}{key} must be a section with keys of its own, got {section}")
    return section


def _from_plain(plain: Mapping[str, Any], trust: Collection[str], path: Path) -> RunConfig:
    """The inverse of `RunConfig.plain`."""
    from ..policies.saved import require_trust  # imports torch

    groups = plain["components"]
    for group, component in (*groups.items(), *(("logger", logger) for logger in plain["loggers"].values())):
        require_trust(foreign_modules(group, component), trust, str(path))
    missing = [group for group in SINGLE_GROUPS if group not in groups and group not in SOMETIMES]
    if missing:
        raise KeyError(missing[0])
    root = {name: {**_ADDED, **plain}[name] for name in SavedSettings.__dataclass_fields__}
    root = check_settings(SavedSettings, root, str(path))
    return RunConfig(
        algo=str(plain["algo"]),
        **root,
        components={group: _component(group, c) for group, c in plain["components"].items()},
        loggers={name: _component("logger", c) for name, c in plain["loggers"].items()},
        train=TrainingSettings(**check_settings(TrainingSettings, plain["train"], "train")),
        eval=EvaluationSettings(**check_settings(EvaluationSettings, plain["eval"], "eval")),
        applied=tuple(map(str, plain["applied"])),
        dropped=tuple(map(str, plain["dropped"])),
        trust=tuple(trust),
    )


def _component(group: str, plain: Mapping[str, Any]) -> Component:
    kind = find(group, plain["name"])
    complete = with_added(group, parameters(kind), plain["settings"])
    settings = check_settings(kind, complete, f"{group}={plain['option']}")
    return Component(group, plain["option"], plain["name"], settings)

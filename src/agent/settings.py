"""The settings of an environment for an agent that decides in it: from an option's file, or from an exported policy."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml  # type: ignore[import-untyped]

from ..envs.loadbalance.settings import Settings
from ..registry import ConfigError, check_settings


def settings_of(option: str, changes: Mapping[str, Any]) -> Settings:
    """The settings of an option of ``env``, some of them changed.

    Raises:
        ConfigError: there is no such option, it is another environment, or a value does not fit.
    """
    values = _values(option)
    name = values.pop("name", None)
    if name != "loadbalance":
        raise ConfigError(f"{option} is no load balancing; choose one of the options lb_…, such as lb_haproxy")
    return checked({**values, **changes}, option)


def checked(values: Mapping[str, Any], where: str) -> Settings:
    """Settings as they are saved, checked."""
    return Settings(**check_settings(Settings, values, where))


def _values(option: str) -> dict[str, Any]:
    """The values in an option's file and in those that it extends."""
    file = resources.files("hymarl.conf") / "env" / f"{option}.yaml"
    if not option.isidentifier() or not file.is_file():
        raise ConfigError(f"there is no environment {option!r}; lb_haproxy is one")
    own = yaml.safe_load(file.read_text(encoding="utf-8"))
    extended = [str(other) for other in own.pop("defaults", []) if other != "_self_" and not str(other).startswith("/")]
    return {key: value for part in (*map(_values, extended), own) for key, value in part.items()}

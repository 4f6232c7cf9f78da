"""The settings of an environment for an agent that decides in it: from an option's file, or from an exported policy."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..envs.loadbalance.settings import Settings
from ..registry import ConfigError, check_settings, written


def settings_of(option: str, changes: Mapping[str, Any]) -> Settings:
    """The settings of an option of ``env``, some of them changed.

    Raises:
        ConfigError: there is no such option, it is another environment, or a value does not fit.
    """
    values = written("env", option)
    if not values:
        raise ConfigError(f"there is no environment {option!r}; lb_haproxy is one")
    name = values.pop("name", None)
    if name != "loadbalance":
        raise ConfigError(f"{option} is no load balancing; choose one of the options lb_…, such as lb_haproxy")
    return checked({**values, **changes}, option)


def exported_settings(about: Mapping[str, Any], where: str) -> Settings:
    """The settings that an exported policy was trained with; requests come from outside instead of a trace.

    Args:
        about: the content of its ``policy.json``.
        where: where it is from, as it was typed.

    Raises:
        ConfigError: it does not say them, it is for something else, or a value does not fit.
    """
    try:
        values, mean_size = about["environment"]["settings"], about["interface"]["observation"]["mean_job_size"]
    except (KeyError, TypeError) as error:
        raise ConfigError(f"{where}: this policy is not one of load balancing") from error
    traffic = {} if values.get("trace") is None else {"trace": None, "size_dist": "exp", "size_mean": mean_size}
    return checked({**{name: _number(value) for name, value in values.items()}, **traffic, "rule": None}, where)


def _number(value: Any) -> Any:
    """JSON knows no infinity: an export writes it as text."""
    if isinstance(value, list):
        return [_number(part) for part in value]
    return math.inf if value == "inf" else value


def checked(values: Mapping[str, Any], where: str) -> Settings:
    """Settings as they are saved, checked."""
    return Settings(**check_settings(Settings, values, where))

"""What it takes to build a learned policy's networks again: plain data that is stored beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from ..components.spec import Entities, EnvSpec
from ..controllers.base import Controller
from ..modules.agents.base import Network
from ..registry import build, expect, factory, find


@dataclass(frozen=True)
class PolicyDescription:
    """Sizes, and name and settings of the controller and its network.

    Attributes:
        spec: what the policy was made for.
        controller_name: registered name.
        controller_settings: plain settings.
        network_name: registered name.
        network_settings: plain settings.
    """

    spec: EnvSpec
    controller_name: str
    controller_settings: Mapping[str, Any]
    network_name: str
    network_settings: Mapping[str, Any]

    def controller(self, spec: EnvSpec | None = None) -> Controller:
        """New networks, for the original sizes or others.

        Raises:
            ConfigError: the network does not fit the environment.
        """
        network = find("network", self.network_name)
        assert issubclass(network, Network)
        made = build(
            "controller",
            self.controller_name,
            self.controller_settings,
            spec or self.spec,
            factory("network", self.network_name, self.network_settings),
            network.takes_entities,
        )
        return expect(Controller, made, f"controller={self.controller_name}")

    def to_plain(self) -> dict[str, Any]:
        """Only dicts, lists, numbers and text."""
        return {**asdict(self), "spec": _plain(asdict(self.spec))}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `to_plain`; imports nothing.

        Raises:
            ValueError: it is not what `to_plain` returns.
        """
        try:
            values = _tuples(plain["spec"])
            if values["entities"] is not None:
                values["entities"] = Entities(**_tuples(values["entities"]))
            description = cls(**{**plain, "spec": EnvSpec(**values)})
        except (AttributeError, KeyError, TypeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from error
        named = description.controller_name, description.network_name
        settings = description.controller_settings, description.network_settings
        if not all(isinstance(x, str) for x in named) or not all(isinstance(x, dict) for x in settings):
            raise ValueError("names must be texts and settings dictionaries")
        return description


def _tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    def simple(x: Any) -> Any:
        if isinstance(x, dict):
            return _plain(x)
        return list(x) if isinstance(x, tuple) else x

    return {k: simple(v) for k, v in values.items()}

"""Reading weights files: their form is checked, and no module is imported that a file names unless it is trusted."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..components.added_settings import with_added
from ..components.devices import check_device
from ..components.files import CheckpointError, find_weights, load, refuse_references
from ..components.spec import EnvSpec
from ..registry import ConfigError, check_settings, find, parameters, ships
from .description import PolicyDescription
from .learned import LearnedPolicy


@dataclass(frozen=True)
class SavedPolicy:
    """What a weights file holds.

    Attributes:
        path: the file.
        description: what it takes to build the networks.
        networks: weights by name, for each of the learner's networks; ``controller`` has those of the agents.
        step: environment steps after which they were saved.
    """

    path: Path
    description: PolicyDescription
    networks: Mapping[str, Mapping[str, Tensor]]
    step: int

    def policy(self, spec: EnvSpec | None = None, device: str = "cpu", trust: Collection[str] = ()) -> LearnedPolicy:
        """The greedy policy for an environment of the original sizes or others.

        Args:
            spec: the environment's sizes; ``None``: the original ones.
            device: where the networks compute.
            trust: packages beside HyMARL that the file may name, which are then imported.

        Raises:
            ConfigError: the weights do not fit the sizes, a module is not trusted, or the device cannot be used.
        """
        check_device(device)
        old = self.description
        named = {"controller": old.controller_name, "network": old.network_name}
        require_trust([name for group, name in named.items() if not ships(group, name)], trust, str(self.path))
        checked = replace(
            old,
            controller_settings=self._checked("controller", old.controller_name, old.controller_settings),
            network_settings=self._checked("network", old.network_name, old.network_settings),
        )
        sizes = spec or old.spec
        if sizes.n_agents != old.spec.n_agents and checked.controller().tells_agents_apart:
            raise ConfigError(
                f"the weights were trained for {old.spec.n_agents} agents, which they tell apart, and do not fit "
                f"{sizes.n_agents}; they fit any number if they were trained with controller.agent_id=false and "
                f"controller.sharing=shared"
            )
        controller = checked.controller(sizes)
        if difference(controller, self.networks["controller"]):
            wrong = difference(checked.controller(), self.networks["controller"])
            if wrong:
                raise CheckpointError(f"{self.path} does not hold the weights that it describes: {wrong}")
            raise ConfigError(
                f"the weights were trained for {_sizes(old.spec)} and do not fit {_sizes(sizes)}; only network=entity "
                f"moves between sizes"
            )
        controller.load_state_dict(dict(self.networks["controller"]))
        return LearnedPolicy(sizes, controller.eval().to(device))

    def resized(self, agents: int | None) -> EnvSpec:
        """The original sizes, with another number of agents unless it is ``None``.

        Only the agents' own sizes are right then, such as those of observations: whether such an environment exists,
        and how large its state would be, is another question.

        Raises:
            ConfigError: it is no number of agents.
        """
        try:
            return self.description.spec if agents is None else replace(self.description.spec, n_agents=agents)
        except ValueError as error:
            raise ConfigError(f"agents={agents}: {error}") from error

    def _checked(self, group: str, name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
        kind = find(group, name)
        return check_settings(kind, with_added(group, parameters(kind), settings), f"{self.path}: {group} {name}")


def read_policy(path: Path, checkpoint: str = "best") -> SavedPolicy:
    """The weights file that ``path`` (a run directory or the file itself) means.

    Raises:
        CheckpointError: there is none, it is damaged, or it is no weights file.
    """
    path = find_weights(path, checkpoint)
    saved = load(path)
    if "policy" not in saved:
        raise CheckpointError(f"{path} holds no policy; give best.pt or a weights_*.pt")
    missing = [name for name in ("controller", "step") if name not in saved]
    if missing:
        raise CheckpointError(f"{path} is no weights file: it has no {missing[0]}")
    networks = {name: weights for name, weights in saved.items() if name not in ("policy", "step")}
    for name, weights in networks.items():
        if not isinstance(weights, dict) or not all(isinstance(x, Tensor) for x in weights.values()):
            raise CheckpointError(f"{path} is no weights file: its {name} must be tensors by name")
    step = saved["step"]
    if not isinstance(step, int) or isinstance(step, bool) or step < 0:
        raise CheckpointError(f"{path} is no weights file: its step must be a whole number from 0 on, got {step!r}")
    try:
        refuse_references(saved["policy"], path)
        description = PolicyDescription.from_plain(saved["policy"])
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} is no weights file: its policy cannot be read: {error}") from error
    return SavedPolicy(path, description, networks, step)


def require_trust(modules: Iterable[str], trust: Collection[str], where: str) -> None:
    """Refuse modules that are not trusted.

    Args:
        modules: full names of those that no option of HyMARL names.
        trust: names of packages.
        where: what names the modules, for the message.

    Raises:
        ConfigError: the first that is not trusted.
    """
    for module in modules:
        package = module.partition(".")[0]
        if package not in trust:
            raise ConfigError(
                f"{where} uses the module {module}, which no option of HyMARL names and which would be imported; if "
                f"you trust it, say so: trust=[{package}]"
            )


def misfit(saved: SavedPolicy, module: nn.Module, needed: PolicyDescription) -> str | None:
    """Why a controller's weights cannot be those of another; None if they can.

    Args:
        saved: the weights.
        module: the controller that needs weights.
        needed: its description.
    """
    wrong = difference(module, saved.networks["controller"])
    if wrong is None:
        return None
    old = saved.description
    completed = replace(
        old,
        controller_settings=with_added("controller", needed.controller_settings, old.controller_settings),
        network_settings=with_added("network", needed.network_settings, old.network_settings),
    )
    there, here = _readable(completed), _readable(needed)
    reasons = [
        f"{key} is {there.get(key)} there and {value} here" for key, value in here.items() if there.get(key) != value
    ]
    return "; ".join([*reasons, wrong])


def difference(module: nn.Module, weights: Mapping[str, Tensor]) -> str | None:
    """The first weight that one has and the other has not, or not in this shape; None if they fit."""
    wanted = {name: list(x.shape) for name, x in module.state_dict().items()}
    given = {name: list(x.shape) for name, x in weights.items()}
    for name in (*wanted, *given):
        if name not in given:
            return f"the weight {name}, needed with the shape {wanted[name]}, is not among them"
        if name not in wanted:
            return f"the weight {name} of the shape {given[name]} has no place"
        if wanted[name] != given[name]:
            return f"the weight {name} has the shape {given[name]}, needed is {wanted[name]}"
    return None


def _sizes(spec: EnvSpec) -> str:
    return f"{spec.n_agents} agents, {spec.obs_dim} observations and {spec.n_actions} actions"


def _readable(description: PolicyDescription) -> dict[str, Any]:
    """What decides about the shapes of weights, by the names that people use."""
    controller = {f"controller.{name}": value for name, value in description.controller_settings.items()}
    network = {f"network.{name}": value for name, value in description.network_settings.items()}
    names = {"the controller": description.controller_name, "the network": description.network_name}
    return {**names, "the environment": _sizes(description.spec), **controller, **network}

"""From what Hydra composed to a checked, plain configuration; and from mistakes to sentences.

Precedence, low to high: the YAML of the chosen option, the presets (``algo``, then ``experiment``), the command line. A
preset's values for a component are written under ``preset.<group>.<option>`` and apply only while that option is
chosen, so ``algo=qmix mixer=vdn`` drops what the preset says about ``mixer=qmix``.
"""

from __future__ import annotations

import re
import secrets
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib import resources
from pathlib import Path
from typing import Any, Literal, Self

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .registry import PACKAGES, ConfigError, check_settings, factory, find, suggest

SINGLE_GROUPS = tuple(group for group in PACKAGES if group != "logger")
_ROOT = ("agents", "seed", "device", "threads")


@dataclass(frozen=True)
class Component:
    """One chosen component with its checked settings."""

    group: str
    option: str
    name: str
    settings: Mapping[str, Any]

    def factory(self) -> Callable[..., Any]:
        """Call it with the run-time objects."""
        return factory(self.group, self.name, self.settings)

    def plain(self) -> dict[str, Any]:
        """As it is saved."""
        return {"option": self.option, "name": self.name, "settings": dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """Everything a run is told, checked and plain.

    Attributes:
        components: by group.
        loggers: by name.
        algo: the preset's name.
        train: settings of `Trainer`.
        eval: settings of `EvaluationSettings`.
        agents: number of agents asked for, None for the environment's own.
        seed: of the run.
        device: where the learner works.
        threads: torch threads.
        dropped: what presets said about options that were not chosen.
    """

    components: Mapping[str, Component]
    loggers: Mapping[str, Component]
    algo: str
    train: Mapping[str, Any]
    eval: EvaluationSettings
    agents: int | None
    seed: int
    device: str
    threads: int
    dropped: tuple[str, ...] = ()

    def plain(self) -> dict[str, Any]:
        """Dicts, lists, numbers and text: what is saved and what loggers see."""
        return {
            "algo": self.algo,
            **{name: getattr(self, name) for name in _ROOT},
            "components": {group: c.plain() for group, c in self.components.items()},
            "loggers": {name: c.plain() for name, c in self.loggers.items()},
            "train": dict(self.train),
            "eval": vars(self.eval),
        }

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> Self:
        """The inverse of `plain`, checked again: the program may have changed since."""
        return cls(
            algo=plain["algo"],
            **{name: plain[name] for name in _ROOT},
            components={group: _component(group, c) for group, c in plain["components"].items()},
            loggers={name: _component("logger", c) for name, c in plain["loggers"].items()},
            train=plain["train"],
            eval=EvaluationSettings(**plain["eval"]),
        )


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How policies are measured.

    Attributes:
        episodes: per validation.
        test_episodes: for the final table and ``evaluate=``.
        seed: of the validation and test streams.
        references: whether the scripted policies that the environment names are measured too.
        checkpoint: which weights are tested.
    """

    episodes: int
    test_episodes: int
    seed: int
    references: bool
    checkpoint: Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class RootSettings:
    """The settings that belong to no component."""

    agents: int | None
    seed: int
    device: str
    threads: int
    resume: str | None
    evaluate: str | None
    init_from: str | None


def read(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """Check what Hydra composed.

    Args:
        cfg: the composed configuration.
        choices: the option chosen for each group.
        overrides: the command line's overrides.

    Raises:
        ConfigError: the first mistake found, in one sentence.
    """
    given = overridden_keys(overrides)
    dropped = _apply_presets(cfg, choices, given)
    root = {k: v for k, v in cfg.items() if k in RootSettings.__dataclass_fields__}
    checked = check_settings(RootSettings, OmegaConf.create(root), "the command line or config.yaml")
    from .components.training import Trainer  # imports torch

    return RunConfig(
        components={group: _read_component(group, str(choices[group]), cfg[group]) for group in SINGLE_GROUPS},
        loggers={name: _read_component("logger", name, node) for name, node in (cfg.get("logger") or {}).items()},
        algo=str(choices.get("algo")),
        train=check_settings(Trainer, cfg.train, "train"),
        eval=EvaluationSettings(**check_settings(EvaluationSettings, cfg.eval, "eval")),
        **{name: checked[name] for name in _ROOT},
        dropped=tuple(dropped),
    )


def change(saved: RunConfig, new: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A saved configuration with what the command line says now.

    Args:
        saved: of an earlier run.
        new: what the command line composes to.
        overrides: the command line's overrides, which say what of ``new`` was asked for.
    """
    result = saved
    for key in sorted(overridden_keys(overrides)):
        group, _, name = key.partition(".")
        if group in SINGLE_GROUPS:
            component = result.components[group]
            if not name:
                component = new.components[group]
            elif component.option == new.components[group].option:
                value = new.components[group].settings[name.split(".")[0]]
                component = replace(component, settings={**component.settings, name.split(".")[0]: value})
            else:
                raise ConfigError(
                    f"{key}: the run has {group}={component.option}; say {group}={component.option} "
                    f"or choose another option beside it"
                )
            result = replace(result, components={**result.components, group: component})
        elif group == "train":
            result = replace(result, train={**result.train, name: new.train[name]})
        elif group == "eval":
            result = replace(result, eval=replace(result.eval, **{name: getattr(new.eval, name)}))
        elif group == "logger":
            result = replace(result, loggers=new.loggers)
        elif group in _ROOT:
            result = replace(result, **{group: getattr(new, group)})
    return result


def option(group: str, name: str) -> Component:
    """A component as its YAML file says, e.g. the scripted policy ``sed``.

    Raises:
        ConfigError: there is no such option.
    """
    folder = resources.files("hymarl.conf") / group
    file = folder / f"{name}.yaml"
    if not file.is_file():
        options = [p.name.removesuffix(".yaml") for p in folder.iterdir() if p.name.endswith(".yaml")]
        raise ConfigError(f"{group}={name}: there is no such option; {suggest(name, options)}")
    return _read_component(group, name, OmegaConf.create(file.read_text(encoding="utf-8")))


def overridden_keys(overrides: Sequence[str]) -> set[str]:
    """What the command line sets: groups and dotted keys."""
    return {o.key_or_group for o in OverridesParser.create().parse_overrides(list(overrides))}


def explain(error: Exception) -> str | None:
    """A mistake in the configuration as one sentence, None if the error is something else."""
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, wrong = str(error.missing_cfg_file).rpartition("/")
        return f"{group}={wrong}: there is no such option; {suggest(wrong, error.options or [])}"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error)
    return None


def _explain_hydra(error: Exception) -> str:
    text = " ".join(str(error).split())
    cause = error.__cause__
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        full_key = str(cause.full_key)
        where, _, wrong = full_key.rpartition(".")
        known = [str(k) for k in cause.parent_node]
        place = f"{where}: unknown key" if where else "unknown key or group"
        return f"{place} {wrong!r}; {suggest(wrong, known)}"
    group = re.search(r"Could not override '([^']+)'\. No match in the defaults list", text)
    if group:
        wrong = group.group(1)
        known = [*PACKAGES, "algo", "experiment", "train", "eval", *RootSettings.__dataclass_fields__]
        return f"unknown key or group {wrong!r}; {suggest(wrong, known)}"
    return text


def _apply_presets(cfg: DictConfig, choices: Mapping[str, Any], given: set[str]) -> list[str]:
    """Write presets' values into the chosen options' nodes; returns what does not apply."""
    dropped = []
    for group, by_option in cfg.preset.items():
        if group not in SINGLE_GROUPS:
            raise ConfigError(f"preset: unknown group {group!r}; {suggest(str(group), SINGLE_GROUPS)}")
        for name, values in by_option.items():
            if name != choices[group]:
                dropped += [f"{group}.{key} (of {group}={name})" for key in values]
                continue
            for key, value in values.items():
                if f"{group}.{key}" not in given:
                    OmegaConf.update(cfg, f"{group}.{key}", value, force_add=True)
    return dropped


def _read_component(group: str, chosen: str, node: Any) -> Component:
    where = f"{group}={chosen}"
    if not isinstance(node, DictConfig) or "name" not in node:
        raise ConfigError(f"{where}: its YAML file needs a line 'name: <registered name>'")
    values = {str(k): v for k, v in node.items_ex(resolve=False) if k != "name"}
    name = str(node.name)
    return Component(group, chosen, name, check_settings(find(group, name), values, where))


def _component(group: str, plain: Mapping[str, Any]) -> Component:
    settings = check_settings(find(group, plain["name"]), plain["settings"], f"{group}={plain['option']}")
    return Component(group, plain["option"], plain["name"], settings)


def load_saved(directory: Path) -> RunConfig:
    """The configuration a run directory was made with.

    Raises:
        ConfigError: it is no run directory.
    """
    path = directory / "config.yaml"
    if not path.is_file():
        raise ConfigError(f"{directory} is not a run directory: it has no config.yaml")
    plain = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(plain, dict)
    return RunConfig.from_plain({str(k): v for k, v in plain.items()})


def to_yaml(config: RunConfig) -> str:
    """What `load_saved` reads."""
    return OmegaConf.to_yaml(OmegaConf.create(config.plain()))


def register_resolvers() -> None:
    """Make ``${hymarl.…}`` known to OmegaConf: where runs and sweeps leave their files."""
    for name, resolver in (
        ("directory", _directory),
        ("sweep_directory", lambda: f"results/sweeps/{_stamp()}"),
        ("sweep_subdirectory", _sweep_subdirectory),
        ("hydra_folder", lambda resume: ".hydra" if resume is None else f".hydra/resumed-{_stamp()}"),
    ):
        OmegaConf.register_new_resolver(f"hymarl.{name}", resolver, use_cache=True, replace=True)


def discard_if_unused(directory: str) -> None:
    """Remove the directory Hydra made for a job that ended before it wrote anything of its own."""
    path = Path(directory)
    if path.is_dir() and {p.name for p in path.iterdir()} <= {".hydra"}:
        shutil.rmtree(path)


def _directory(resume: str | None, evaluate: str | None, env: str, algo: str) -> str:
    if resume is not None:
        return resume
    if evaluate is not None:
        folder = Path(evaluate) if Path(evaluate).is_dir() else Path("results")
        return f"{folder}/evaluations/{_stamp()}"
    return f"results/{env}/{algo}/{_stamp()}"


def _sweep_subdirectory(number: int | str, overrides: str) -> str:
    readable = re.sub(r"[^A-Za-z0-9=._+-]+", "_", overrides)[:80].strip("_")
    return f"{number}_{readable}"


def _stamp() -> str:
    """Date, time and a few random digits: jobs launched in the same second do not collide."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"

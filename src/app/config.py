"""From what Hydra composed to a checked, plain configuration; and from mistakes to sentences.

Precedence, low to high: the YAML of the chosen option, the presets (``algo``, then ``experiment``), the command line. A
preset's values for a component are written under ``preset.<group>.<option>`` and apply only while that option is
chosen, so ``algo=qmix mixer=vdn`` drops what the preset says about ``mixer=qmix``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError  # type: ignore[import-untyped]

from ..ranges import Agents, Range, Seed
from ..registry import PACKAGES, ConfigError, check_settings, factory, find, suggest

SINGLE_GROUPS = tuple(group for group in PACKAGES if group != "logger")
_ROOT = ("agents", "seed", "device", "threads", "init_from")
Episodes = Annotated[int, Range(at_least=1, at_most=10**6)]
_NODES = (*SINGLE_GROUPS, "train", "eval", "preset")


@dataclass(frozen=True)
class Component:
    """One chosen component with its checked settings."""

    group: str
    option: str
    name: str
    settings: Mapping[str, Any]

    def factory(self) -> Callable[..., Any]:
        """Call it with the run-time objects."""
        return factory(self.group, self.name, self.settings, self.option)

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
        threads: threads that learning may use, None to decide by the machine.
        init_from: the run directory or weights file to begin with, None for new weights.
        applied: values that presets changed.
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
    threads: int | None
    init_from: str | None
    applied: tuple[str, ...] = ()
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
        from ..training.trainer import Trainer  # imports torch

        return cls(
            algo=plain["algo"],
            **{name: plain[name] for name in _ROOT},
            components={group: _component(group, c) for group, c in plain["components"].items()},
            loggers={name: _component("logger", c) for name, c in plain["loggers"].items()},
            train=check_settings(Trainer, plain["train"], "train"),
            eval=EvaluationSettings(**check_settings(EvaluationSettings, plain["eval"], "eval")),
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

    episodes: Episodes
    test_episodes: Episodes
    seed: Seed
    references: bool
    checkpoint: Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class RootSettings:
    """The settings that belong to no component."""

    agents: Agents | None
    seed: Seed
    device: str
    threads: Annotated[int, Range(at_least=1, at_most=256)] | None  # with very many OpenMP crashes
    resume: str | None
    evaluate: str | None
    init_from: str | None
    check: bool
    render: Literal["gif", "terminal"] | None


def read(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str]) -> RunConfig:
    """Check what Hydra composed.

    Args:
        cfg: the composed configuration.
        choices: the option chosen for each group.
        overrides: the command line's overrides.

    Raises:
        ConfigError: the first mistake found, in one sentence.
    """
    _check_nodes(cfg)
    applied, dropped = _apply_presets(cfg, choices, overridden_keys(overrides))
    root = {k: v for k, v in _values(cfg).items() if k in RootSettings.__dataclass_fields__}
    root = check_settings(RootSettings, root, "the command line")
    from ..training.trainer import Trainer  # imports torch

    return RunConfig(
        components={group: _read_component(group, str(choices[group]), cfg[group]) for group in SINGLE_GROUPS},
        loggers={name: _read_component("logger", name, node) for name, node in (cfg.get("logger") or {}).items()},
        algo=str(choices.get("algo")),
        train=check_settings(Trainer, _values(cfg.train), "train"),
        eval=EvaluationSettings(**check_settings(EvaluationSettings, _values(cfg.eval), "eval")),
        **{name: root[name] for name in _ROOT},
        applied=tuple(applied),
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
            if not name and component.option == new.components[group].option:
                continue  # naming what the run has changes nothing
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
            loggers = new.loggers if not name else {**result.loggers, (one := name.partition(".")[0]): new.loggers[one]}
            result = replace(result, loggers=loggers)
        elif group in _ROOT:
            result = replace(result, **{group: getattr(new, group)})
    return result


def option(group: str, name: str) -> Component:
    """A component as its YAML file says, e.g. the scripted policy ``sed``.

    Raises:
        ConfigError: there is no such option.
    """
    file = resources.files("hymarl.conf") / group / f"{name}.yaml"
    if not file.is_file():
        raise ConfigError(f"{group}={name}: there is no such option; {suggest(name, _options(group))}")
    return _read_component(group, name, OmegaConf.create(file.read_text(encoding="utf-8")))


def overridden_keys(overrides: Sequence[str]) -> set[str]:
    """What the command line sets: groups and dotted keys."""
    return {o.key_or_group for o in OverridesParser.create().parse_overrides(list(overrides))}


def explain(error: Exception, *, composing: bool = False) -> str | None:
    """A mistake in the configuration as one sentence, None if the error is something else.

    Args:
        error: what was raised.
        composing: whether it was raised before a job began: then it is about the command line, whatever its type.
    """
    if isinstance(error, ConfigError):
        return str(error)
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        group, _, wrong = str(error.missing_cfg_file).partition("/")
        return f"{group}={wrong}: there is no such option; {suggest(wrong, error.options or _options(group))}"
    if isinstance(error, OverrideParseException):
        key, _, value = error.override.partition("=")
        return f"cannot read {error.override!r}: " + (
            f"a value with unusual characters needs quotes inside the shell's: \"{key}='{value}'\""
            if value
            else "an override reads key=value"
        )
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error)
    if composing and "Config group override must be a string" in str(error):
        return "an option is chosen by its name, as in mixer=none or logger=[console]; null and numbers are no names"
    return _one_line(error) if composing and isinstance(error, OSError | ValueError | YAMLError) else None


def _explain_hydra(error: Exception) -> str:
    text, cause = _one_line(error), error.__cause__
    wrapped = re.match("ConfigError raised while resolving interpolation: (.*)", text)
    if wrapped:
        return wrapped[1]
    if isinstance(cause, OmegaConfBaseException) and isinstance(cause.parent_node, DictConfig):
        where, _, wrong = str(cause.full_key).rpartition(".")
        known = {str(k): v for k, v in cause.parent_node.items_ex(resolve=False)}
        if not known:
            return f"{where} is empty: add {wrong!r} to it with +{cause.full_key}=…"
        place = f"{where.partition('.')[0]}={known.pop('name')}" if "name" in known else where
        return f"{place}: unknown key {wrong!r}; {suggest(wrong, known)}" if where else _unknown_key(wrong)
    if "hydra.runtime.choices." in str(error):
        return f"{str(error).partition('hydra.runtime.choices.')[2].split()[0]}: choose one option by its name"
    group = re.search(r"Could not override '([^']+)'\. No match in the defaults list", text)
    return _unknown_key(group[1]) if group else text


def _unknown_key(wrong: str) -> str:
    known = [*PACKAGES, "algo", "experiment", "train", "eval", *RootSettings.__dataclass_fields__]
    return f"unknown key or group {wrong!r}; {suggest(wrong, known)}"


def _one_line(error: Exception) -> str:
    """The message without where in the configuration and in the manual one could look."""
    return re.split(r" full_key: | See https://hydra\.cc", " ".join(str(error).split()))[0]


def _options(group: str) -> list[str]:
    """Option files of a group: those that Hydra sees, or before it does those that ship with the package."""
    if GlobalHydra.instance().is_initialized():
        return GlobalHydra.instance().config_loader().get_group_options(group)
    folder = resources.files("hymarl.conf") / group
    files = folder.iterdir() if folder.is_dir() else ()
    return [file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")]


def _check_nodes(cfg: DictConfig) -> None:
    """Refuse keys that nothing reads and sections that were deleted or are no sections."""
    for key in map(str, cfg):
        if key not in {*_NODES, "logger", *RootSettings.__dataclass_fields__}:
            raise ConfigError(_unknown_key(key))
    for key in _NODES:
        if not isinstance(cfg.get(key), DictConfig):
            raise ConfigError(f"{key}: this must be a section with keys of its own, got {cfg.get(key)}")


def _apply_presets(cfg: DictConfig, choices: Mapping[str, Any], given: set[str]) -> tuple[list[str], list[str]]:
    """Write presets' values into the chosen options' nodes; returns what that changed and what does not apply."""
    applied, dropped = [], []
    for group, name, values in _presets(cfg):
        if name != choices[group]:
            dropped += [f"{group}.{key} (of {group}={name})" for key in map(str, values)]
            continue
        for key in map(str, values):
            if f"{group}.{key}" not in given:
                if OmegaConf.select(cfg, f"{group}.{key}") != values[key]:
                    applied.append(f"{group}.{key}={values[key]}")
                OmegaConf.update(cfg, f"{group}.{key}", values[key], force_add=True)
    return applied, dropped


def _presets(cfg: DictConfig) -> Iterator[tuple[str, str, DictConfig]]:
    """Group, option and values of everything that presets say."""
    for group, by_option in _sections(cfg.preset, "preset", SINGLE_GROUPS):
        for name, values in _sections(by_option, f"preset.{group}", _options(group)):
            yield group, name, values


def _sections(node: DictConfig, where: str, known: Sequence[str]) -> Iterator[tuple[str, DictConfig]]:
    """The sections below one, whose names must be known."""
    for key, section in node.items():
        name = str(key)
        if name not in known:
            raise ConfigError(f"{where}: unknown key {name!r}; {suggest(name, known)}")
        if not isinstance(section, DictConfig):
            raise ConfigError(f"{where}.{name}: values are written as preset.<group>.<option>.<key>, got {section}")
        yield name, section


def _read_component(group: str, chosen: str, node: Any) -> Component:
    where = f"{group}={chosen}"
    if not isinstance(node, DictConfig) or "name" not in node:
        raise ConfigError(f"{where}: its YAML file needs a line 'name: <registered name>'")
    values = _values(node)
    name = str(values.pop("name"))
    return Component(group, chosen, name, check_settings(find(group, name), values, where))


def _values(node: DictConfig) -> dict[str, Any]:
    """A section as plain data, with interpolations resolved; missing values stay missing."""
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}


def _component(group: str, plain: Mapping[str, Any]) -> Component:
    settings = check_settings(find(group, plain["name"]), plain["settings"], f"{group}={plain['option']}")
    return Component(group, plain["option"], plain["name"], settings)


def load_saved(directory: Path) -> RunConfig:
    """The configuration a run directory was made with.

    Raises:
        ConfigError: it is no run directory.
    """
    require_run(directory)
    path = directory / "config.yaml"
    try:
        plain = OmegaConf.to_container(OmegaConf.load(path))
        assert isinstance(plain, dict)
        return RunConfig.from_plain({str(k): v for k, v in plain.items()})
    except (AssertionError, KeyError, TypeError, OmegaConfBaseException, YAMLError) as error:
        raise ConfigError(f"{path} is not the configuration of a run: {_one_line(error) or 'unknown form'}") from error


def require_run(directory: Path) -> None:
    """Refuse what is no run directory.

    Raises:
        ConfigError: no run has left its configuration there.
    """
    if not (directory / "config.yaml").is_file():
        raise ConfigError(f"{directory} is not a run directory: it has no config.yaml")


def to_yaml(config: RunConfig) -> str:
    """What `load_saved` reads."""
    return OmegaConf.to_yaml(OmegaConf.create(config.plain()))

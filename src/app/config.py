"""Turn what Hydra composed into a checked configuration."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from ..ranges import Agents, Count, PathText, Range, Seed
from ..registry import PACKAGES, ConfigError, check_settings, factory, find, objects, parameters
from ..reports.settings import ReportSettings
from ..training.settings import TrainingSettings
from .dashboard import DashboardSettings
from .hydra_state import searched
from .names import ABOUT_RUNS, WHEN_CHOSEN, unknown_key
from .options import GROUPS, WITHOUT_SECTION, algorithm, check_option, lacks_first_line, load_options, unknown_logger
from .testbed import TestbedSettings
from .trust import foreign_modules
from .when_chosen import apply

S = TypeVar("S")
SINGLE_GROUPS = tuple(group for group in PACKAGES if group != "logger")
FORMAT = 2
"""The format version of a run's files; those of the first release do not state it."""
Episodes = Annotated[int, Range(at_least=1, at_most=10**6)]
SOMETIMES = frozenset({"mixer", "critic"})
"""Groups of networks that only some learners ask for."""
_NODES = (*SINGLE_GROUPS, "train", "eval", WHEN_CHOSEN)


@dataclass(frozen=True)
class Component:
    """One chosen component: its option (YAML file), its registered name (class), and its checked settings."""

    group: str
    option: str
    name: str
    settings: Mapping[str, Any]

    def factory(self) -> Callable[..., Any]:
        """A function that makes the component; call it with the run-time objects."""
        return factory(self.group, self.name, self.settings, self.option)

    def plain(self) -> dict[str, Any]:
        """The component as plain data, as it is saved."""
        return {"option": self.option, "name": self.name, "settings": dict(self.settings)}


@dataclass(frozen=True, kw_only=True)
class RunConfig:
    """The whole configuration of a run, checked.

    Attributes:
        components: the chosen components, by group.
        loggers: the chosen loggers, by option.
        algo: the algorithm's name, see `options.algorithm`.
        train: the length of training, and the intervals of logging, validation and checkpoints.
        eval: how policies are evaluated.
        agents: number of agents asked for, None for the environment's own.
        joint: whether one agent sees what all agents see and chooses for all, see `JointAgent`.
        seed: the run's seed.
        device: torch's device for the learner.
        threads: threads that learning may use, None to decide by the number of cores.
        init_from: the run directory or weights file to begin with, None for new weights.
        applied: settings that the algorithm, the experiment or the environment changed, see `when_chosen`.
        dropped: settings that they name, but that do not apply to the chosen options.
        trust: packages other than HyMARL that the command line names, whose modules may be imported.
        searchpath: folders and packages with option files, in addition to this package.
    """

    components: Mapping[str, Component]
    loggers: Mapping[str, Component]
    algo: str
    train: TrainingSettings
    eval: EvaluationSettings
    agents: int | None
    joint: bool
    seed: int
    device: str
    threads: int | None
    init_from: str | None
    applied: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()
    trust: tuple[str, ...] = ()
    searchpath: tuple[str, ...] = ()

    def digest(self, without: Collection[str] = ()) -> str:
        """Twelve characters that stand for the configuration, some parts of `plain` left out."""
        plain = {name: value for name, value in self.plain().items() if name not in without}
        return hashlib.blake2b(json.dumps(plain, sort_keys=True).encode(), digest_size=6).hexdigest()

    @property
    def learns(self) -> bool:
        """Whether the policy is a learned one, not a scripted one."""
        return is_learned(self.components["policy"].name)

    def plain(self) -> dict[str, Any]:
        """The configuration as dicts, lists, numbers and text: this is saved, and passed to loggers."""
        return {
            "format": FORMAT,
            "algo": self.algo,
            **{name: getattr(self, name) for name in _ROOT},
            "components": {group: c.plain() for group, c in self.components.items()},
            "loggers": {name: c.plain() for name, c in self.loggers.items()},
            "train": vars(self.train),
            "eval": vars(self.eval),
            "applied": list(self.applied),
            "dropped": list(self.dropped),
        }


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How policies are evaluated.

    Attributes:
        episodes: number of episodes of each validation during training.
        test_episodes: number of episodes of the test, at the end of training and for ``evaluate=``.
        seed: seed of the validation and test episodes.
        references: whether the scripted policies that the environment names are tested, too.
        checkpoint: which weights are tested: the best by validation return, or the last.
    """

    episodes: Episodes
    test_episodes: Episodes
    seed: Seed
    references: bool
    checkpoint: Literal["best", "last"]


@dataclass(frozen=True, kw_only=True)
class SavedSettings:
    """The settings of a run that belong to no component."""

    agents: Agents | None
    joint: bool
    seed: Seed
    device: str
    threads: Annotated[int, Range(at_least=1, at_most=256)] | None  # with very many OpenMP crashes
    init_from: PathText | None


@dataclass(frozen=True, kw_only=True)
class RootSettings(SavedSettings):
    """`SavedSettings`, and the settings that only the command line has."""

    resume: PathText | None
    evaluate: PathText | None
    export: PathText | None
    check: bool
    render: Literal["gif", "terminal"] | None
    trust: list[str]


@dataclass(frozen=True, kw_only=True)
class SweepSettings:
    """Settings of a sweep.

    Attributes:
        name: of its directory, ``results/sweeps/<name>``; None for date and time.
        dry_run: whether to show only which jobs there are, and what is there of each.
    """

    name: str | None
    dry_run: bool


@dataclass(frozen=True, kw_only=True)
class ReproduceSettings:
    """What is reproduced, see `hymarl.reproduce.tasks`.

    Attributes:
        tier: all tasks of this tier; None for a ``task``.
        task: the name of a task, or a list of names; None for a ``tier``.
        methods: of the tasks, a name or a list of names there; None: all of them.
        seeds: of training; none: those of each task.
        jobs: how many runs at once; None: as many as there are cores.
    """

    tier: Literal["seconds", "minutes", "hours"] | None
    task: Any
    methods: Any
    seeds: list[Seed]
    jobs: Count | None


SECTIONS: Mapping[str, type] = dict(
    zip(ABOUT_RUNS, (SweepSettings, ReportSettings, DashboardSettings, ReproduceSettings, TestbedSettings), strict=True)
)
_ROOT = tuple(SavedSettings.__dataclass_fields__)


def read(cfg: DictConfig, choices: Mapping[str, Any], overrides: Sequence[str], here: Path | None = None) -> RunConfig:
    """Check what Hydra composed, and return it as a `RunConfig`.
    Args:
        cfg: the composed configuration.
        choices: the option chosen for each group.
        overrides: the command line's overrides.
        here: the folder that relative paths start from; ``None`` leaves them relative.

    Raises:
        ConfigError: the first mistake found, in one sentence.
    """
    for group in SINGLE_GROUPS:
        check_option(group, choices[group])
    given = overridden_keys(overrides)
    _check_nodes(cfg, choices, given)
    applied, dropped = apply(cfg, choices, given)
    root = {k: v for k, v in _values(cfg).items() if k in RootSettings.__dataclass_fields__}
    root = check_settings(RootSettings, root, "the command line", here)
    loggers = _loggers(cfg, choices.get("logger"), given)
    chosen = {group: _read_component(group, str(choices[group]), cfg[group], here) for group in SINGLE_GROUPS}
    components = _networks_in_use(chosen, given)
    kept = {name: _read_component("logger", name, node, here) for name, node in loggers.items()}
    named = [module for c in (*components.values(), *kept.values()) for module in foreign_modules(c.group, c.plain())]
    return RunConfig(
        components=components,
        loggers=kept,
        algo=algorithm(choices),
        train=TrainingSettings(**_checked(TrainingSettings, cfg.train, "train", "train", here)),
        eval=EvaluationSettings(**_checked(EvaluationSettings, cfg.eval, "eval", "eval", here)),
        **{name: root[name] for name in _ROOT},
        applied=tuple(applied),
        dropped=tuple(dropped),
        trust=tuple(sorted({*root["trust"], *(module.partition(".")[0] for module in named)})),
        searchpath=searched(here),
    )


def read_section(cfg: DictConfig, name: str, kind: Callable[..., S], here: Path | None = None) -> S:
    """A section of the command line, checked; arguments and errors as for `read`.

    Args:
        cfg: the composed configuration.
        name: the section's.
        kind: its dataclass.
        here: the folder that relative paths start from; ``None`` leaves them relative.
    """
    return kind(**check_settings(kind, _values(cfg[name]), name, here))


def change(saved: RunConfig, new: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A saved configuration, changed by the overrides of the command line.

    Args:
        saved: the configuration of an earlier run.
        new: what the command line composes to.
        overrides: the command line's overrides; values are taken from ``new`` only for their keys.
    """
    result = saved
    for key in sorted(overridden_keys(overrides)):
        group, _, name = key.partition(".")
        if group in SINGLE_GROUPS:
            component = result.components[group]
            if not name and component.option == new.components[group].option:
                continue  # the run has this option already, so its settings stay
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
            result = replace(result, train=replace(result.train, **{name: getattr(new.train, name)}))
        elif group == "eval":
            result = replace(result, eval=replace(result.eval, **{name: getattr(new.eval, name)}))
        elif group == "logger":
            loggers = new.loggers if not name else {**result.loggers, (one := name.partition(".")[0]): new.loggers[one]}
            result = replace(result, loggers=loggers)
        elif group in _ROOT:
            result = replace(result, **{group: getattr(new, group)})
    return result


def is_learned(policy: str) -> bool:
    """Whether the policy of this registered name is a learned one, not a scripted one."""
    from ..policies.learned import LearnedPolicy  # imports torch

    return issubclass(find("policy", policy), LearnedPolicy)


def option(group: str, name: str, searchpath: Sequence[str] = ()) -> Component:
    """The component of one option file, e.g. the scripted policy ``sed``; see `options`."""
    return options(group, [name], searchpath)[name]


def options(group: str, names: Sequence[str], searchpath: Sequence[str] = ()) -> dict[str, Component]:
    """The components of several option files of a group, by option; ``searchpath`` as in `RunConfig`.

    Raises:
        ConfigError: there is no such option.
    """
    read = load_options(group, names, searchpath)
    return {name: _read_component(group, name, values) for name, values in read.items()}


def overridden_keys(overrides: Sequence[str]) -> set[str]:
    """The keys that overrides set: groups and dotted keys."""
    return {o.key_or_group for o in OverridesParser.create().parse_overrides(list(overrides))}


def known_at_the_top() -> list[str]:
    """The first parts that the key of an override can have."""
    return [*GROUPS, "train", "eval", *SECTIONS, *RootSettings.__dataclass_fields__]


def _check_nodes(cfg: DictConfig, choices: Mapping[str, Any], given: Collection[str]) -> None:
    """Refuse unknown keys, and sections that were deleted or replaced by a single value."""
    for key in map(str, cfg):
        if key in WITHOUT_SECTION:
            if any(name.startswith(f"{key}.") for name in given):
                raise ConfigError(f"{key} has no settings of its own; one is chosen by its name, as in {key}=…")
            raise ConfigError(lacks_first_line(key, choices[key], "hydra.sweeper" if key == "search" else "_global_"))
        if key not in {*_NODES, *SECTIONS, "logger", *RootSettings.__dataclass_fields__}:
            raise ConfigError(unknown_key(key, known_at_the_top(), cfg))
    for key in (*_NODES, *SECTIONS):
        if not isinstance(cfg.get(key), DictConfig):
            raise ConfigError(f"{key}: this must be a section with keys of its own, got {cfg.get(key)}")


def _loggers(cfg: DictConfig, chosen: str | None, given: Collection[str]) -> dict[str, Any]:
    """The sections of the chosen loggers; refuses settings of others, whose sections lack a ``name``."""
    loggers = cfg.get("logger") or OmegaConf.create()
    if not isinstance(loggers, DictConfig):
        raise ConfigError(f"logger: this must be a section with keys of its own, got {loggers}")
    if "name" in loggers and not isinstance(loggers.name, DictConfig):
        option = chosen or f"[…] with the name {loggers.name}"  # of several loggers, it is unknown which one it is
        raise ConfigError(lacks_first_line("logger", option, f"logger.{chosen or '<option>'}"))
    for key in sorted(given):
        group, _, name = key.partition(".")
        node = loggers.get(name.split(".")[0]) if group == "logger" and name else None
        if node is not None and not isinstance(node, DictConfig):
            raise ConfigError(f"{key}={str(node).lower()}: loggers are chosen by their names, as in logger=[console]")
        if node is not None and "name" not in node:
            named = [str(other) for other, section in loggers.items() if section is not node]
            raise ConfigError(unknown_logger(name.split(".")[0], named))
    return {str(name): node for name, node in loggers.items()}


def _read_component(group: str, chosen: str, node: Any, here: Path | None = None) -> Component:
    where = f"{group}={chosen}"
    if not isinstance(node, DictConfig) or "name" not in node:
        raise ConfigError(f"{where}: its YAML file needs a line 'name: <registered name>'")
    name = str(node.name)
    section = f"logger.{chosen}" if group == "logger" else group
    return Component(group, chosen, name, _checked(find(group, name), node, where, section, here))


def _checked(
    component: Callable[..., Any], node: DictConfig, where: str, section: str, here: Path | None
) -> dict[str, Any]:
    """The checked settings of a section, without ``name``; the message about an unknown one looks for it everywhere."""
    known = parameters(component)
    root = node._get_root()
    assert isinstance(root, DictConfig)
    for key in map(str, node):
        if key not in known and key != "name":
            raise ConfigError(unknown_key(f"{section}.{key}", [*known], root, where))
    return check_settings(component, {k: v for k, v in _values(node).items() if k != "name"}, where, here)


def _networks_in_use(components: Mapping[str, Component], given: Collection[str]) -> dict[str, Component]:
    """The components without the networks that the learner does not ask for."""
    learner = components["learner"]
    asked = {name.removeprefix("make_") for name in objects(find("learner", learner.name))}
    for group in SOMETIMES - asked:
        unused = [key for key in given if key.partition(".")[0] == group]
        if unused:
            raise ConfigError(f"learner={learner.option} asks for no {group}; leave out {', '.join(sorted(unused))}")
    return {group: c for group, c in components.items() if group in asked or group not in SOMETIMES}


def _values(node: DictConfig) -> dict[str, Any]:
    """A section as plain data, with interpolations resolved; missing values stay missing."""
    values = OmegaConf.to_container(node, resolve=True)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items()}

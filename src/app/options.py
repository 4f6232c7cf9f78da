"""Option files: which exist, which values they hold, and the name of the algorithm that the chosen ones make up."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Protocol

from hydra import compose
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from ..registry import PACKAGES, ConfigError, suggest
from .hydra_state import as_override, initialized, searched, set_aside
from .names import PYMARL_OPTIONS

WITHOUT_SECTION = ("algo", "experiment", "search", "suggestions")
"""Groups whose options set values elsewhere; they can be left out."""
GROUPS = (*PACKAGES, *WITHOUT_SECTION)
"""Groups of which one option is chosen, or several of ``logger``."""

_NAME = re.compile(r"\w[\w-]*")


class _Folder(Protocol):
    """What a folder on disk and one in a package have in common."""

    def joinpath(self, *names: str) -> Any:
        """A file or folder in it."""


def options(group: str) -> list[str]:
    """Names of a group's option files: those that Hydra finds, or, before it is initialized, those of the package."""
    if GlobalHydra.instance().is_initialized():
        return GlobalHydra.instance().config_loader().get_group_options(group, overrides=as_override(searched()))
    folder = resources.files("hymarl.conf") / group
    files = folder.iterdir() if folder.is_dir() else ()
    return [file.name.removesuffix(".yaml") for file in files if file.name.endswith(".yaml")]


def load_options(group: str, names: Sequence[str], searchpath: Sequence[str] = ()) -> dict[str, DictConfig]:
    """The values in the YAML files of options, by option, without overrides of the command line.

    Args:
        group: the group of the options.
        names: the options' names.
        searchpath: folders and packages with option files, in addition to this package.

    Raises:
        ConfigError: there is no such option.
    """
    try:
        with set_aside(), initialized():
            for name in names:
                check_option(group, name)
            chosen = [f"+{group}@option_{i}={name}" for i, name in enumerate(names)]  # one composition for all of them
            cfg = compose(overrides=[*as_override(searchpath), *chosen])
    except MissingConfigException as error:
        wrong = str(error.missing_cfg_file).removeprefix(f"{group}/")
        if wrong not in names:
            raise
        raise no_option(group, wrong, error.options) from error
    return {name: cfg[f"option_{i}"] for i, name in enumerate(names)}


def check_option(group: str, value: Any) -> None:
    """Refuse what cannot be the name of an option: a path, a list, a number.

    Raises:
        ConfigError: says what can be typed.
    """
    several = isinstance(value, list) and group == "logger"
    for name in value if several else [value]:
        if not isinstance(name, str):
            typed = "null" if name is None else str(name).replace("'", "").replace(" ", "")
            example = next(option for option in sorted(options(group)) if option != "none")
            shown = f"{group}=[{example}]" if group == "logger" else f"{group}={example}"
            sweep = f"; one run for each is -m {group}={','.join(map(str, name))}" if isinstance(name, list) else ""
            raise ConfigError(
                f"{group}={typed}: one option is chosen by its name, as in {shown}{sweep or _instead(group)}"
            )
        if not _NAME.fullmatch(name):
            raise no_option(group, name)


def no_option(group: str, name: str, known: Sequence[str] | None = None) -> ConfigError:
    """The error about an option that does not exist."""
    known = sorted(known or options(group))
    meant = PYMARL_OPTIONS.get(name)
    if meant in known:
        return ConfigError(f"{group}={name}: there is no such option; PyMARL's {name} is {group}={meant} here")
    return ConfigError(f"{group}={name}: there is no such option; {suggest(name, known)}")


def unknown_logger(name: str, chosen: Sequence[str]) -> str:
    """The sentence about a setting of a logger that was not chosen, or does not exist."""
    if name in options("logger"):
        return f"logger.{name}: {name} is not chosen; choose it with logger=[{','.join([*chosen, name])}]"
    example = f"logger.{chosen[0]}.…" if chosen else "logger.console.…"
    return f"logger: there is no {name!r}, settings belong to one logger: {example}; {suggest(name, options('logger'))}"


def lacks_first_line(group: str, option: str, package: str) -> str:
    """The sentence about an option file that does not say where its values belong."""
    return f"{group}={option}: its YAML file, or one that it includes, lacks this first line: # @package {package}"


def cannot_be_left_out(group: str) -> ConfigError:
    """The error about a group that was deleted with ``~``."""
    return ConfigError(f"~{group}: a group cannot be left out{_instead(group)}")


def _instead(group: str) -> str:
    """The end of a message: what to type to choose no option of a group."""
    if group == "logger":
        return "; none is logger=[]"
    if group in WITHOUT_SECTION:
        return f"; none is ~{group}"
    return f"; nothing is {group}=none" if "none" in options(group) else ""


def algorithm(choices: Mapping[str, Any]) -> str:
    """The name of the algorithm that the chosen components make up.

    It is the name of an algorithm with the same learner, and the same mixer and critic if it chooses them. Of several,
    it is one that differs in the fewest of its other choices, the network aside, then the option of ``algo``, then the
    shortest: ``mixer=vdn`` alone gives ``vdn``. If there is none, it is the mixer's name, or the learner's if there is
    no mixer or no algorithm has this learner.
    """
    learner, mixer = choices.get("learner"), choices.get("mixer")
    known = {algo: parts for algo in options("algo") if (parts := chosen_by(algo)).get("learner") == learner}

    def differences(algo: str) -> set[str]:
        return {group for group, name in known[algo].items() if choices.get(group, name) != name} - {"network"}

    def distance(algo: str) -> tuple[int, bool, int, str]:
        return len(differences(algo)), algo != choices.get("algo"), len(algo), algo

    fitting = [algo for algo in known if differences(algo).isdisjoint({"mixer", "critic"})]
    if fitting:
        return min(fitting, key=distance)
    return str(learner if mixer in (None, "none") or not known else mixer)


def chosen_by(algo: str) -> dict[str, str]:
    """Group and option of all choices in an algorithm's file and in the files that it includes."""
    chosen: dict[str, str] = {}
    for entry in _read("algo", algo).get("defaults", []):
        if isinstance(entry, dict):
            chosen |= {
                str(key).removeprefix("override ").lstrip("/"): str(name)
                for key, name in entry.items()
                if str(key).startswith("override ")
            }
        elif entry != "_self_":
            chosen |= chosen_by(str(entry))
    return chosen


def _read(group: str, name: str) -> dict[Any, Any]:
    """The content of an option file, not composed; empty if there is no such file."""
    for folder in _folders():
        file = folder.joinpath(group, f"{name}.yaml")
        if file.is_file():
            return _parsed(file.read_text(encoding="utf-8"))
    return {}


@lru_cache(maxsize=1024)
def _parsed(text: str) -> dict[Any, Any]:
    """The content of an option file, not to be changed; a sweep asks for the same ones for every job."""
    values = OmegaConf.to_container(OmegaConf.create(text))
    return values if isinstance(values, dict) else {}


def _folders() -> Iterator[_Folder]:
    """Where Hydra looks for option files: the package, then the user's folders."""
    yield resources.files("hymarl.conf")
    if HydraConfig.initialized():
        for source in HydraConfig.get().runtime.config_sources:
            if source.schema == "file":
                yield Path(source.path)

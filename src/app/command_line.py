"""Check and prepare the arguments of the command line before Hydra reads them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, QuotedString, ValueType

from ..components.terminal import program_name
from ..components.threads import available_cores
from ..registry import ConfigError
from .config import SECTIONS, SINGLE_GROUPS
from .options import GROUPS, WITHOUT_SECTION, cannot_be_left_out, check_option
from .pymarl import translate

_SECTIONS = (*SINGLE_GROUPS, "train", "eval", *SECTIONS)


def prepare(words: Sequence[str]) -> list[str]:
    """The arguments of the command line in the order in which Hydra reads them: overrides before flags.

    Raises:
        ConfigError: they are those of PyMARL, or an override is wrong.
        SystemExit: ``--version`` was given, and the version was printed.
    """
    translated = translate(words)
    if translated is not None:
        raise ConfigError(f"that is a command line of PyMARL; here it reads: {program_name()} {translated}")
    if "--version" in words:
        print(f"HyMARL {version('hymarl')} with torch {version('torch')}")
        raise SystemExit(0)
    parser = get_args_parser()
    setattr(parser, "error", _refuse)  # noqa: B010  # else it would print its usage and exit
    arguments = parser.parse_intermixed_args(list(words))  # so that flags may stand anywhere
    overrides = list(arguments.overrides)
    flags = _without(words, overrides)
    if arguments.hydra_help:  # Hydra's own help needs no configuration
        return flags
    if arguments.shell_completion:
        return [*overrides, *flags]
    parsed = check_overrides(overrides)
    if any(override.key_or_group.startswith("reproduce.") for override in parsed) and not arguments.cfg:
        overrides += _of_a_reproduction(parsed)
        flags = [*flags, *([] if arguments.multirun else ["--multirun"])]
    return [*overrides, *flags]


def as_typed(words: Sequence[str]) -> list[str]:
    """The arguments that `prepare` returned for a reproduction without those that it added."""
    added = ("hydra/sweeper=hymarl_reproduce", "hydra/launcher=joblib", "hydra.launcher.n_jobs=", "--multirun")
    return [word for word in words if not word.startswith(added)]


def _of_a_reproduction(parsed: Sequence[Override]) -> list[str]:
    """The sweeper of reproductions, and the launcher that runs as many jobs at once as was asked for."""
    given: dict[str, Any] = {override.key_or_group: override for override in parsed}
    lists = ("reproduce.task", "reproduce.methods", "reproduce.seeds")
    for key in (*lists, "reproduce.tier", "reproduce.jobs"):
        if key in given and given[key].is_sweep_override():
            values = str(given[key].input_line).partition("=")[2]
            instead = f"a list: {key}=[{values}]" if key in lists else "one value"
            raise ConfigError(f"{key}={values}: give {instead}")
    added = [] if "hydra/sweeper" in given else ["hydra/sweeper=hymarl_reproduce"]
    if "hydra/launcher" in given:
        return added
    jobs = given["reproduce.jobs"].value() if "reproduce.jobs" in given else None
    if jobs is not None and not (isinstance(jobs, int) and not isinstance(jobs, bool) and jobs >= 1):
        raise ConfigError(f"reproduce.jobs={jobs}: give a whole number from 1")
    installed = find_spec("hydra_plugins.hydra_joblib_launcher") is not None
    if jobs is not None and jobs > 1 and not installed:
        raise ConfigError(f"reproduce.jobs={jobs} needs another package: pip install 'hymarl[sweep]'")
    n = jobs or (available_cores() if installed else 1)
    return [*added, *(["hydra/launcher=joblib", f"hydra.launcher.n_jobs={n}"] if n > 1 else [])]


def check_overrides(overrides: Sequence[str]) -> list[Override]:
    """The overrides, parsed.

    Raises:
        ConfigError: Hydra would wrongly accept one of them, or refuse it with a message that is hard to understand.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for override in parsed:
        _check(override)
    return parsed


def no_override() -> str:
    """The end of the error message about an argument that is not an override."""
    return f"an override reads key=value; {program_name()} --help says what can be typed"


def make_here_importable() -> None:
    """Add the current folder to the end of ``sys.path``, so that its modules can be imported.

    If it contains a folder ``hymarl``, e.g. a clone of this project, it is not added: that would hide the package.
    """
    here = os.getcwd()
    if here not in sys.path and not Path(here, "hymarl").is_dir():
        sys.path.append(here)


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; {program_name()} --help says what can be typed")


def _without(words: Sequence[str], overrides: Sequence[str]) -> list[str]:
    """The arguments that are not overrides; matched from the end, as the value of a flag may equal an override."""
    left, flags = list(overrides), []
    for word in reversed(words):
        if left and left[-1] == word:
            left.pop()
        else:
            flags.append(word)
    return flags[::-1]


def _check(override: Override) -> None:
    """See `check_overrides`."""
    key = override.key_or_group
    if not re.fullmatch(r"[\w.@/-]+", key):
        raise ConfigError(f"cannot read {override.input_line!r}: {no_override()}")
    if f"${{{key}}}" in str(override.input_line):
        raise ConfigError(f"{override.input_line}: {key} refers to itself")
    if key == "hydra":
        raise ConfigError(f"{override.input_line}: settings of Hydra have longer names, as in hydra.run.dir=…")
    if key.startswith("hydra/") and any(isinstance(value, int | float | dict) for value in _values(override)):
        raise ConfigError(f"{override.input_line}: one option is chosen by its name; --hydra-help lists them")
    if key in GROUPS and override.package is None:
        if not override.is_delete():
            for value in _values(override):
                check_option(key, value)
        elif key not in WITHOUT_SECTION:
            raise cannot_be_left_out(key)
    elif override.is_delete() and re.fullmatch(rf"({'|'.join(_SECTIONS)})\.[^.]+", key):
        raise ConfigError(f"~{key}: a setting cannot be left out; give it another value: {key}=…")
    elif key == "hydra.output_subdir" and override.value() is not None:
        value = str(override.value())
        if not re.fullmatch(r"[\w-][\w.-]*", value.lstrip(".")):
            raise ConfigError(f"{key}={value}: give the name of a folder, or null for none")


def _values(override: Override) -> list[Any]:
    """The values that an override gives to its key in the jobs of a sweep; none if it does not list them (``glob``)."""
    if not override.is_sweep_override():
        return [override.value()]
    if not override.is_choice_sweep() or override.value_type is ValueType.GLOB_CHOICE_SWEEP:
        return []
    values = list(override.sweep_iterator())
    return [value.text if isinstance(value, QuotedString) else value for value in values]

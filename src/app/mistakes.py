"""Turn errors into one-sentence messages: what is wrong, where, and what to type instead."""

from __future__ import annotations

import errno
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

from hydra import initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError, OmegaConfBaseException
from yaml import YAMLError

from ..components.files import WriteError
from ..registry import PACKAGES, ConfigError, suggest
from .command_line import no_override
from .config import SINGLE_GROUPS, known_at_the_top
from .names import WHEN_CHOSEN, one_line, unknown_key
from .options import lacks_first_line, no_option, unknown_logger

_NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.ENOTDIR, errno.EEXIST, errno.ENOSPC, errno.EDQUOT)
_HYDRA_RAISES, _TRACEBACK = "HYDRA_FULL_ERROR", "HYMARL_TRACEBACK"

_PLUGINS: Mapping[str, str] = {
    "hydra/launcher/joblib": "'hymarl[sweep]'",
    "hydra/launcher/ray": "'hymarl[ray]'",
    "hydra/launcher/ray_aws": "hydra-ray-launcher",
    "hydra/launcher/rq": "hydra-rq-launcher",
    "hydra/launcher/submitit_local": "'hymarl[submitit]'",
    "hydra/launcher/submitit_slurm": "'hymarl[submitit]'",
    "hydra/sweeper/ax": "hydra-ax-sweeper",
    "hydra/sweeper/nevergrad": "hydra-nevergrad-sweeper",
    "hydra/sweeper/optuna": "hydra-optuna-sweeper",  # for Optuna 2; ours is hymarl_optuna
}
"""Options of Hydra that need other packages, and what to install for them."""


class JobFailed(Exception):
    """A job of a sweep, or the sweep, ended with an error; ``args`` are the exit code and the text about it."""


def explain(error: Exception, *, composing: bool = False, overrides: Sequence[str] = ()) -> str | None:
    """A mistake in the configuration as one sentence, None if the error is something else.

    Args:
        error: what was raised.
        composing: whether it was raised before a job began; if so, it is about the command line, whatever its type.
        overrides: the overrides of the command line.
    """
    if isinstance(error, ConfigError | WriteError):
        return str(error)
    if isinstance(error, MissingConfigException) and "/" in str(error.missing_cfg_file):
        return _explain_missing(str(error.missing_cfg_file), list(error.options or []))
    if isinstance(error, OverrideParseException):
        return _explain_unread(error.override)
    file = _file_in_hand(error) if composing else None
    if file:
        return f"{file}.yaml cannot be read: {_unreadable(error)}"
    logging = values_inside("configure_log", error) if composing else {}
    if (isinstance(error, AssertionError | TypeError) and logging) or "verbose_list" in logging:
        return "hydra.verbose: give true, false, the name of a logger, or a list of names"
    if isinstance(error, HydraException | OmegaConfBaseException):
        return _explain_hydra(error, overrides)
    if logging:
        return f"hydra.{'job' if values_inside('run_job', error) else 'hydra'}_logging: {one_line(error)}"
    if composing and isinstance(error, UserWarning):  # about a missing folder of the search path
        folder = one_line(error).partition("path=")[2].removesuffix(" is not available.")
        return f"hydra.searchpath: there is no {folder}"
    if composing and isinstance(error, KeyError):
        return f"hydra.job.env_copy: there is no environment variable {error}"
    if composing and isinstance(error, OSError) and error.errno in _NOT_WRITABLE:
        return f"cannot write {error.filename}: {error.strerror}; choose another place with hydra.run.dir=…"
    if composing and str(error).startswith("Unknown plugin class : 'hydra_plugins.hydra_ray"):  # of an option of ours
        return f"this launcher needs another package: pip install {_PLUGINS['hydra/launcher/ray']}"
    return one_line(error) if composing and isinstance(error, OSError | ValueError | YAMLError) else None


def show(error: Exception, sentence: str | None, prefix: str = "") -> int:
    """Print the sentence about a mistake, or else the traceback; returns the exit code."""
    code, text = describe(error, sentence)
    print(prefix, text, sep="", file=sys.stderr)
    return code


def describe(error: Exception, sentence: str | None) -> tuple[int, str]:
    """The exit code, and the sentence about a mistake, or else the traceback."""
    brief = sentence and os.environ[_TRACEBACK] != "1"
    text = str(sentence) if brief else "".join(traceback.format_exception(error))
    return 2 if sentence and not isinstance(error, WriteError) else 1, text


def let_hydra_raise() -> None:
    """Make Hydra raise its errors, not print them; the user's ``HYDRA_FULL_ERROR`` is kept in ``HYMARL_TRACEBACK``."""
    os.environ.setdefault(_TRACEBACK, os.environ.get(_HYDRA_RAISES, "0"))
    os.environ[_HYDRA_RAISES] = "1"


def values_inside(function: str, error: BaseException) -> Mapping[str, Any]:
    """The local variables of Hydra's function of this name, if the error passed through it; else empty."""
    values: dict[str, Any] = {}
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == function:
            values |= frame.f_locals
    return values


def _explain_unread(override: str) -> str:
    key, _, value = override.partition("=")
    if not value or not re.fullmatch(r"[+~]*[\w.@/-]+", key):
        reason = no_override()
    elif value.startswith("="):
        reason = f"an override has one =, as in {key}={value.lstrip('=')}"
    else:
        reason = f"a value with unusual characters needs quotes inside the shell's: \"{key}='{value}'\""
    return f"cannot read {override!r}: {reason}"


def _explain_missing(file: str, options: list[str]) -> str:
    group, _, wrong = file.rpartition("/")
    if file in _PLUGINS:
        return f"{group}={wrong} needs another package: pip install {_PLUGINS[file]}"
    if group.startswith("hydra/"):
        return f"{group}={wrong}: there is no such option; {suggest(wrong, options)}"
    return str(no_option(group, wrong, options))


def _explain_hydra(error: Exception, overrides: Sequence[str]) -> str:
    text, cause = one_line(error), error.__cause__ or error
    wrapped = re.match("ConfigError raised while resolving interpolation: (.*)", one_line(cause))
    if wrapped:
        return wrapped[1]
    sweep = re.match(r"(?:Ambiguous value for argument|Sweep parameters) '(.*?)' (?:1\. To use|requires)", text)
    if sweep:
        return f"{sweep[1]}: several values are a sweep: -m {sweep[1]}"
    override = re.search(r"(?:Error merging override |Could not override ')(.*?)(?:'\.|$)", text)
    if override and override[1].startswith("hydra/"):
        return f"{override[1]}: Hydra has no such group; --hydra-help lists those it has"
    packaged = re.search(r"In '(algo|experiment)/(.*)': Could not override '.*@", text)
    if packaged:
        return lacks_first_line(packaged[1], packaged[2], "_global_")
    if isinstance(cause, ConfigAttributeError | ConfigKeyError) and isinstance(cause.parent_node, DictConfig):
        typed = override[1].partition("=")[0] if override else str(cause.full_key)
        return _explain_key(typed.lstrip("+~"), str(cause.full_key), cause.parent_node, overrides)
    if "No match in the defaults list" in text and override:
        return unknown_key(override[1], known_at_the_top(), None)
    if override and cause is not error:
        return f"{override[1]}: {one_line(cause)}"
    deleted = re.search(r"Could not delete from config\. '(.*)' does not exist", text)
    if deleted:
        return f"~{deleted[1]}: there is no {deleted[1]} that could be left out"
    if isinstance(error, OmegaConfBaseException) and error.full_key:
        return f"{error.full_key}: {text}"
    return text or one_line(cause)


def _explain_key(typed: str, missing: str, node: DictConfig, overrides: Sequence[str]) -> str:
    """The sentence about a key (with the sections before it) that a node does not have.

    Args:
        typed: the whole key that was typed.
        missing: the beginning of it that does not exist.
        node: the section in which it was looked for.
        overrides: the overrides of the command line.
    """
    section, _, wrong = missing.rpartition(".")
    root = node._get_root()
    assert isinstance(root, DictConfig)
    known = {str(key): value for key, value in node.items_ex(resolve=False)}
    if typed.startswith(f"{WHEN_CHOSEN}."):
        return _explain_when_chosen(typed)
    if typed.startswith("logger.") and section in ("", "logger"):
        return unknown_logger(typed.split(".")[1], [*known] if section else [])
    if not section:
        return unknown_key(typed, known_at_the_top(), root)
    if not known:
        return f"{section} is empty: add {wrong!r} to it with +{missing}=…"
    group, _, below = section.partition(".")
    where = section
    if group == "logger":
        where = f"logger={below}"
    elif group in PACKAGES and not below:
        where = f"{group}={_choices(overrides).get(group, known.get('name'))}"
    known.pop("name", None)
    return unknown_key(missing, [*known], root, where) + (
        f"; a new one is +{missing}=…" if below in ("kwargs",) else ""
    )


def _explain_when_chosen(typed: str) -> str:
    """The sentence about a key under ``when_chosen`` that no option file has set."""
    group, _, below = typed.removeprefix(f"{WHEN_CHOSEN}.").partition(".")
    if group not in SINGLE_GROUPS:
        return f"{WHEN_CHOSEN}: unknown key {group!r}; {suggest(group, SINGLE_GROUPS)}"
    setting = f"{group}.{below.partition('.')[2] or '…'}"
    return f"{typed}: there is no such value yet; add it with +{typed}=…, or give the setting itself: {setting}=…"


def _choices(overrides: Sequence[str]) -> Mapping[str, Any]:
    """The option of each group that a command line chooses; empty if Hydra cannot compose it."""
    running = GlobalHydra.instance().is_initialized()  # as between the jobs of a sweep
    try:
        with nullcontext() if running else initialize_config_module("hymarl.conf", version_base="1.3"):
            loader = GlobalHydra.instance().config_loader()
            return loader.compute_defaults_list("config", list(overrides), RunMode.RUN).overrides.known_choices
    except (HydraException, OmegaConfBaseException):
        return {}


def _file_in_hand(error: BaseException) -> str | None:
    """The option file that Hydra was reading when it raised an error, or whose defaults list is circular."""
    cause = error.__cause__ or error
    reading = values_inside("load_config", cause).get("config_path")
    following = values_inside("_create_defaults_tree_impl", cause).get("path")
    return reading or (following if isinstance(cause, RecursionError) else None)


def _unreadable(error: BaseException) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, RecursionError):
        return "it refers to itself, or is nested too deeply"
    if isinstance(cause, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {cause.start + 1})"
    return one_line(cause)

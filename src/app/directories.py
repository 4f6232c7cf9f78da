"""Where runs and sweeps leave their files."""

from __future__ import annotations

import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from hydra_plugins.hymarl.optuna_sweeper import HymarlOptunaSweeper
from hydra_plugins.hymarl.reproduce_sweeper import HymarlReproduceSweeper
from hydra_plugins.hymarl.sweeper import HymarlSweeper
from omegaconf import OmegaConf

from ..components.files import WriteError
from ..registry import ConfigError
from ..training.run_directory import refuse_links
from .config import SINGLE_GROUPS, is_learned
from .mistakes import explain, values_inside
from .options import algorithm, check_option
from .runs import require_run


def register_resolvers() -> None:
    """Register what ``config.yaml`` uses: the resolvers ``${hymarl.…}`` and the sweepers."""
    for sweeper in (HymarlSweeper, HymarlOptunaSweeper, HymarlReproduceSweeper):
        Plugins.instance().register(sweeper)  # Hydra finds no plugins of packages that are installed editable
    for name, resolver in (
        ("directory", _directory),
        ("sweep_directory", _sweep_directory),
        ("hydra_folder", _hydra_folder),
    ):
        OmegaConf.register_new_resolver(f"hymarl.{name}", resolver, use_cache=True, replace=True)


@contextmanager
def tidied_up(directory: str, subdirectory: str | None, start: str) -> Iterator[None]:
    """Run a job inside the ``with`` block; if it fails before it has written a file, delete what Hydra wrote for it.

    If an earlier run cannot be resumed, its directory is left as it was before. The current folder is restored, so that
    the next job of a sweep starts in the same one.

    Args:
        directory: the job's output directory.
        subdirectory: the folder in it to which Hydra saved the composed configuration.
        start: the folder in which the command was typed.
    """
    try:
        yield
    except BaseException as error:
        refused = isinstance(error, Exception) and not isinstance(error, WriteError) and explain(error) is not None
        _discard(directory, subdirectory, start, mistake=refused)
        raise
    finally:
        os.chdir(start)  # the job may have changed to elsewhere


def discard_what_never_began(error: Exception) -> None:
    """Delete what Hydra wrote for a job, if the error was raised after that, but before the job began."""
    values = values_inside("run_job", error)
    if "config" not in values:
        return
    hydra = values["config"].hydra
    directory = hydra.runtime.get("output_dir")
    if directory and Path(directory).is_dir():
        _discard(directory, hydra.output_subdir, os.getcwd(), mistake=True)


def _discard(directory: str, subdirectory: str | None, start: str, *, mistake: bool) -> None:
    path = Path(directory)
    earlier = mistake and subdirectory != ".hydra"
    if (not subdirectory and path.samefile(start)) or (not earlier and any(p.name != ".hydra" for p in path.iterdir())):
        return
    if subdirectory:
        shutil.rmtree(path / subdirectory, ignore_errors=True)
    for folder in (path / subdirectory).parents if subdirectory else (path, *path.parents):
        inside = folder.is_relative_to(path) or Path(start) in folder.parents
        if not inside or any(folder.iterdir()):
            return
        folder.rmdir()


def _directory(
    reported: Any, shown: Any, played: Any, check: Any, resume: Any, evaluate: Any, export: Any, policy: Any
) -> str:
    """The output directory of a single job; refuses mistakes before Hydra creates it."""
    if check is True:
        return "."
    if reported or shown or played is not None:
        return f"results/{'reports' if reported else 'dashboards' if shown else 'testbed'}/{_stamp()}"
    for key, given in (("resume", resume), ("evaluate", evaluate), ("export", export)):
        if given == "":
            raise ConfigError(f"{key} is empty; give the directory of a run: {key}=results/…")
        if isinstance(given, bool):
            raise ConfigError(f"{key}={str(given).lower()}: give the directory of a run: {key}=results/…")
        if given is not None:
            require_run(Path(str(given)).expanduser())
    if resume is not None:
        directory = Path(str(resume)).expanduser()
        refuse_links(directory)
        return str(directory)
    for folder, given in (("evaluations", evaluate), ("exports", export)):
        if given is not None:
            return f"{Path(str(given)).expanduser()}/{folder}/{_stamp()}"
    choices = HydraConfig.get().runtime.choices
    for group in (*SINGLE_GROUPS, "algo"):
        if group in choices:
            check_option(group, choices[group])
    learned = policy is not None and is_learned(str(policy))
    return new_directory(choices["env"], algorithm(choices) if learned else choices["policy"])


def new_directory(env: str, name: str) -> str:
    """The default directory of a new run.

    Args:
        env: the environment's option.
        name: the name of the algorithm or the scripted policy.
    """
    return f"results/{env}/{name}/{_stamp()}"


def _hydra_folder(resume: Any, check: Any, reported: Any, shown: Any, played: Any, export: Any) -> str | None:
    """The folder in a job's directory to which Hydra saves the composed configuration; None: it is not saved."""
    if check is True or reported or shown or played is not None or export is not None:
        return None
    return ".hydra" if resume is None else f".hydra/resumed-{_stamp()}"


def _sweep_directory(name: Any, tier: Any, task: Any) -> str:
    """The directory of a sweep of this name; what is reproduced has one for all its runs."""
    if name is None and not (tier is None and task is None):
        return "results/reproduce"
    if isinstance(name, int | float):
        raise ConfigError(f"sweep.name={name} is read as a number; begin the name with a letter")
    if name is not None and not re.fullmatch(r"[A-Za-z0-9_+-][A-Za-z0-9._+-]{0,99}", str(name)):
        raise ConfigError(f"sweep.name={name}: a name has letters, digits, '.', '_', '+' and '-' only")
    return f"results/sweeps/{_stamp() if name is None else name}"


def _stamp() -> str:
    """Date, time and a few random digits: jobs launched in the same second do not collide."""
    return f"{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"

"""The protocol of a run: what a reader needs to judge or repeat it (header, versions of packages, Git revision)."""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ..components.loggers.base import Repository
from ..components.spec import EnvSpec
from ..components.threads import Threads, available_cores
from ..runners.base import Runner
from ..training.trainer import Trainer
from .config import RunConfig


def describe_run(config: RunConfig, trainer: Trainer, threads: Threads) -> dict[str, Any]:
    """The protocol of a run that is about to begin or to be resumed."""
    runner, chosen, learner = trainer.collector.runner, config.components, trainer.learner
    parts = ", ".join(f"{g} {chosen[g].option}" for g in ("learner", "mixer", "critic", "network") if g in chosen)
    header = {
        "algorithm": f"{config.algo} ({parts})",
        "environment": f"{chosen['env'].option} (hymarl {importlib.metadata.version('hymarl')})",
        "agents": team(config, runner.spec),
        "seed": f"{config.seed} (evaluation {config.eval.seed})",
        "parameters": sum(p.numel() for p in learner.networks.parameters()),
        "steps": _steps(config.train.total_steps, runner),
        **trainer.replay.describe(),
        **learner.describe(),
        "threads": f"{threads}, {available_cores()} cores",
        "values_applied": ", ".join(config.applied) or "none",
        "values_dropped": ", ".join(config.dropped) or "none",
    }
    return {"header": header, "versions": versions(), "git_revision": revision()}


def team(config: RunConfig, spec: EnvSpec) -> int | str:
    """The number of agents, or that there is one for all."""
    return "one for all (joint)" if config.joint else spec.n_agents


def as_lines(rows: Mapping[str, Any]) -> str:
    """Names and values as text to print, one pair per line."""
    return "\n".join(f"{name.replace('_', ' '):>20}  {value}" for name, value in rows.items())


def continued(protocol: Path, now: dict[str, Any], step: int) -> dict[str, Any]:
    """The protocol of a resumed run: that of its first part, and a list ``continued`` of those of the later parts.

    Args:
        protocol: the run's ``protocol.json``; does not exist if the run was killed very early.
        now: the protocol of this part, see `describe_run`.
        step: the step it continues from.
    """
    try:
        began = json.loads(protocol.read_text(encoding="utf-8"))
        earlier = began.get("continued", [])
    except (OSError, ValueError, AttributeError):
        return now
    return {**began, "continued": [*earlier, {"step": step, **now}]}


def latest_header(protocol: dict[str, Any]) -> dict[str, Any]:
    """The header of the latest part of the run."""
    header: dict[str, Any] = [protocol, *protocol.get("continued", [])][-1]["header"]
    return header


def _steps(total: int, runner: Runner) -> str:
    """The number of steps, and in which blocks they are collected, since the last block may exceed it."""
    n, limit = runner.n_envs, runner.spec.episode_limit
    block = f"blocks of up to {n} episodes × {limit:,} steps" if n > 1 else f"episodes of up to {limit:,} steps"
    return f"{total:,} asked for, collected in {block}, {runner.placement}"


def versions() -> dict[str, str]:
    """The versions of Python and of the packages that numbers depend on."""
    packages = ("hymarl", "torch", "numpy", "numba", "hydra-core", "omegaconf")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def repository() -> Repository | None:
    """The Git checkout that this code is in; None if it is installed in another way, or there is no Git."""
    root = Path(__file__).resolve().parents[2]
    here = revision()
    if here is None:
        return None
    remote = _git(root, "config", "--get", "remote.origin.url")
    return Repository(_without_secrets(remote) if remote else root.name, here.removesuffix("-dirty"), "-" in here)


def _without_secrets(url: str) -> str:
    """An address without what may let someone in: user, password, query."""
    if "://" not in url:
        return url.rpartition("@")[2]  # as in git@host:path
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="", fragment="").geturl()


def revision() -> str | None:
    """The Git revision of this code, with ``-dirty`` if it was changed; None if it is in no checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    return _git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=False)
    except OSError:  # there is no git
        return None
    return done.stdout.strip() or None

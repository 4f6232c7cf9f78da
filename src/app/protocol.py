"""What a reader needs to judge or repeat a run: its header, versions, revision."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from ..components.episode import EpisodeBatch
from ..components.threads import Threads, available_cores
from ..training.trainer import Trainer
from .config import RunConfig


def describe_run(config: RunConfig, trainer: Trainer, threads: Threads) -> dict[str, Any]:
    """What a reader needs to judge or repeat the run."""
    spec, parts, settings = trainer.runner.spec, config.components, trainer.learner
    episode_bytes = EpisodeBatch.bytes_per_episode(spec)
    header = {
        "algorithm": f"{config.algo} (learner {parts['learner'].option}, mixer {parts['mixer'].option}, "
        f"network {parts['network'].option})",
        "environment": f"{parts['env'].option} (hymarl {importlib.metadata.version('hymarl')})",
        "agents": spec.n_agents,
        "seed": f"{config.seed} (evaluation {config.eval.seed})",
        "parameters": sum(p.numel() for p in settings.networks.parameters()),
        "steps": f"{trainer.total_steps} in {trainer.runner.env.n_envs} environments, {trainer.runner.where}",
        "updates_per_episode": config.train["updates_per_episode"],
        "targets": settings.target.describe(),
        "replay_memory": f"{episode_bytes * config.train['buffer_episodes'] / 1e6:.0f} MB, as much on disk when full",
        "threads": f"{threads}, {available_cores()} cores",
        "values_applied": ", ".join(config.applied) or "none",
        "values_dropped": ", ".join(config.dropped) or "none",
    }
    return {"header": header, "versions": _versions(), "git_revision": _revision()}


def _versions() -> dict[str, str]:
    packages = ("hymarl", "torch", "numpy", "numba", "hydra-core", "omegaconf")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def _revision() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:  # there is no git
        return None

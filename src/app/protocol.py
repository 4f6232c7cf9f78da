"""What a reader needs to judge or repeat a run: its header, versions, revision."""

from __future__ import annotations

import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

from ..components.threads import Threads, available_cores
from ..training.trainer import Trainer
from .config import RunConfig


def describe_run(config: RunConfig, trainer: Trainer, threads: Threads) -> dict[str, Any]:
    """What a reader needs to judge or repeat the run."""
    runner, chosen, learner = trainer.collector.runner, config.components, trainer.learner
    parts = ", ".join(f"{g} {chosen[g].option}" for g in ("learner", "mixer", "critic", "network") if g in chosen)
    header = {
        "algorithm": f"{config.algo} ({parts})",
        "environment": f"{chosen['env'].option} (hymarl {importlib.metadata.version('hymarl')})",
        "agents": runner.spec.n_agents,
        "seed": f"{config.seed} (evaluation {config.eval.seed})",
        "parameters": sum(p.numel() for p in learner.networks.parameters()),
        "steps": f"{config.train.total_steps} in {runner.n_envs} environments, {runner.placement}",
        **trainer.replay.describe(),
        **learner.describe(),
        "threads": f"{threads}, {available_cores()} cores",
        "preset_values": ", ".join(config.applied) or "none",
        "dropped_presets": ", ".join(config.dropped) or "none",
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

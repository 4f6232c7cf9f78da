"""What one job does: decide between training, continuing and evaluating, and do it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from hydra.conf import HydraConf
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from ..components.compiled import announced_compilation
from ..components.threads import available_cores
from ..ranges import absolute
from ..registry import ConfigError
from .check import check
from .config import RunConfig, change, overridden_keys, read
from .evaluate import evaluate_run, evaluate_scripted
from .runs import require_run, require_unused
from .saved import load_saved
from .train import train

_WHEN_RESUMING = frozenset({"resume", "trust", "logger", "train.total_steps"})
_WHEN_CHECKING = frozenset({"check", "env", "agents"})
_WHEN_EVALUATING = frozenset(
    {"evaluate", "trust", "render", "env", "agents", "runner", "eval", "device", "threads", "logger"}
)


@announced_compilation()
def launch(cfg: DictConfig, job: HydraConf) -> None:
    """Run one composed configuration in its output directory.

    Raises:
        ConfigError: a mistake, in one sentence.
    """
    overrides = OmegaConf.to_container(job.overrides.task, resolve=False)  # with ${…} as typed
    assert isinstance(overrides, list)
    path, here = Path(job.runtime.output_dir), Path(job.runtime.cwd)
    config = read(cfg, job.runtime.choices, overrides, here)
    if cfg.check:
        _allow(_WHEN_CHECKING, overrides, "check=true looks at an environment alone")
        check(config)
        return
    if cfg.resume is not None:
        source = _source(cfg.resume, here)
        train(_resumed(source, config, overrides), source, resume=True, jobs=_jobs(job))
        return
    require_unused(path)
    if cfg.evaluate is not None:
        source = _source(cfg.evaluate, here)
        evaluate_run(_evaluated(source, config, overrides), source, path, cfg.render)
    elif config.components["policy"].name != "learned":
        evaluate_scripted(_test_episodes(config, overrides), path, cfg.render)
    else:
        if cfg.render is not None:
            raise ConfigError("render shows an evaluated policy; say which: evaluate=<run directory>, or policy=random")
        train(config, path, jobs=_jobs(job))


def _source(given: str, here: Path) -> Path:
    """The directory of an earlier run."""
    source = Path(absolute(str(given), here))
    require_run(source)
    return source


def _jobs(job: HydraConf) -> int:
    """How many jobs of a sweep run at the same time: as many as its launcher says, one where it does not."""
    if job.mode is not RunMode.MULTIRUN or "n_jobs" not in job.launcher:
        return 1
    return int(job.launcher.n_jobs) if job.launcher.n_jobs > 0 else available_cores()


def _resumed(source: Path, config: RunConfig, overrides: list[str]) -> RunConfig:
    """The run's own configuration; only how long and where it logs may change."""
    if not (source / "status.json").exists():
        raise ConfigError(f"{source} holds an evaluation, which cannot be continued")
    saved = load_saved(source, config, to_resume=True)
    _allow(
        _WHEN_RESUMING,
        overrides,
        "resume continues a run exactly as it was configured",
        f", or start a new run from its weights with init_from={source}",
    )
    return change(saved, config, overrides)


def _evaluated(source: Path, config: RunConfig, overrides: list[str]) -> RunConfig:
    """The run's own configuration, possibly on another environment."""
    saved = load_saved(source, config)
    _allow(_WHEN_EVALUATING, overrides, "evaluate measures the policy that a run has learned")
    return _test_episodes(change(saved, config, overrides), overrides)


def _allow(keys: frozenset[str], overrides: list[str], why: str, instead: str = "") -> None:
    others = sorted(key for key in overridden_keys(overrides) if not {key, key.split(".")[0]} & keys)
    if others:
        raise ConfigError(f"{why}; leave out {', '.join(others)}{instead}")


def _test_episodes(config: RunConfig, overrides: list[str]) -> RunConfig:
    """Where there is no validation, ``eval.episodes=100`` can only mean the test."""
    keys = overridden_keys(overrides)
    if "eval.episodes" not in keys or "eval.test_episodes" in keys:
        return config
    return replace(config, eval=replace(config.eval, test_episodes=config.eval.episodes))

"""What one job does: decide between training, continuing and evaluating, and do it."""

from __future__ import annotations

from pathlib import Path

from hydra.conf import HydraConf
from omegaconf import DictConfig

from . import experiment
from .config import RunConfig, change, load_saved, overridden_keys, read
from .registry import ConfigError

_WHEN_RESUMING = frozenset({"resume", "train.total_steps"})


def launch(cfg: DictConfig, job: HydraConf) -> None:
    """Run one composed configuration in its output directory.

    Raises:
        ConfigError: a mistake, in one sentence.
    """
    overrides = list(job.overrides.task)
    config = read(cfg, job.runtime.choices, overrides)
    path = Path(job.runtime.output_dir)
    if cfg.resume is not None:
        resumed = _resumed(cfg, config, overrides)
        experiment.train(resumed, Path(cfg.resume), experiment.Start(resume=True))
    elif cfg.evaluate is not None:
        source = Path(cfg.evaluate)
        experiment.evaluate_run(change(load_saved(source), config, overrides), source, path)
    elif config.components["policy"].name != "learned":
        experiment.evaluate_scripted(config, path)
    else:
        init_from = None if cfg.init_from is None else Path(cfg.init_from)
        experiment.train(config, path, experiment.Start(init_from=init_from))


def _resumed(cfg: DictConfig, config: RunConfig, overrides: list[str]) -> RunConfig:
    """The run's own configuration; only how long and where it logs may change."""
    others = sorted(
        key for key in overridden_keys(overrides) if key.split(".")[0] != "logger" and key not in _WHEN_RESUMING
    )
    if others:
        raise ConfigError(
            f"resume continues a run exactly as it was configured; leave out {', '.join(others)}, "
            f"or start a new run from its weights with init_from={cfg.resume}"
        )
    return change(load_saved(Path(cfg.resume)), config, overrides)

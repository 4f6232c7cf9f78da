"""What may be changed when an earlier run is continued or evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..registry import ConfigError
from .config import RunConfig, change, overridden_keys
from .saved import load_saved

_WHEN_RESUMING = frozenset({"resume", "trust", "logger", "train.total_steps"})
_WHEN_EVALUATING = frozenset({"evaluate", "trust", "render", "env", "agents", "runner", "eval", "device", "threads"})


def resumed(source: Path, config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A run's own configuration; only how long and where it logs may change.

    Args:
        source: directory of the run.
        config: what the overrides compose to.
        overrides: as typed.

    Raises:
        ConfigError: there is nothing to continue, or something else is to be changed.
    """
    if not (source / "status.json").exists():
        raise ConfigError(f"{source} holds an evaluation, which cannot be continued")
    saved = load_saved(source, config, to_resume=True)
    allow(
        _WHEN_RESUMING,
        overrides,
        "resume continues a run exactly as it was configured",
        f", or start a new run from its weights with init_from={source}",
    )
    return change(saved, config, overrides)


def evaluated(source: Path, config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """A run's own configuration, possibly on another environment; arguments and mistakes as for `resumed`."""
    saved = load_saved(source, config)
    allow(_WHEN_EVALUATING, overrides, "evaluate measures the policy that a run has learned")
    return episodes_to_test(change(saved, config, overrides), overrides)


def allow(keys: frozenset[str], overrides: Sequence[str], why: str, instead: str = "") -> None:
    """Refuse overrides of other keys.

    Args:
        keys: whole ones, or their first parts.
        overrides: as typed.
        why: the beginning of the sentence.
        instead: the end of it.

    Raises:
        ConfigError: names them.
    """
    others = sorted(key for key in overridden_keys(overrides) if not {key, key.split(".")[0]} & keys)
    if others:
        raise ConfigError(f"{why}; leave out {', '.join(others)}{instead}")


def episodes_to_test(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Where there is no validation, ``eval.episodes=100`` can only mean the test."""
    keys = overridden_keys(overrides)
    if "eval.episodes" not in keys or "eval.test_episodes" in keys:
        return config
    return replace(config, eval=replace(config.eval, test_episodes=config.eval.episodes))

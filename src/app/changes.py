"""What may be changed when an earlier run is continued or evaluated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from ..registry import ConfigError
from .config import RunConfig, change, overridden_keys
from .saved import load_saved

_WHEN_RESUMING = frozenset({"resume", "trust", "logger", "render", "train.total_steps"})
_WHEN_EXPORTING = frozenset({"export", "trust", "eval.checkpoint", "env"})
_WHEN_EVALUATING = frozenset({"evaluate", "trust", "render", "env", "agents", "runner", "eval", "device", "threads"})


def resumed(source: Path, config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """The configuration to resume a run with: its own, but for the number of steps, the loggers and trust.

    Args:
        source: directory of the run.
        config: what the overrides compose to.
        overrides: as typed.

    Raises:
        ConfigError: there is nothing to continue, or an override would change something else.
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
    """The configuration to evaluate a run with: its own, with some overrides; arguments and errors as for `resumed`."""
    saved = load_saved(source, config)
    allow(_WHEN_EVALUATING, overrides, "evaluate measures the policy that a run has learned")
    return episodes_to_test(change(saved, config, overrides), overrides)


def exported(source: Path, config: RunConfig, overrides: Sequence[str]) -> tuple[RunConfig, RunConfig]:
    """The configuration of a run whose policy is exported, and that configuration with some overrides, such as of the
    environment that the policy is for; arguments and errors as for `resumed`."""
    saved = load_saved(source, config)
    allow(_WHEN_EXPORTING, overrides, "export writes the policy that a run has learned")
    return saved, change(saved, config, overrides)


def allow(keys: frozenset[str], overrides: Sequence[str], why: str, instead: str = "") -> None:
    """Refuse overrides of keys that are not allowed.

    Args:
        keys: the allowed keys, or their first parts: ``env`` allows ``env.steps``.
        overrides: as typed.
        why: the beginning of the error message.
        instead: its end.

    Raises:
        ConfigError: names the keys that are not allowed.
    """
    others = sorted(key for key in overridden_keys(overrides) if not {key, key.split(".")[0]} & keys)
    if others:
        raise ConfigError(f"{why}; leave out {', '.join(others)}{instead}")


def require_what_sections_are_about(cfg: DictConfig, overrides: Sequence[str], *, sweep: bool) -> None:
    """Refuse settings of a sweep, report, dashboard or testbed where there is none.

    Args:
        cfg: the composed configuration.
        overrides: as typed.
        sweep: whether this is a job of a sweep.

    Raises:
        ConfigError: says what is missing, or that a sweep has no reports among its jobs.
    """
    for key in sorted(overridden_keys(overrides)):
        section = key.split(".")[0]
        if section == "search" and not sweep:
            raise ConfigError("search=… makes many runs; add -m")
        if section == "sweep" and not sweep:
            raise ConfigError(f"{key} is about a sweep; add -m, and several values of a setting")
        if section in ("report", "dashboard", "testbed"):
            if sweep:
                raise ConfigError(f"{key}: a {section} is not a job of a sweep; leave out -m")
            if section == "testbed" and cfg.testbed.policy is None:
                raise ConfigError(
                    f"{key} is about a testbed; say what is to be tried: testbed.policy=latency, none, or a run"
                )
            if section != "testbed" and not cfg[section].runs:
                raise ConfigError(f"{key} is about a {section}; say of which runs: {section}.runs=[results/…]")


def episodes_to_test(config: RunConfig, overrides: Sequence[str]) -> RunConfig:
    """Without training there is no validation, so an override of ``eval.episodes`` is taken for the test episodes."""
    keys = overridden_keys(overrides)
    if "eval.episodes" not in keys or "eval.test_episodes" in keys:
        return config
    return replace(config, eval=replace(config.eval, test_episodes=config.eval.episodes))

"""Settings of a search, and Optuna itself, which is imported when a search begins."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from omegaconf import OmegaConf

from ..ranges import Count, Fraction, Seed
from ..registry import ConfigError, check_settings

WHERE = "hydra.sweeper"
"""The section of the settings."""


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """Settings of a search, see ``conf/hydra/sweeper/hymarl_optuna.yaml``.

    Attributes:
        sampler: which settings are tried next.
        sampler_kwargs: arguments of its class.
        seed: of the sampler.
        pruner: which trials are ended early.
        pruner_kwargs: arguments of its class.
        objective: a column of ``evaluations.csv``.
        direction: of improvement.
        score: which of a run's validations count.
        n_trials: of the whole study; those that were completed and pruned count.
        n_jobs: how many trials the launcher gets at once.
        max_failure_rate: the part of ``n_trials`` that may fail before a search ends.
        storage: a URL, or the path of a journal file; None for a database in the sweep's directory.
        study_name: None for the name of the sweep.
        params: what is searched beside the command line.
    """

    sampler: Literal["tpe", "random", "grid", "cmaes"]
    sampler_kwargs: dict[str, Any]
    seed: Seed
    pruner: Literal["none", "median", "hyperband"]
    pruner_kwargs: dict[str, Any]
    objective: str
    direction: Literal["maximize", "minimize"]
    score: Literal["last", "best", "mean"]
    n_trials: Count
    n_jobs: Count
    max_failure_rate: Fraction
    storage: str | None
    study_name: str | None
    params: dict[str, Any] | None


def read_settings(given: Mapping[str, Any]) -> SearchSettings:
    """The settings as Hydra passes them, checked.

    Raises:
        ConfigError: a mistake in them.
    """
    plain = OmegaConf.to_container(OmegaConf.create(dict(given)), resolve=True)
    assert isinstance(plain, dict)
    values = {str(key): value for key, value in plain.items()}
    if values.pop("max_batch_size", None) is not None:  # of the other sweeper, whose settings `search=…` extends
        raise ConfigError(f"{WHERE}.max_batch_size is not for a search; {WHERE}.n_jobs is the number of trials at once")
    return SearchSettings(**check_settings(SearchSettings, values, WHERE))


def optuna_module(name: str = "optuna") -> Any:
    """Optuna, or another module that a search needs.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"a search needs {name}, which is not installed: pip install 'hymarl[search]'") from None

"""Optuna's samplers and pruners, made of the settings of a search and tried out before anything runs."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..registry import ConfigError
from .names import one_line
from .search_settings import WHERE, SearchSettings, optuna_module
from .search_space import Choice, Interval, Space

if TYPE_CHECKING:
    import optuna

_REHEARSED = 100  # trials, at most


def make_sampler(settings: SearchSettings, space: Space, n_trials: int) -> Any:
    """The sampler of a study with so many trials.

    It draws other numbers after each continuation, else it would draw the same trials again.

    Raises:
        ConfigError: a mistake in the settings, or Optuna is not installed.
    """
    name = settings.sampler
    own: dict[str, Any] = {"seed": (settings.seed + 1000003 * n_trials) % 2**32}
    if name == "tpe":
        own["constant_liar"] = settings.n_jobs > 1  # trials at the same time do not all try the same
    if name == "cmaes":
        if not any(isinstance(parameter, Interval) for parameter in space.parameters.values()):
            raise ConfigError(f"{WHERE}.sampler=cmaes searches numbers; give an interval(…), or another sampler")
        optuna_module("cmaes")
        own["warn_independent_sampling"] = False
    samplers = optuna_module().samplers
    kinds = {
        "tpe": samplers.TPESampler,
        "random": samplers.RandomSampler,
        "grid": samplers.RandomSampler,  # all points are queued before, so that it has nothing to draw
        "cmaes": samplers.CmaEsSampler,
    }
    return _construct("sampler", kinds[name], own, settings.sampler_kwargs)


def make_pruner(settings: SearchSettings, validations: tuple[int, int]) -> Any:
    """The pruner.

    Args:
        settings: of the search.
        validations: interval and largest number of steps at which trials may be ended early.

    Raises:
        ConfigError: a mistake in the settings, or Optuna is not installed.
    """
    name, (interval, total) = settings.pruner, validations
    own: dict[str, Any] = {}
    if name == "hyperband":
        own = {"min_resource": min(interval, total), "max_resource": total}
    pruners = optuna_module().pruners
    kinds = {"none": pruners.NopPruner, "median": pruners.MedianPruner, "hyperband": pruners.HyperbandPruner}
    return _construct("pruner", kinds[name], own, settings.pruner_kwargs)


def make_distributions(space: Space, earlier: Iterable[optuna.trial.FrozenTrial] = ()) -> dict[str, Any]:
    """What Optuna draws from, by parameter; the same choices in another order are those of the earlier trials."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    made: dict[str, Any] = {}
    for key, parameter in space.parameters.items():
        if isinstance(parameter, Choice):
            orders = (trial.distributions[key] for trial in earlier if key in trial.distributions)
            before = next((o.choices for o in orders if isinstance(o, CategoricalDistribution)), ())
            same = sorted(map(str, before)) == sorted(parameter.values)
            made[key] = CategoricalDistribution(before if same else parameter.values)
        elif isinstance(parameter.low, int) and isinstance(parameter.high, int):
            step = 1 if parameter.step is None else int(parameter.step)
            made[key] = IntDistribution(parameter.low, parameter.high, log=parameter.log, step=step)
        else:
            made[key] = FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
    return made


def rehearse(settings: SearchSettings, space: Space, validations: tuple[int, int]) -> None:
    """Make some trials in memory, without runs: Optuna notices many mistakes only when it uses a setting.

    Args:
        settings: of the search.
        space: of the search.
        validations: as for `make_pruner`.

    Raises:
        ConfigError: a mistake in the settings, or Optuna is not installed.
    """
    optuna = optuna_module()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    interval, total = validations
    sampler, pruner = make_sampler(settings, space, 0), make_pruner(settings, validations)
    study = optuna.create_study(direction=settings.direction, sampler=sampler, pruner=pruner)
    distributions = make_distributions(space)
    begin = settings.sampler_kwargs.get("n_startup_trials")
    n = min(_REHEARSED, 2 + begin if isinstance(begin, int) else 12)  # TPE draws ten trials at random
    steps = sorted({*itertools.islice(range(interval, total, interval), 3), total})
    for number in range(n):
        with _said_by("sampler", sampler):
            trial = study.ask(distributions)
        with _said_by("pruner", pruner):
            for step in steps:
                trial.report(float(number % 3), step)
                trial.should_prune()
        with _said_by("sampler", sampler):
            study.tell(trial, float(number % 3))


def _construct(what: str, kind: Callable[..., Any], own: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """An object of one of Optuna's classes, with our arguments and those given."""
    with _said_by(what, kind):
        return kind(**{**own, **given})


@contextmanager
def _said_by(what: str, speaker: Any) -> Iterator[None]:
    """Inside the ``with`` block, an error is a mistake in the arguments of the sampler or pruner."""
    name = speaker.__name__ if isinstance(speaker, type) else type(speaker).__name__
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about features that are experimental in Optuna
        try:
            yield
        except Exception as error:  # whatever comes of an argument of a wrong type
            raise ConfigError(f"{WHERE}.{what}_kwargs: Optuna's {name} says: {one_line(error)}") from error

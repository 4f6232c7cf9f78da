"""Optuna's study of a search: made or found again, its trials taken and told; Optuna is imported when one is opened."""

from __future__ import annotations

import importlib
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from omegaconf import OmegaConf

from ..ranges import Count, Fraction, Seed
from ..registry import ConfigError, check_settings
from .names import one_line
from .search_space import Choice, Interval, Space, Value

if TYPE_CHECKING:
    import optuna

_WHERE = "hydra.sweeper"
_AGAIN, _FAILED, _SWEEP, _RUNS = "again", "failed", "sweep", "runs"  # attributes of trials and studies


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
        raise ConfigError(
            f"{_WHERE}.max_batch_size is not for a search; {_WHERE}.n_jobs is the number of trials at once"
        )
    return SearchSettings(**check_settings(SearchSettings, values, _WHERE))


class Study:
    """The trials of a search, in a database.

    Args:
        settings: of the search.
        space: of the search.
        directory: of the sweep.
        validations: interval and largest number of steps at which trials may be ended early.
        about: what must not change between two calls: trials of other runs cannot be compared.

    Raises:
        ConfigError: Optuna is not installed; the storage cannot be used; or it holds a study of other runs or choices.
    """

    def __init__(
        self, settings: SearchSettings, space: Space, directory: Path, validations: tuple[int, int], about: list[str]
    ) -> None:
        optuna = _optuna()
        self._settings, self._space, self._directory = settings, space, directory
        self.url = settings.storage or f"sqlite:///{directory}/study.db"
        self.name = settings.study_name or directory.name
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        self._sampler(0)  # a mistake in its settings leaves no study
        pruner = self._pruner(*validations)
        try:
            self._study = optuna.create_study(
                storage=self._storage(),
                study_name=self.name,
                direction=settings.direction,
                pruner=pruner,
                load_if_exists=True,
            )
        except Exception as error:  # of SQLAlchemy, of drivers of databases, of Optuna
            raise ConfigError(f"{_WHERE}.storage={self.url} cannot be used: {one_line(error)}") from error
        self._study.sampler = self._sampler(len(self.trials()))
        self._require_same(about)
        if settings.sampler == "grid":
            self._queue_grid()

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials."""
        return self._study.get_trials(deepcopy=False)

    def count(self, *states: str) -> int:
        """How many trials have one of these states, such as ``COMPLETE``."""
        return sum(trial.state.name in states for trial in self.trials())

    def count_failed(self) -> int:
        """How many trials have failed, without those that were interrupted."""
        again = {trial.user_attrs.get(_AGAIN) for trial in self.trials()}
        return sum(trial.state.name == "FAIL" and trial.number not in again for trial in self.trials())

    @property
    def left(self) -> int:
        """How many trials are still to be made."""
        left = self._settings.n_trials - self.count("COMPLETE", "PRUNED")
        return max(0, min(left, self.count("WAITING") if self._settings.sampler == "grid" else left))

    def requeue(self, trials: Iterable[int] | None = None) -> list[int]:
        """Fail trials that run no more, and queue their values again; returns their numbers.

        Args:
            trials: their numbers; None for all that an earlier call of this sweep has left.
        """
        found = self.trials()
        again = {trial.user_attrs.get(_AGAIN) for trial in found}
        if trials is None:
            own = [t for t in found if t.state.name == "RUNNING" and self._is_own(t)]
        else:
            own = [t for t in found if t.number in set(trials) and t.state.name == "RUNNING"]
        for trial in own:
            if trial.number not in again:  # queued first: if this process dies in between, nothing is lost
                values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                self._study.enqueue_trial(values, user_attrs={_AGAIN: trial.number})
            self.failed(trial.number, "interrupted; it is queued again")
        return [trial.number for trial in own]

    def ask(self) -> optuna.Trial:
        """The next trial: one that was queued, or a new one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about features that are experimental in Optuna
            trial = self._study.ask(self._distributions())
        trial.set_user_attr(_SWEEP, str(self._directory.resolve()))
        return trial

    def completed(self, number: int, value: float) -> None:
        """A trial has this value."""
        self._study.tell(number, value)

    def pruned(self, number: int) -> None:
        """A trial was ended early; its value is the last that was reported."""
        import optuna

        self._study.tell(number, state=optuna.trial.TrialState.PRUNED)

    def failed(self, number: int, why: str) -> None:
        """A trial has no value."""
        import optuna

        trial = next(trial for trial in self.trials() if trial.number == number)
        self._study._storage.set_trial_user_attr(trial._trial_id, _FAILED, why)
        self._study.tell(number, state=optuna.trial.TrialState.FAIL)

    def ranked(self) -> list[optuna.trial.FrozenTrial]:
        """The trials with a value that were not ended early, the best first."""
        done = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        sign = -1 if self._settings.direction == "maximize" else 1
        return sorted(done, key=lambda trial: (sign * float(trial.value or 0.0), trial.number))

    def importances(self) -> dict[str, float]:
        """How much of the difference between good and other trials is due to each setting (PED-ANOVA), in parts of 1.

        Watanabe, Bansal and Hutter, 2023. Empty if there are too few trials, or none is better than another.
        """
        import optuna

        done = self.ranked()
        if len(done) < 4 or done[0].value == done[-1].value:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the number of trials
            quantile = max(0.1, 2 / len(done))  # at least two of them are the good ones
            evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
            return optuna.importance.get_param_importances(self._study, evaluator=evaluator)

    def _is_own(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether this sweep made a trial: it has the lock of its directory, so no other process runs it now."""
        return self._settings.storage is None or trial.user_attrs.get(_SWEEP) == str(self._directory.resolve())

    def _storage(self) -> Any:
        from optuna.storages import JournalStorage
        from optuna.storages.journal import JournalFileBackend

        if "://" in self.url:
            self._directory.mkdir(parents=True, exist_ok=True)
            prefix, colon, path = self.url.partition(":///")
            absolute = prefix == "sqlite" and path and not path.startswith("/")  # a job may change to another folder
            return f"{prefix}{colon}{Path(path).resolve()}" if absolute else self.url
        path = str(Path(self.url).expanduser().resolve())
        return JournalStorage(JournalFileBackend(path))

    def _pruner(self, interval: int, total: int) -> Any:
        name = self._settings.pruner
        own: dict[str, Any] = {}
        if name == "hyperband":
            own = {"min_resource": min(interval, total), "max_resource": total}
        pruners = _optuna().pruners
        kinds = {"none": pruners.NopPruner, "median": pruners.MedianPruner, "hyperband": pruners.HyperbandPruner}
        return _construct("pruner", kinds[name], own, self._settings.pruner_kwargs)

    def _sampler(self, n_trials: int) -> Any:
        """The sampler; it draws other numbers after each continuation, else it would draw the same trials again."""
        name = self._settings.sampler
        own: dict[str, Any] = {"seed": (self._settings.seed + 1000003 * n_trials) % 2**32}
        if name == "tpe":
            own["constant_liar"] = self._settings.n_jobs > 1  # trials at the same time do not all try the same
        if name == "cmaes":
            if not any(isinstance(parameter, Interval) for parameter in self._space.parameters.values()):
                raise ConfigError(f"{_WHERE}.sampler=cmaes searches numbers; give an interval(…), or another sampler")
            _optuna("cmaes")
            own["warn_independent_sampling"] = False
        samplers = _optuna().samplers
        kinds = {
            "tpe": samplers.TPESampler,
            "random": samplers.RandomSampler,
            "grid": samplers.RandomSampler,  # all points are queued before, so that it has nothing to draw
            "cmaes": samplers.CmaEsSampler,
        }
        return _construct("sampler", kinds[name], own, self._settings.sampler_kwargs)

    def _distributions(self) -> dict[str, Any]:
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        made: dict[str, Any] = {}
        for key, parameter in self._space.parameters.items():
            if isinstance(parameter, Choice):
                made[key] = CategoricalDistribution(parameter.values)
            elif isinstance(parameter.low, int) and isinstance(parameter.high, int):
                step = 1 if parameter.step is None else int(parameter.step)
                made[key] = IntDistribution(parameter.low, parameter.high, log=parameter.log, step=step)
            else:
                made[key] = FloatDistribution(parameter.low, parameter.high, log=parameter.log, step=parameter.step)
        return made

    def _require_same(self, about: list[str]) -> None:
        """Refuse a study whose trials cannot be compared with those to be made."""
        from optuna.distributions import check_distribution_compatibility

        named = f"the study {self.name} in {self.url}"
        another = f"give another {'sweep.name' if self._settings.study_name is None else f'{_WHERE}.study_name'}"
        direction = self._study.direction.name.lower()
        if direction != self._settings.direction:
            raise ConfigError(f"{named} is to {direction}; {another}")
        earlier = self._study.user_attrs.get(_RUNS)
        if earlier is not None and earlier != about and self.count("COMPLETE", "PRUNED"):
            changed = sorted(set(earlier) ^ set(about))
            raise ConfigError(f"{named} is about other runs, which differ in {', '.join(changed)}; {another}")
        distributions = self._distributions()
        for trial in self.trials():
            for key, before in trial.distributions.items():
                try:
                    if key in distributions:
                        check_distribution_compatibility(before, distributions[key])
                except ValueError:
                    raise ConfigError(
                        f"{key}: {named} has chosen it in another way: "
                        f"{_shown(before)}; only the ends of an interval may change; {another}"
                    ) from None
        if earlier != about:
            self._study.set_user_attr(_RUNS, about)

    def _queue_grid(self) -> None:
        """Queue all points that no trial has, but for those that failed before."""
        had = Counter(
            _point(trial.system_attrs.get("fixed_params", trial.params))
            for trial in self.trials()
            if trial.state.name != "FAIL"
        )
        left = self._settings.n_trials - self.count("COMPLETE", "PRUNED", "WAITING")
        for point in self._space.grid():
            if left <= 0:
                break
            if _point(point) not in had:
                self._study.enqueue_trial(point)
                left -= 1


def _point(params: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in params.items()))


def _shown(distribution: Any) -> str:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    return f"{distribution.low} to {distribution.high}"


def _construct(what: str, kind: Callable[..., Any], own: Mapping[str, Any], given: Mapping[str, Any]) -> Any:
    """An object of one of Optuna's classes, with our arguments and those given."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about features that are experimental in Optuna
        try:
            return kind(**{**own, **given})
        except (TypeError, ValueError, AssertionError) as error:
            raise ConfigError(f"{_WHERE}.{what}_kwargs: Optuna's {kind.__name__} says: {one_line(error)}") from error


def _optuna(name: str = "optuna") -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        raise ConfigError(f"a search needs {name}, which is not installed: pip install 'hymarl[search]'") from None

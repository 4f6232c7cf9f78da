"""Optuna's study of a search: made or found again, its trials taken and told."""

from __future__ import annotations

import re
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from ..components.files import WriteError
from ..registry import ConfigError
from .names import one_line
from .samplers import make_distributions, make_pruner, make_sampler
from .search_settings import WHERE, SearchSettings, optuna_module
from .search_space import Space, Value

if TYPE_CHECKING:
    import optuna

T = TypeVar("T")
_AGAIN, _FAILED, _SWEEP, _ABOUT = "again", "failed", "sweep", "about"  # attributes of trials and studies
_COUNT = ("COMPLETE", "PRUNED")  # states of the trials that are counted
_PATIENCE_S, _PAUSE_S = 60.0, 0.5  # with a database that is locked, and between two tries
_SHOWN = 5  # differences
_ODD = frozenset("?%{}")  # which mean something else in the URLs of SQLAlchemy and Optuna


class Study:
    """The trials of a search, in a database.

    Args:
        settings: of the search.
        space: of the search.
        directory: of the sweep.
        validations: interval and largest number of steps at which trials may be ended early.

    Raises:
        ConfigError: Optuna is not installed; the storage cannot be used; or its study has another direction.
    """

    def __init__(self, settings: SearchSettings, space: Space, directory: Path, validations: tuple[int, int]) -> None:
        optuna = optuna_module()
        self._settings, self._space, self._directory = settings, space, directory
        self._url = settings.storage or f"sqlite:///{directory}/study.db"
        self.url = re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", self._url)  # without a password
        self.name = settings.study_name or directory.name
        self._named = f"the study {self.name} in {self.url}"
        another = "sweep.name" if settings.study_name is None else f"{WHERE}.study_name"
        self._another = f"give another {another}"
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        pruner = make_pruner(settings, validations)
        odd = sorted(set(str(directory.resolve())) & _ODD)
        if settings.storage is None and odd:
            raise ConfigError(
                f"{directory.resolve()}: a search cannot keep its study in a directory with {' '.join(odd)} in its "
                f"name; choose another, or give {WHERE}.storage"
            )
        try:
            self._study = self._patiently(
                lambda: optuna.create_study(
                    storage=self._storage(),
                    study_name=self.name,
                    direction=settings.direction,
                    pruner=pruner,
                    load_if_exists=True,
                )
            )
        except Exception as error:  # of SQLAlchemy, of drivers of databases, of Optuna
            raise ConfigError(f"{WHERE}.storage={self.url} cannot be used: {_reason(error)}") from error
        directions = [direction.name.lower() for direction in self._study.directions]
        if directions != [settings.direction]:
            raise ConfigError(f"{self._named} is to {' and '.join(directions)}; {self._another}")
        self._study.sampler = make_sampler(settings, space, len(self.trials()))
        self._distributions = make_distributions(space, self.trials())

    def trials(self) -> list[optuna.trial.FrozenTrial]:
        """All trials."""
        return self._patiently(lambda: self._study.get_trials(deepcopy=False))

    def count(self, *states: str) -> int:
        """How many trials have one of these states, such as ``COMPLETE``."""
        return sum(trial.state.name in states for trial in self.trials())

    @property
    def made(self) -> int:
        """How many trials count."""
        return self.count(*_COUNT)

    def count_failed(self) -> int:
        """How many trials have failed, without those that were interrupted."""
        again = {trial.user_attrs.get(_AGAIN) for trial in self.trials()}
        return sum(trial.state.name == "FAIL" and trial.number not in again for trial in self.trials())

    def left(self, under_way: int = 0) -> int:
        """How many trials are still to be made, beside so many that are under way."""
        left = self._settings.n_trials - self.made - under_way
        return max(0, min(left, self.count("WAITING") if self._settings.sampler == "grid" else left))

    @property
    def about(self) -> Mapping[str, Any] | None:
        """What `begin` was told before; None if there was nothing."""
        return self._patiently(lambda: self._study.user_attrs).get(_ABOUT)

    def begin(self, about: Mapping[str, Any], differences: Sequence[str], *, other_runs: bool) -> list[int]:
        """Make ready for the next trial: refuse what cannot be compared, queue what was interrupted, and a grid.

        Args:
            about: plain data about the runs, for the next call of the search.
            differences: what is not as an earlier call has told.
            other_runs: whether that makes other runs of the same values.

        Returns:
            The numbers of the trials that are queued again.

        Raises:
            ConfigError: trials that count, or that others make, are about something else, or were chosen otherwise.
        """
        running = [trial for trial in self.trials() if trial.state.name == "RUNNING"]
        if differences and (self.made or not all(map(self._is_own, running))):
            more = [f"and {len(differences) - _SHOWN} more"] * (len(differences) > _SHOWN)
            listed = "; ".join([*differences[:_SHOWN], *more])
            raise ConfigError(f"{self._named} is about something else: {listed}; {self._another}")
        self._require_same_choices()
        if differences and other_runs:  # nothing counts yet, so what was begun or queued is dropped
            for trial in self.trials():
                if trial.state.name in ("RUNNING", "WAITING"):
                    self.failed(trial.number, "the search was changed")
        if about != self.about:
            self._patiently(lambda: self._study.set_user_attr(_ABOUT, dict(about)))
        again = self.requeue()
        if self._settings.sampler == "grid":
            self._queue_grid()
        return again

    def requeue(self) -> list[int]:
        """Fail the trials of this sweep that run no more, and queue their values again; returns their numbers."""
        found = self.trials()
        again = {trial.user_attrs.get(_AGAIN) for trial in found}
        own = [trial for trial in found if trial.state.name == "RUNNING" and self._is_own(trial)]
        for trial in own:
            if trial.number not in again:  # queued first: if this process dies in between, nothing is lost
                values = {**trial.system_attrs.get("fixed_params", {}), **trial.params}
                self._enqueue(values, {_AGAIN: trial.number})
            self.failed(trial.number, "interrupted; it is queued again")
        return [trial.number for trial in own]

    def ask(self) -> optuna.Trial:
        """The next trial: one that was queued, or a new one."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about features that are experimental in Optuna
            trial = self._patiently(lambda: self._study.ask(self._distributions))
        self._patiently(lambda: trial.set_user_attr(_SWEEP, str(self._directory.resolve())))
        return trial

    def report(self, trial: optuna.Trial, step: int, value: float, *, patient: bool) -> None:
        """A trial has reached this value; if not ``patient``, a locked database is an error at once."""
        self._patiently(lambda: trial.report(value, step), _PATIENCE_S if patient else 0.0)

    def should_prune(self, trial: optuna.Trial) -> bool:
        """Whether a trial is worse than others; a locked database is an error at once."""
        return self._patiently(trial.should_prune, 0.0)

    def completed(self, number: int, value: float) -> None:
        """A trial has this value."""
        self._patiently(lambda: self._study.tell(number, value, skip_if_finished=True))

    def pruned(self, number: int) -> None:
        """A trial was ended early; its value is the last that was reported."""
        state = optuna_module().trial.TrialState.PRUNED
        self._patiently(lambda: self._study.tell(number, state=state, skip_if_finished=True))

    def failed(self, number: int, why: str) -> None:
        """A trial has no value."""
        state = optuna_module().trial.TrialState.FAIL
        trial = next(trial for trial in self.trials() if trial.number == number)
        self._patiently(lambda: self._study._storage.set_trial_user_attr(trial._trial_id, _FAILED, why))
        if trial.state.name == "WAITING":  # which Optuna itself does not let fail
            self._patiently(lambda: self._study._storage.set_trial_state_values(trial._trial_id, state))
        else:
            self._patiently(lambda: self._study.tell(number, state=state, skip_if_finished=True))

    def ranked(self) -> list[optuna.trial.FrozenTrial]:
        """The trials with a value that were not ended early, the best first."""
        done = [trial for trial in self.trials() if trial.state.name == "COMPLETE"]
        sign = -1 if self._settings.direction == "maximize" else 1
        return sorted(done, key=lambda trial: (sign * float(trial.value or 0.0), trial.number))

    def importances(self) -> dict[str, float]:
        """How much of the difference between good and other trials is due to each setting (PED-ANOVA), in parts of 1.

        Watanabe, Bansal and Hutter, 2023. Empty if there are too few trials, none is better than another, or Optuna
        cannot tell.
        """
        importance = optuna_module("optuna.importance")
        done = self.ranked()
        if len(done) < 4 or done[0].value == done[-1].value:
            return {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about the number of trials
            quantile = max(0.1, 2 / len(done))  # at least two of them are the good ones
            evaluator = importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
            try:
                return dict(importance.get_param_importances(self._study, evaluator=evaluator))
            except (ValueError, RuntimeError):  # e.g. no setting is one of all trials
                return {}

    def _is_own(self, trial: optuna.trial.FrozenTrial) -> bool:
        """Whether this sweep made a trial: it has the lock of its directory, so no other process runs it now."""
        return self._settings.storage is None or trial.user_attrs.get(_SWEEP) == str(self._directory.resolve())

    def _storage(self) -> Any:
        from optuna.storages import JournalStorage, RDBStorage
        from optuna.storages.journal import JournalFileBackend

        if "://" not in self._url:
            return JournalStorage(JournalFileBackend(str(Path(self._url).expanduser().resolve())))
        self._directory.mkdir(parents=True, exist_ok=True)
        prefix, colon, path = self._url.partition(":///")
        if prefix != "sqlite":
            return self._url
        if path and not path.startswith(("/", "file:")):  # a job may change to another folder
            path = str(Path(path).resolve())
        # A short wait of its own: it is tried again, and meanwhile the jobs are followed.
        return RDBStorage(f"{prefix}{colon}{path}", engine_kwargs={"connect_args": {"timeout": 1}})

    def _patiently(self, act: Callable[[], T], patience_s: float = _PATIENCE_S) -> T:
        """What Optuna reads or writes; a database that another program has locked is waited for.

        Raises:
            WriteError: it stays locked, or it cannot be used for another reason.
        """
        end = time.monotonic() + patience_s
        while True:
            try:
                return act()
            except Exception as error:
                if not _of_a_storage(error):
                    raise
                reason = _reason(error)
                if "locked" not in reason or time.monotonic() > end:
                    raise WriteError(f"{self._named} cannot be used: {reason}") from error
            time.sleep(_PAUSE_S)

    def _enqueue(self, values: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
        self._patiently(lambda: self._study.enqueue_trial(dict(values), user_attrs=dict(attributes)))

    def _require_same_choices(self) -> None:
        """Refuse a study in which a setting was chosen among other values, which Optuna cannot continue."""
        from optuna.distributions import check_distribution_compatibility

        for trial in self.trials():
            for key, before in trial.distributions.items():
                try:
                    if key in self._distributions:
                        check_distribution_compatibility(before, self._distributions[key])
                except ValueError:
                    raise ConfigError(
                        f"{key}: {self._named} has chosen it in another way: {_shown(before)}; only the ends of an "
                        f"interval may change; {self._another}"
                    ) from None

    def _queue_grid(self) -> None:
        """Queue all points that no trial has, but for those that failed before."""
        had = Counter(
            _point(trial.system_attrs.get("fixed_params", trial.params))
            for trial in self.trials()
            if trial.state.name != "FAIL"
        )
        left = self._settings.n_trials - self.count(*_COUNT, "WAITING")
        for point in self._space.grid():
            if left <= 0:
                break
            if _point(point) not in had:
                self._enqueue(point, {})
                left -= 1


def _point(params: Mapping[str, Value]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((key, str(value)) for key, value in params.items()))


def _shown(distribution: Any) -> str:
    from optuna.distributions import CategoricalDistribution

    if isinstance(distribution, CategoricalDistribution):
        return ", ".join(map(str, distribution.choices))
    return f"{distribution.low} to {distribution.high}"


def _of_a_storage(error: Exception) -> bool:
    """Whether a database or a file cannot be used, in contrast to a mistake in what is written to it."""
    from optuna.exceptions import StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    return isinstance(error, StorageInternalError | SQLAlchemyError | sqlite3.Error | OSError)


def _reason(error: BaseException) -> str:
    """What the innermost of the errors says: those around it speak of transactions."""
    while error.__cause__ is not None and not isinstance(error, ConfigError):
        error = error.__cause__
    return one_line(error)

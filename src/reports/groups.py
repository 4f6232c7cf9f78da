"""Groups of runs that differ in nothing but their seeds: one method on one task."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .runs import Run
from .selection import require_keys

_FREE = frozenset({"seed", "format", "loggers", "threads", "device", "applied", "dropped"})
"""Sections in which runs of one group may differ; the last two follow from the others."""
_FREE_KEYS = frozenset(
    {
        *("env.threads", "runner.workers", "runner.timeout_s"),  # where and how fast, not what
        # of PyMARL and EPyMARL
        *("env_args.seed", "use_cuda", "use_tensorboard", "use_wandb", "label", "local_results_path"),
        *("save_model", "save_model_interval", "save_replay", "env_args.replay_dir"),
        *("env_args.replay_prefix", "unique_token", "wandb_team", "wandb_project", "wandb_mode", "hypergroup"),
    }
)
_NAMES = (
    *("source", "algo", "policy", "mixer", "learner", "critic", "network", "controller", "selector", "replay"),
    *("optimizer", "runner", "env"),
)
"""Keys whose values speak for themselves, in the order in which they name methods."""
_WORDS = ("null", "true", "false")
_SHOWN = 4


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that differ in nothing but their seeds.

    Attributes:
        task: what is played, as a label.
        family: the same without the number of agents.
        agents: the number of agents, if it is known.
        method: what is compared, as a label.
        keys: what tells it apart from the other groups.
        runs: by seed.
    """

    task: str
    family: str
    agents: int | None
    method: str
    keys: tuple[str, ...]
    runs: tuple[Run, ...]

    @property
    def label(self) -> str:
        """Method and task."""
        return f"{self.method} ({self.task})"


def group_runs(runs: Sequence[Run], by: Sequence[str]) -> list[Group]:
    """Group runs by keys of their configuration; the keys of environment and agents tell tasks apart, others methods.

    Args:
        runs: at least one.
        by: keys; none: as few as tell apart the runs that differ in more than the seed.

    Returns:
        By task, then by method; no two have both in common.

    Raises:
        ValueError: no run has a key, or runs of one group differ in more than their seeds or are the same.
    """
    require_keys(by, {key for run in runs for key in run.config}, "report.by")
    chosen = list(dict.fromkeys(by)) or _fewest_keys(runs)
    tasks = [key for key in chosen if is_of_task(key)]
    methods = [key for key in chosen if key not in tasks]
    places = [key for key in tasks if key != "agents"]
    cells: dict[tuple[Any, ...], list[Run]] = {}
    for run in sorted(runs, key=lambda run: _order([run.config.get(key) for key in [*tasks, *methods]])):
        cells.setdefault(_values(run.config, chosen), []).append(run)
    groups: list[Group] = []
    taken: Counter[tuple[str, str]] = Counter()
    for members in cells.values():
        members.sort(key=lambda run: _order([run.config.get("seed"), str(run.path)]))
        _require_only_seeds_differ(members, chosen)
        config = members[0].config
        agents = config.get("agents")
        family = _label(config, places) or _common(runs, "env")
        task = ", ".join(filter(None, [family, _label(config, ["agents"] if "agents" in tasks else [])]))
        method = _label(config, methods) or _common(runs, "algo")
        taken[task, method] += 1
        if (n := taken[task, method]) > 1:  # such as the one value "a, b" and the values "a" and "b" of two keys
            method = f"{method} ({n})"
        groups.append(
            Group(
                task=task,
                family=family,
                agents=agents if isinstance(agents, int) else None,
                method=method,
                keys=tuple(chosen),
                runs=tuple(members),
            )
        )
    return groups


def is_of_task(key: str) -> bool:
    """Whether a key says what is played, as opposed to how it is learned."""
    return key in ("env", "agents", "joint") or key.startswith(("env.", "env_args."))


def is_free(key: str) -> bool:
    """Whether runs of one group may differ in this key."""
    return key.split(".")[0] in _FREE or key in _FREE_KEYS


def differing_keys(runs: Iterable[Run]) -> list[str]:
    """The keys that have several values among runs, without those in which runs of one group may differ."""
    configs = [run.config for run in runs]
    keys = sorted({key for config in configs for key in config if not is_free(key)})
    return [key for key in keys if len({_values(config, [key]) for config in configs}) > 1]


def _fewest_keys(runs: Sequence[Run]) -> list[str]:
    """Few keys that tell apart the runs that differ in more than the seed; what names tasks and methods comes first.

    Values that follow from others, such as a mixer's settings from the mixer, are not needed.
    """
    differing = differing_keys(runs)

    def parts(keys: Collection[str]) -> int:
        return len({_values(run.config, keys) for run in runs})

    def add(chosen: list[str], candidates: Sequence[str], all_keys: Sequence[str]) -> None:
        goal = parts(all_keys)
        for key in candidates:
            if (now := parts(chosen)) == goal:
                return
            if parts([*chosen, key]) > now:
                chosen.append(key)

    named = [key for key in _NAMES if key in differing]
    of_task = [key for key in ("env", "agents", *differing) if key in differing and is_of_task(key)]
    chosen: list[str] = []
    add(chosen, of_task, of_task)
    chosen += [key for key in ("source", "algo") if key in differing]
    add(chosen, [key for key in (*named, *differing) if not is_of_task(key)], differing)
    return chosen


def _require_only_seeds_differ(runs: Sequence[Run], by: Sequence[str]) -> None:
    """Refuse to average runs that differ in more than their seeds, or that are the same.

    Raises:
        ValueError: which two, and in what.
    """
    first = runs[0]
    for other in runs[1:]:
        keys = differing_keys([first, other])
        if keys:
            texts = [f"{key} ({first.config.get(key)}, {other.config.get(key)})" for key in keys]
            more = f" and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
            raise ValueError(
                f"{first.path} and {other.path} differ in more than the seed: {', '.join(texts[:_SHOWN])}{more}; add "
                f"what should tell them apart to report.by, as in report.by=[{','.join([*by, keys[0]])}], or choose "
                f"runs with report.where"
            )
    for one, other in itertools.pairwise(runs):
        seed = one.config.get("seed")
        if seed is not None and seed == other.config.get("seed"):
            raise ValueError(f"{one.path} and {other.path} have the same seed, {seed}: they are not two samples")


def _values(config: Mapping[str, Any], keys: Iterable[str]) -> tuple[Any, ...]:
    """The values of some keys, to compare: 1 and 1.0 are one number, 1 and true are not the same."""
    return tuple(_typed(config.get(key)) for key in keys)


def _typed(value: Any) -> Any:
    if isinstance(value, tuple):
        return tuple(map(_typed, value))
    return (bool, value) if isinstance(value, bool) else value


def _label(config: Mapping[str, Any], keys: Sequence[str]) -> str:
    return ", ".join(_label_of(key, config.get(key)) for key in keys)


def _label_of(key: str, value: Any) -> str:
    if key == "agents" and value is not None:
        return f"{value} agent{'s' if value != 1 else ''}"
    if key not in _NAMES:
        return f"{key}={value_text(value)}"
    if value == "none" and key != "algo":  # a choice of the group, where null is a group without a choice
        return f"{key} none"
    return f"no {key}" if value is None else value_text(value)


def value_text(value: Any) -> str:
    """A value as it is typed: texts in quotes where they would be read as something else."""
    if isinstance(value, str):
        return repr(value) if value in _WORDS or _is_number(value) else value
    return (
        {None: "null", True: "true", False: "false"}[value] if value is None or isinstance(value, bool) else str(value)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _common(runs: Sequence[Run], key: str) -> str:
    """The values of a key, if there are few; as a label where no key tells groups apart."""
    values = list(dict.fromkeys(str(run.config[key]) for run in runs if run.config.get(key) is not None))
    return ", ".join(values[:3]) + (", …" if len(values) > 3 else "") if values else f"any {key}"


def _order(values: Sequence[Any]) -> list[tuple[int, float, str]]:
    """A key to sort by: numbers by size, then texts."""
    return [(0, float(v), "") if isinstance(v, int | float) else (1, 0.0, str(v)) for v in values]

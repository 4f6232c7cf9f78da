"""What a study is about: noted when a search begins and compared when it goes on, so that trials can be compared."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .config import SOMETIMES, RunConfig
from .search_settings import SearchSettings
from .search_space import Value

_ANY_SEED = frozenset({"format", "algo", "seed", "device", "threads", "loggers", "applied", "dropped"})
"""Parts of a run's configuration that may differ between trials, or follow from other parts."""
_NONE = "none"


def describe(
    settings: SearchSettings,
    seeds: Sequence[str],
    point: Mapping[str, Value],
    config: RunConfig | None,
    mistake: str | None = None,
) -> dict[str, Any]:
    """Plain data about what the runs of all trials have in common, shown by those of one trial.

    Args:
        settings: of the search.
        seeds: over which a trial is averaged, as overrides; empty: that of the configuration.
        point: the values of that trial.
        config: of one of its runs, whichever its seed; None if there is no such run.
        mistake: why there is none.
    """
    own = [] if config is None else [str(config.seed)]
    return {
        "objective": settings.objective,
        "score": settings.score,
        "point": dict(point),
        "seeds": sorted(seed.removeprefix("seed=") for seed in seeds) or own,
        "runs": {} if config is None else dict(_settings(config)),
        "mistake": mistake,
    }


def differences(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """In words, what of a search is not as it was; empty if its trials can be compared.

    Args:
        earlier: what `describe` noted.
        now: what it says now of a trial with the same values.
    """
    read = [name for name in ("objective", "score") if _differ(name, earlier, now)]
    return [*(f"{name} was {earlier[name]}, now {now[name]}" for name in read), *other_runs(earlier, now)]


def other_runs(earlier: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """`differences` that make other runs of the same values; arguments as there."""
    no_more = [f"{key} was searched and is not any more" for key in earlier["point"] if key not in now["point"]]
    new = [f"{key} was not searched" for key in now["point"] if key not in earlier["point"]]
    if no_more or new:
        return [*no_more, *new]
    if now["mistake"] is not None:
        values = " ".join(f"{key}={value}" for key, value in earlier["point"].items())
        return [f"{values} is no run any more: {now['mistake']}"]
    said = []
    if _differ("seeds", earlier, now):
        said.append(f"seed was {','.join(earlier['seeds'])}, now {','.join(now['seeds'])}")
    before, after = earlier["runs"], now["runs"]
    for key in dict.fromkeys([*before, *after]):
        group = key.partition(".")[0]
        known = (key in before and key in after) or key in SOMETIMES  # else another version has added or dropped it
        if known and _differ(key, before, after) and (key == group or not _differ(group, before, after)):
            said.append(f"{key} was {before.get(key, _NONE)}, now {after.get(key, _NONE)}")
    return said


def _differ(name: str, earlier: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return earlier.get(name) != now.get(name)


def _settings(config: RunConfig) -> Iterator[tuple[str, str]]:
    """The settings of a run by the keys that are typed, as text."""
    for name, value in config.plain().items():
        if name == "components":
            for group, component in value.items():
                yield group, str(component["option"])
                yield from ((f"{group}.{key}", str(setting)) for key, setting in component["settings"].items())
        elif isinstance(value, Mapping) and name not in _ANY_SEED:
            yield from ((f"{name}.{key}", str(setting)) for key, setting in value.items())
        elif name not in _ANY_SEED:
            yield name, str(value)

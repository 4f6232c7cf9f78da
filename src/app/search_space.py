"""The space of a search: Hydra's syntax of sweeps, read as settings to choose, seeds to average over, and the rest."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep

from ..registry import ConfigError

Value = str | int | float
MOST_VALUES = 10_000
"""The largest number of values that are listed one by one: of a setting, of seeds, of the jobs of a sweep."""
_MOST_POINTS = 10**6  # of a grid


@dataclass(frozen=True)
class Choice:
    """A setting with some values, as they are typed."""

    values: tuple[str, ...]

    def ends(self) -> tuple[Value, Value]:
        """The first and the last value."""
        return self.values[0], self.values[-1]

    def examples(self) -> Sequence[Value]:
        """Values that must be possible: each."""
        return self.values

    def __str__(self) -> str:
        return ", ".join(self.values)


@dataclass(frozen=True)
class Interval:
    """A setting between two numbers, both included; a whole number if both are.

    Attributes:
        low: the smallest value.
        high: the largest value.
        step: between values; None: any number, or any whole number.
        log: whether to search its logarithm.
    """

    low: int | float
    high: int | float
    step: int | float | None = None
    log: bool = False

    def ends(self) -> tuple[Value, Value]:
        """The smallest and the largest value."""
        return self.low, self.high

    def examples(self) -> Sequence[Value]:
        """Values that must be possible: the ends."""
        return self.ends()

    def __str__(self) -> str:
        step = f" in steps of {self.step}" if self.step is not None else ""
        return f"{self.low} to {self.high}{step}{' (log)' if self.log else ''}"


@dataclass(frozen=True)
class Space:
    """What a search is about.

    Attributes:
        parameters: the settings to choose, by their keys as typed (``+a.b`` adds one).
        seeds: over which every trial is averaged; empty: the one of the configuration.
        fixed: overrides that all runs have in common.
    """

    parameters: Mapping[str, Choice | Interval]
    seeds: tuple[str, ...]
    fixed: tuple[str, ...]

    def chosen(self, values: Mapping[str, Any]) -> list[str]:
        """The overrides of a trial, without the seed."""
        return [*self.fixed, *(f"{key}={values[key]}" for key in self.parameters if key in values)]

    def runs(self, values: Mapping[str, Any]) -> list[tuple[str, list[str]]]:
        """The runs of a trial: what tells them apart, and their overrides."""
        return [(seed, [*self.chosen(values), *filter(None, [seed])]) for seed in self.seeds or ("",)]

    def corners(self) -> list[dict[str, Value]]:
        """Two points of the space: all first values, and all last ones."""
        ends = {key: parameter.ends() for key, parameter in self.parameters.items()}
        return [{key: pair[end] for key, pair in ends.items()} for end in (0, 1)]

    def grid(self) -> Iterator[dict[str, Value]]:
        """All points; the last parameter changes first.

        Raises:
            ConfigError: there is no end of them.
        """
        axes, n = [], 1
        for key, parameter in self.parameters.items():
            axis = parameter.values if isinstance(parameter, Choice) else _points(key, parameter)
            axes.append(axis)
            n *= len(axis)
        if n > _MOST_POINTS:
            raise ConfigError(f"a grid of {n:,} points is too large; give fewer values, or another sampler")
        return (dict(zip(self.parameters, point, strict=True)) for point in itertools.product(*axes))


def read_space(params: Mapping[str, Any], typed: Sequence[str]) -> Space:
    """The space that the parameters of a search and the overrides of the command line mean; the latter win.

    Args:
        params: by key, or nested; values as they would be typed.
        typed: overrides of the command line.

    Raises:
        ConfigError: a value cannot be searched, or there is nothing to choose.
    """
    parsed = OverridesParser.create().parse_overrides([*as_overrides(params), *typed])
    overrides = {o.key_or_group: o for o in parsed}
    parameters, seeds, fixed = {}, [], []
    for key, override in overrides.items():
        line = str(override.input_line)
        if key.startswith(("sweep.", "search")) and override.is_sweep_override():
            raise ConfigError(f"{line}: this is about the whole search; give one value")
        if key == "seed":
            seeds = _seeds(override)
        elif override.is_sweep_override():
            parameters[override.get_key_element()] = _parameter(override)
        else:
            fixed.append(line)
    if not parameters:
        raise ConfigError(
            "a search needs a setting to choose, such as 'optimizer.lr=tag(log,interval(1e-5,1e-2))', or search=qmix"
        )
    return Space(parameters, tuple(seeds), tuple(fixed))


def as_overrides(params: Mapping[str, Any], above: str = "") -> Iterator[str]:
    """Parameters by key, or nested, as overrides; a text is what would be typed."""
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from as_overrides(value, f"{above}{key}.")
        else:
            yield f"{above}{key}={'null' if value is None else value}"


def n_values(override: Override) -> int:
    """How many values an override gives to its key; they are not listed."""
    value = override.value()
    if isinstance(value, RangeSweep):
        assert value.start is not None
        assert value.stop is not None
        if not value.step:
            raise ConfigError(f"{override.input_line}: the step of a range is not 0")
        return max(0, _n_steps(value.start, value.stop, value.step))
    return sum(1 for _ in override.sweep_iterator()) if override.is_discrete_sweep() else 1


def _n_steps(start: float, stop: float, step: float) -> int:
    """The number of values from start, stop excluded; as Python's range, whatever is lost in rounding."""
    return math.ceil((stop - start) / step - 1e-9)


def _seeds(override: Override) -> list[str]:
    if override.is_sweep_override() and not override.is_discrete_sweep():
        raise ConfigError(
            f"{override.input_line}: a trial is averaged over its seeds; list them, as in seed=1,2,3 or seed=range(1,4)"
        )
    if not override.is_sweep_override():
        return [f"seed={override.get_value_element_as_str()}"]
    values = _listed(override)
    for value in values:
        if not value.isdecimal():
            raise ConfigError(f"{override.input_line}: seeds are whole numbers from 0, {value} is none")
    return [f"seed={value}" for value in values]


def _listed(override: Override) -> tuple[str, ...]:
    """The values of a sweep, each once."""
    n = n_values(override)
    if n > MOST_VALUES:
        raise ConfigError(f"{override.input_line}: these are {n:,} values; {MOST_VALUES:,} can be listed")
    if not n:
        raise ConfigError(f"{override.input_line}: there is no value in this range")
    return tuple(dict.fromkeys(override.sweep_string_iterator()))


def _parameter(override: Override) -> Choice | Interval:
    value, line = override.value(), override.input_line
    if isinstance(value, IntervalSweep):
        low, high = value.start, value.end
        assert low is not None
        assert high is not None
        log = "log" in value.tags
        if not low <= high or (log and low <= 0) or not math.isfinite(high - low):
            raise ConfigError(f"{line}: an interval goes from the smaller to the larger number{', above 0' * log}")
        return Interval(low, high, log=log)
    if not override.is_discrete_sweep() or override.value_type is None or "GLOB" in override.value_type.name:
        raise ConfigError(f"{line}: this cannot be searched; what can is interval(…), choice(…), range(…), or a list")
    if isinstance(value, RangeSweep) and not value.shuffle and (value.step or 0) > 0 and (n := n_values(override)) > 1:
        if "log" in value.tags:
            raise ConfigError(f"{line}: a logarithm is searched without steps; give tag(log,int(interval(…)))")
        low, step = value.start, value.step
        assert low is not None
        return Interval(low, round(low + step * (n - 1), 12), step)
    return Choice(_listed(override))


def _points(key: str, interval: Interval) -> Sequence[Value]:
    if interval.step is None and not isinstance(interval.low, int):
        raise ConfigError(f"{key}: a grid needs values, as in {key}=choice(…) or {key}=range(…); got {interval}")
    step = interval.step or 1
    n = round((interval.high - interval.low) / step) + 1
    if n > _MOST_POINTS:
        raise ConfigError(f"{key}: {n:,} values are too many for a grid; got {interval}")
    return [round(interval.low + i * step, 12) for i in range(n)]

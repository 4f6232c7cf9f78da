"""Types for settings: with the range of allowed values, or marked as a path. Checked before anything is built.

    def __init__(self, *, rnn_dim: Width, dropout: Fraction, clip: Positive | None) -> None: ...

A number without a range must still be finite, and a whole number at most 2**53 in size, which every file format stores
exactly. The entries of a list or mapping are checked against their type; if that is ``Any``, as in the keyword
arguments of another library, everything is allowed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import reduce
from numbers import Integral, Real
from operator import or_
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

_LARGEST = 2**53


@dataclass(frozen=True, kw_only=True)
class Range:
    """The numbers that a setting allows: ``Annotated[float, Range(above=0, at_most=1)]``.

    Attributes:
        at_least: the smallest number allowed.
        above: the numbers allowed are greater than this.
        at_most: the largest number allowed.
        below: the numbers allowed are smaller than this.
        infinite: whether infinity is allowed; the setting's docstring says if it means "never" or "no limit".
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    infinite: bool = False

    def check(self, value: Any, name: str) -> None:
        """Raise a ValueError that says what is allowed, if the value is not in the range."""
        wrong = self._violated(value)
        if wrong is not None:
            raise ValueError(f"{name} must be {wrong}, got {_shown(value)}")

    def _violated(self, value: float) -> str | None:
        """The rule that a number breaks, if it breaks one."""
        if value != value:
            return "a number"
        if self.at_least is not None and value < self.at_least:
            return f"at least {_bound(self.at_least)}"
        if self.above is not None and value <= self.above:
            return f"above {_bound(self.above)}"
        if self.at_most is not None and value > self.at_most:
            return f"at most {_bound(self.at_most)}"
        if self.below is not None and value >= self.below:
            return f"below {_bound(self.below)}"
        infinite = not isinstance(value, Integral) and math.isinf(value)
        return "finite" if infinite and not (self.infinite and value > 0) else None


@dataclass(frozen=True, kw_only=True)
class Length:
    """How many entries a list may have: ``Annotated[list[Positive], Length(at_least=2, at_most=2)]``.

    Attributes:
        at_least: the smallest number of entries.
        at_most: the largest.
    """

    at_least: int = 0
    at_most: int = 10_000

    def check(self, value: Any, name: str) -> None:
        """Raise a ValueError for a list that is too short or too long."""
        if not self.at_least <= len(value) <= self.at_most:
            raise ValueError(f"{name} must have {self} entries, got {_shown(value)}")

    def __str__(self) -> str:
        if self.at_least == self.at_most:
            return f"{self.at_least}"
        return f"{self.at_least} to {self.at_most:,}"


@dataclass(frozen=True)
class Without:
    """The characters that a text must not contain: ``Annotated[str, Without("/:")]``."""

    characters: str

    def check(self, value: Any, name: str) -> None:
        """Raise a ValueError if the text is empty or contains one of the characters."""
        if not value or any(character in value for character in self.characters):
            raise ValueError(f"{name} must be a name without any of {' '.join(self.characters)} in it, got {value!r}")


_ANY = Range()

Count = Annotated[int, Range(at_least=1, at_most=10**9)]
"""A number of things, from 1 to 10**9."""

Natural = Annotated[int, Range(at_least=0, at_most=10**9)]
"""A whole number from 0 to 10**9."""

Steps = Annotated[int, Range(at_least=1, at_most=10**15)]
"""Environment steps or optimizer steps, at least 1."""

Agents = Annotated[int, Range(at_least=1, at_most=10_000)]
"""A number of agents."""

Width = Annotated[int, Range(at_least=1, at_most=10**6)]
"""The width of a network's layer: its number of units."""

Widths = Annotated[list[Width], Length(at_most=100)]
"""Widths of consecutive layers."""

Layers = Annotated[int, Range(at_least=1, at_most=100)]
"""How many layers a network has."""

Positive = Annotated[float, Range(above=0)]
"""A finite number above 0."""

HuberDelta = Annotated[float, Range(above=0, at_most=1e9)]
"""From which error on Huber's loss is linear: its square still fits into a 32-bit float."""

NonNegative = Annotated[float, Range(at_least=0)]
"""A finite number from 0 on."""

Fraction = Annotated[float, Range(at_least=0, at_most=1)]
"""A part or probability, from 0 to 1."""

Payoff = Annotated[float, Range(at_least=-1e9, at_most=1e9)]
"""A reward or a part of one, at most 1e9 in size, so that its square fits into a 32-bit float."""

Seconds = Annotated[float, Range(at_least=0, at_most=1e7)]
"""A time to wait, at most 1e7 seconds, since operating systems limit it."""

Seed = Annotated[int, Range(at_least=0)]
"""A whole number from 0, without an upper limit."""


PathText = Annotated[str, Path]
"""A file or folder; a relative path starts from the folder in which the command was typed."""


def is_path(kind: Any) -> bool:
    """Whether a setting of this type, e.g. ``PathText | None``, is a path."""
    return kind == PathText or (get_origin(kind) in (Union, UnionType) and PathText in get_args(kind))


def absolute(path: str, base: Path) -> str:
    """The path, which starts from the folder ``base`` if it is relative; ``~`` is the user's home."""
    return str(base / Path(path).expanduser())


def check_range(kind: Any, value: Any, name: str) -> None:
    """Check a value, and whatever a list or mapping holds, against its type and the ranges in it.

    Args:
        kind: the type, e.g. ``list[Positive] | None``.
        value: the value; OmegaConf has checked its type before, but not what is nested in a list.
        name: the setting's name, for the message.

    Raises:
        ValueError: says which number is wrong and what is allowed.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_path(kind) and value == "":
        raise ValueError(f"{name} is empty; give a path{'' if kind == PathText else ', or null'}")
    if origin is Annotated:
        rules = [x for x in arguments[1:] if isinstance(x, Range | Length | Without)]
        if not any(isinstance(rule, Range) for rule in rules):
            check_range(arguments[0], value, name)
        else:
            _check_type(arguments[0], value, name)
        for rule in rules:
            rule.check(value, name)
    elif origin in (Union, UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if value is not None or len(inner) == len(arguments):
            check_range(inner[0] if len(inner) == 1 else object, value, name)
    elif origin is list and isinstance(value, list):
        for i, item in enumerate(value):
            check_range(arguments[0], item, f"{name}[{i}]")
    elif origin is dict and isinstance(value, dict):
        for key, item in value.items():
            check_range(arguments[1], item, f"{name}.{key}")
    elif kind is not Any:
        _check_type(kind, value, name)
        if _is_number(value):
            _check_number(value, name)


def without_ranges(kind: Any) -> Any:
    """The type without its ranges, e.g. ``float`` for `Positive`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return without_ranges(arguments[0])
    if origin in (Union, UnionType):
        return reduce(or_, map(without_ranges, arguments))
    if origin in (list, dict, tuple) and arguments:
        return origin[tuple(map(without_ranges, arguments))]
    return kind


def _check_type(kind: Any, value: Any, name: str) -> None:
    """Raise a ValueError if the type is ``int``, ``float`` or ``str`` and the value is of another one."""
    if kind is int and not (_is_number(value) and isinstance(value, Integral)):
        raise ValueError(f"{name} must be a whole number, got {_shown(value)}")
    if kind is float and not _is_number(value):
        raise ValueError(f"{name} must be a number, got {_shown(value)}")
    if kind is str and not isinstance(value, str):
        raise ValueError(f"{name} must be text, got {_shown(value)}")


def _check_number(value: Any, name: str) -> None:
    """Raise a ValueError for a number without a range that is not finite, or a whole number that is too large."""
    if isinstance(value, int) and abs(value) > _LARGEST:
        raise ValueError(f"{name} must be at most {_LARGEST:,} in size, got {_shown(value)}")
    _ANY.check(value, name)


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """A value as text for a message, shortened if it is long."""
    text = str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _bound(number: float) -> str:
    return f"{int(number):,}" if number == int(number) else f"{number:,.15g}"

"""Ranges of settings, and which are paths: part of a setting's type, checked in one place before anything is built.

    def __init__(self, *, rnn_dim: Count, dropout: Fraction, clip: Positive | None) -> None: ...

A number without a range must still be finite, and a whole number must fit 53 bits, which every format can hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

_LARGEST = 2**53


@dataclass(frozen=True, kw_only=True)
class Range:
    """Which numbers a setting may be: ``Annotated[float, Range(above=0, at_most=1)]``.

    Attributes:
        at_least: the smallest number allowed.
        above: the numbers allowed are greater than this.
        at_most: the largest number allowed.
        below: the numbers allowed are smaller than this.
        infinite: whether infinity is allowed, where it means "never" or "no limit"; the setting's docstring says so.
    """

    at_least: float | None = None
    above: float | None = None
    at_most: float | None = None
    below: float | None = None
    infinite: bool = False

    def allows(self, value: float) -> bool:
        """Whether a number is in the range; NaN never is."""
        if not math.isfinite(value) and not (self.infinite and value == math.inf):
            return False
        return (
            (self.at_least is None or value >= self.at_least)
            and (self.above is None or value > self.above)
            and (self.at_most is None or value <= self.at_most)
            and (self.below is None or value < self.below)
        )

    def __str__(self) -> str:
        words = {"at least": self.at_least, "above": self.above, "at most": self.at_most, "below": self.below}
        text = " and ".join(f"{word} {bound:,.15g}" for word, bound in words.items() if bound is not None)
        return text or "finite"


_ANY = Range()

Count = Annotated[int, Range(at_least=1, at_most=10**9)]
"""How many there are of something, or how wide something is: at least 1."""

Natural = Annotated[int, Range(at_least=0, at_most=10**9)]
"""A whole number from 0 on."""

Steps = Annotated[int, Range(at_least=1, at_most=10**15)]
"""Environment steps or optimizer steps, at least 1."""

Positive = Annotated[float, Range(above=0)]
"""A finite number above 0."""

NonNegative = Annotated[float, Range(at_least=0)]
"""A finite number from 0 on."""

Fraction = Annotated[float, Range(at_least=0, at_most=1)]
"""A part or probability, from 0 to 1."""


Seed = Annotated[int, Range(at_least=0)]
"""A whole number from 0 on, as large as one likes."""


PathText = Annotated[str, Path]
"""A file or folder; a relative path starts from the folder in which the command was typed."""


def is_path(kind: Any) -> bool:
    """Whether a setting of this type, e.g. ``PathText | None``, is a path."""
    return kind == PathText or (get_origin(kind) in (Union, UnionType) and PathText in get_args(kind))


def absolute(path: str, base: Path) -> str:
    """A path as seen from a folder; ``~`` is the user's home."""
    return str(base / Path(path).expanduser())


def check_range(kind: Any, value: Any, name: str) -> None:
    """Check a value, and whatever a list or mapping holds, against the ranges in its type.

    Args:
        kind: the type, e.g. ``list[Positive] | None``.
        value: of that type.
        name: of the setting, for the message.

    Raises:
        ValueError: says which number is wrong and what is allowed.
    """
    origin, arguments = get_origin(kind), get_args(kind)
    if is_path(kind) and value == "":
        raise ValueError(f"{name} is empty; give a path{'' if kind == PathText else ', or null'}")
    if origin is Annotated:
        for allowed in (x for x in arguments[1:] if isinstance(x, Range)):
            _each_number(value, name, allowed)
        if not any(isinstance(x, Range) for x in arguments[1:]):
            check_range(arguments[0], value, name)
    elif origin in (Union, UnionType):
        inner = [argument for argument in arguments if argument is not type(None)]
        if value is not None and len(inner) == 1:
            check_range(inner[0], value, name)
        elif value is not None:
            _each_number(value, name, _ANY)
    elif isinstance(value, list) and arguments:
        for i, item in enumerate(value):
            check_range(arguments[0], item, f"{name}[{i}]")
    elif isinstance(value, dict) and len(arguments) == 2:
        for key, item in value.items():
            check_range(arguments[1], item, f"{name}.{key}")
    else:
        _each_number(value, name, _ANY)


def without_ranges(kind: Any) -> Any:
    """The type as it is stored, without ranges."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return without_ranges(arguments[0])
    if origin in (Union, UnionType):
        return Union[tuple(map(without_ranges, arguments))]  # noqa: UP007  # the number of types is known at run time
    if origin in (list, dict, tuple) and arguments:
        return origin[tuple(map(without_ranges, arguments))]
    return kind


def _each_number(value: Any, name: str, allowed: Range) -> None:
    if isinstance(value, list | tuple):
        for i, item in enumerate(value):
            _each_number(item, f"{name}[{i}]", allowed)
    elif isinstance(value, dict):
        for key, item in value.items():
            _each_number(item, f"{name}.{key}", allowed)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        if allowed == _ANY and isinstance(value, int) and abs(value) > _LARGEST:
            raise ValueError(f"{name} must be at most {_LARGEST:,} in size, got {value}")
        if not allowed.allows(value):
            raise ValueError(f"{name} must be {allowed}, got {value}")

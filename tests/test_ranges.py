"""Ranges in the types of settings, and settings that a subclass inherits."""

from __future__ import annotations

import math
from typing import Annotated, Any

import pytest

from hymarl.ranges import (
    Count,
    Fraction,
    Length,
    Natural,
    NonNegative,
    Positive,
    Range,
    Seed,
    Steps,
    Without,
    check_range,
    without_ranges,
)
from hymarl.registry import ConfigError, check_settings, expect, objects, parameters

Rate = Annotated[float, Range(above=0, infinite=True)]


@pytest.mark.parametrize(
    ("kind", "good", "bad"),
    [
        (Count, [1, 10**9], [0, -3, 10**9 + 1, 2**63, 10**30]),
        (Natural, [0, 5], [-1]),
        (Steps, [1, 10**15], [0, 10**15 + 1]),
        (Seed, [0, 10**40], [-1]),
        (Positive, [1e-300, 1e308], [0.0, -1.0, math.inf, math.nan]),
        (NonNegative, [0.0, 2.0], [-1e-9, math.inf, -math.inf]),
        (Fraction, [0, 0.5, 1], [1.0000001, -0.1, math.nan]),
        (Rate, [math.inf, 1.0], [-math.inf, math.nan, 0.0]),
        (Positive | None, [None, 1.0], [0.0]),
        (list[Positive], [[], [1.0, 2.0]], [[1.0, 0.0], [math.nan]]),
        (list[list[Fraction]] | None, [None, [[0.0], []]], [[[0.0], [2.0]]]),
        (dict[str, Positive], [{"a": 1.0}], [{"a": 0.0}]),
        (float, [0.0, -5.0], [math.inf, math.nan]),
        (int, [-(2**53), 2**53], [2**53 + 1]),
        (bool, [True, False], []),
        (Annotated[str, Without("/:")], ["a b"], ["a/b", ":", "", 3]),
        (list[int], [[1, 2]], [[[1]], [{"a": 1}], [True], [1.5]]),
        (list[Count], [[1]], [[[1]], [None]]),
        (list[float], [[1, 2.5]], [[[1, 2]], ["1"]]),
        (list[str], [["a"]], [[["a"]], [1]]),
        (Annotated[list[Fraction], Length(at_least=2, at_most=2)], [[0.0, 1.0]], [[0.0, 2.0]]),
        (str, ["inf"], []),
        (dict[str, Any], [{"a": [1, {"b": math.nan}]}], []),
        (list[Any], [[[math.inf], "x", None]], []),
    ],
)
def test_numbers_in_and_out_of_range(kind: Any, good: list[Any], bad: list[Any]) -> None:
    for value in good:
        check_range(kind, value, "x")
    for value in bad:
        with pytest.raises(ValueError, match=r"^x[^ ]* must be "):
            check_range(kind, value, "x")


def test_the_sentence_names_the_number_and_what_is_allowed() -> None:
    with pytest.raises(ValueError, match=r"^speeds\[1\] must be above 0, got -2.0$"):
        check_range(list[Positive], [1.0, -2.0], "speeds")
    with pytest.raises(ValueError, match=r"^n must be at least 1, got 0$"):
        check_range(Count, 0, "n")
    with pytest.raises(ValueError, match=r"^gamma must be finite, got inf$"):
        check_range(float, math.inf, "gamma")


def test_a_list_has_a_length() -> None:
    pair = Annotated[list[float], Length(at_least=2, at_most=2)]
    check_range(pair | None, None, "rates")
    check_range(pair, [1.0, 2.0], "rates")
    for wrong in ([], [1.0], [1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match=r"^rates must have 2 entries, got \["):
            check_range(pair, wrong, "rates")
    with pytest.raises(ValueError, match=r"^cpus must have 1 to 10,000 entries, got \[\]$"):
        check_range(Annotated[list[int], Length(at_least=1)], [], "cpus")
    assert without_ranges(pair) == list[float]


def test_what_is_stored_has_no_ranges() -> None:
    assert without_ranges(list[Positive] | None) == list[float] | None
    assert without_ranges(dict[str, list[Count]]) == dict[str, list[int]]


class Base:
    def __init__(self, spec: int, *, width: Count, rate: Positive | None) -> None: ...


class Heir(Base):
    def __init__(self, spec: int, critic: str, *, extra: Fraction, **settings: Any) -> None: ...


def test_a_subclass_inherits_settings() -> None:
    assert list(parameters(Heir)) == ["extra", "width", "rate"]
    assert objects(Heir) == {"spec": int, "critic": str}
    values = {"extra": 0.5, "width": 3, "rate": None}
    assert check_settings(Heir, values, "h") == values
    with pytest.raises(ConfigError, match=r"^h: unknown key 'widht'; did you mean 'width'\?"):
        check_settings(Heir, {"widht": 3}, "h")
    with pytest.raises(ConfigError, match=r"^h: width must be at least 1"):
        check_settings(Heir, {**values, "width": 0}, "h")


def test_the_ranges_hold_when_a_component_is_built() -> None:
    from hymarl.registry import build

    with pytest.raises(ConfigError, match=r"optimizer=adam: lr must be at most 1, got inf"):
        build("optimizer", "adam", {"lr": math.inf, "betas": [0.9, 0.999], "eps": 1e-8, "weight_decay": 0.0})


def test_something_else_than_what_its_group_is_for_is_refused() -> None:
    assert expect(int, 3, "mixer=x") == 3
    with pytest.raises(ConfigError, match=r"^mixer=x: builtins.str must be a int$"):
        expect(int, "3", "mixer=x")

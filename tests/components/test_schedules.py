"""Schedules, by hand."""

import pytest

from hymarl.components.schedules import exponential, linear


@pytest.mark.parametrize(
    ("step", "value"), [(0, 1.0), (25, 0.775), (50, 0.55), (99, 0.109), (100, 0.1), (101, 0.1), (10**9, 0.1)]
)
def test_linear_falls_along_a_line_and_stays(step, value):
    assert linear(step, start=1.0, finish=0.1, duration=100) == pytest.approx(value)


@pytest.mark.parametrize(("step", "value"), [(0, 1.0), (50, 0.1), (100, 0.01), (1000, 0.01)])
def test_exponential_falls_by_a_constant_factor_and_stays(step, value):
    assert exponential(step, start=1.0, finish=0.01, duration=100) == pytest.approx(value)  # half-way: sqrt(0.01)


@pytest.mark.parametrize("schedule", [linear, exponential])
def test_no_duration_is_the_final_value_at_once(schedule):
    assert schedule(0, start=1.0, finish=0.5, duration=0) == 0.5


@pytest.mark.parametrize("schedule", [linear, exponential])
def test_the_value_may_rise(schedule):
    values = [schedule(step, start=0.4, finish=0.8, duration=10) for step in range(12)]
    assert values == sorted(values)
    assert (values[0], values[-1]) == (0.4, 0.8)

"""Estimates against numbers worked out by hand, all possible resamples, and rliable where it is installed."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymarl.reports.estimates import (
    Interval,
    bootstrap,
    interval,
    iqm,
    mean,
    median_interval,
    on_grid,
    performance_profile,
    probability_of_improvement,
    steps_to_reach,
)

A, B = np.array([1.0, 2.0, 4.0, 9.0]), np.array([0.0, 3.0, 5.0])


def simple_iqm(values):
    ordered = sorted(values)
    cut = len(ordered) // 4
    kept = ordered[cut : len(ordered) - cut]
    return math.fsum(kept) / len(kept)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_interquartile_mean_drops_a_quarter_at_either_end(values):
    assert float(iqm(np.array(values))) == pytest.approx(simple_iqm(values), abs=1e-12 * 1e3)


def test_interquartile_mean_by_hand():
    assert float(iqm(np.array([100.0, 1.0, 2.0, 3.0, -50.0, 4.0, 5.0, 6.0]))) == pytest.approx(3.5, abs=1e-12)
    assert float(iqm(np.array([1.0, 2.0, 9.0]))) == pytest.approx(4.0, abs=1e-12)  # of three, none is dropped


@pytest.mark.parametrize(("statistic", "simple"), [(mean, lambda x: math.fsum(x) / len(x)), (iqm, simple_iqm)])
def test_stratified_bootstrap_agrees_with_all_resamples(statistic, simple):
    every = sorted(
        simple([*a, *b])
        for a in itertools.product(A, repeat=len(A))
        for b in itertools.product(B, repeat=len(B))  # each task's runs are drawn for themselves
    )
    found = interval([A, B], statistic, seed=1, samples=20_000)
    assert found.value == pytest.approx(simple([*A, *B]), abs=1e-12)
    for end, level in ((found.low, 0.025), (found.high, 0.975)):
        error = 4 * math.sqrt(level * (1 - level) / 20_000)
        low, high = (every[int(part * len(every))] for part in (level - error, level + error))
        assert low - 1e-9 <= end <= high + 1e-9


def test_bootstrap_of_several_quantities_is_that_of_each(monkeypatch):
    curves = np.random.default_rng(3).normal(size=(4, 7))
    band = bootstrap([curves], mean, seed=5, samples=300)
    monkeypatch.setattr("hymarl.reports.estimates._NUMBERS_AT_ONCE", 4 * 300 * 2)  # two at a time
    assert np.array_equal(np.array(bootstrap([curves], mean, seed=5, samples=300)), np.array(band))
    for i in range(7):
        assert interval([curves[:, i]], mean, seed=5, samples=300) == pytest.approx([x[i] for x in band], abs=1e-12)


def test_a_single_run_has_no_interval():
    found = interval([A[:1], B[:1]], iqm, seed=0, samples=100)
    assert found.value == 0.5
    assert math.isnan(found.low)
    assert math.isnan(probability_of_improvement([A[:1]], [B[:1]], seed=0, samples=100).high)


def test_profile_counts_runs_above_each_threshold():
    band = performance_profile([A, B], np.array([-1.0, 2.0, 4.5, 9.0]), seed=0, samples=100)
    assert band.value == pytest.approx([1, 4 / 7, 2 / 7, 0])
    assert (band.low <= band.value).all()
    assert (band.value <= band.high).all()


def test_probability_of_improvement_counts_pairs_and_half_of_ties():
    x, y = np.array([1.0, 2.0]), np.array([0.0, 2.0, 3.0])  # 1>0, 2>0, 2=2: 2.5 of 6
    found = probability_of_improvement([x, A], [y, A - 20], seed=0, samples=4000)
    assert found.value == pytest.approx((2.5 / 6 + 1) / 2, abs=1e-12)
    every = sorted(
        (np.mean([(i > j) + 0.5 * (i == j) for i in a for j in b]) + 1) / 2
        for a in itertools.product(x, repeat=2)
        for b in itertools.product(y, repeat=3)
    )
    assert found.low == pytest.approx(every[int(0.025 * len(every))], abs=1e-9)
    assert found.high == pytest.approx(every[int(0.975 * len(every))], abs=1e-9)


def test_steps_to_reach_a_level():
    steps = np.array([0.0, 10.0, 20.0])
    assert steps_to_reach(steps, np.array([1.0, 5.0, 3.0]), 5, higher=True) == 10
    assert steps_to_reach(steps, np.array([9.0, 8.0, 3.0]), 3.5, higher=False) == 20
    assert steps_to_reach(steps, np.array([1.0, 2.0, 3.0]), 4, higher=True) == math.inf


def test_median_counts_runs_that_never_arrived_as_infinite():
    assert median_interval(np.array([10.0, math.inf, 30.0]), seed=0, samples=500) == Interval(30, 10, math.inf)
    assert median_interval(np.array([10.0, 20.0]), seed=0, samples=500).value == 10


def test_curves_are_brought_to_common_steps():
    steps, values = on_grid([np.array([0.0, 10.0, 20.0]), np.array([4.0, 12.0, 16.0])], [np.arange(3.0), np.ones(3)])
    assert steps.tolist() == [4, 10, 16]
    assert values[0] == pytest.approx([0.4, 1.0, 1.6])
    same = np.array([1.0, 2.0])
    assert on_grid([same, same], [same, same])[0] is same
    with pytest.raises(ValueError, match="no step in common"):
        on_grid([np.array([0.0, 1.0]), np.array([2.0, 3.0])], [same, same])


@pytest.mark.slow
def test_same_as_rliable():
    try:
        from rliable import library, metrics
    except Exception as error:  # its dependencies fail in many ways with a recent pandas
        pytest.skip(f"rliable cannot be imported: {error}")
    scores = np.random.default_rng(0).normal(size=(5, 3))  # runs, tasks
    other = np.random.default_rng(1).normal(0.4, size=(5, 3))
    points, intervals = library.get_interval_estimates(
        {"a": scores}, lambda x: np.array([metrics.aggregate_iqm(x), metrics.aggregate_mean(x)]), reps=20_000
    )
    for i, statistic in enumerate((iqm, mean)):
        found = interval([*scores.T], statistic, seed=0, samples=20_000)
        assert found.value == pytest.approx(points["a"][i], abs=1e-12)
        assert [found.low, found.high] == pytest.approx(intervals["a"][:, i], abs=0.02)
    points, intervals = library.get_interval_estimates(
        {"a,b": (scores, other)}, metrics.probability_of_improvement, reps=2000
    )
    found = probability_of_improvement([*scores.T], [*other.T], seed=0, samples=20_000)
    assert found.value == pytest.approx(points["a,b"], abs=1e-12)
    assert [found.low, found.high] == pytest.approx(intervals["a,b"].ravel(), abs=0.03)
    thresholds = np.linspace(-2, 2, 9)
    profile, _ = library.create_performance_profile({"a": scores}, thresholds, reps=100)
    assert performance_profile([*scores.T], thresholds, seed=0, samples=100).value == pytest.approx(profile["a"])

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
    can_differ,
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


def of_equal_tasks(a, b, part):
    """The mean of two tasks' scores that count the same in sum, without the lowest and the highest part of them."""
    ordered = sorted([*(7 * len(b) * [*a]), *(7 * len(a) * [*b])])
    cut = round(part * len(ordered))
    return math.fsum(ordered[cut : len(ordered) - cut]) / (len(ordered) - 2 * cut)


@given(st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=40))
def test_interquartile_mean_drops_a_quarter_at_either_end(values):
    assert float(iqm(np.array(values))) == pytest.approx(simple_iqm(values), abs=1e-12 * 1e3)


def test_interquartile_mean_by_hand():
    assert float(iqm(np.array([100.0, 1.0, 2.0, 3.0, -50.0, 4.0, 5.0, 6.0]))) == pytest.approx(3.5, abs=1e-12)
    assert float(iqm(np.array([1.0, 2.0, 9.0]))) == pytest.approx(4.0, abs=1e-12)  # of three, none is dropped


@pytest.mark.parametrize(("statistic", "part"), [(mean, 0), (iqm, 1 / 7)])  # of 7 scores, one at either end
def test_stratified_bootstrap_agrees_with_all_resamples(statistic, part):
    every = sorted(
        of_equal_tasks(a, b, part)
        for a in itertools.product(A, repeat=len(A))
        for b in itertools.product(B, repeat=len(B))  # each task's runs are drawn for themselves
    )
    found = interval([A, B], statistic, seed=1, samples=20_000)
    assert found.value == pytest.approx(of_equal_tasks(A, B, part), abs=1e-12)
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
    thresholds = np.array([-1.0, 2.0, 4.5, 9.0])
    band = performance_profile([A, B], thresholds, seed=0, samples=20_000)
    assert band.value == pytest.approx([1, (2 / 4 + 2 / 3) / 2, (1 / 4 + 1 / 3) / 2, 0])  # the mean over tasks
    every = [
        [(np.mean(np.array(a) > t) + np.mean(np.array(b) > t)) / 2 for t in thresholds]
        for a in itertools.product(A, repeat=len(A))
        for b in itertools.product(B, repeat=len(B))
    ]
    assert band.low == pytest.approx(np.quantile(every, 0.025, axis=0, method="inverted_cdf"))
    assert band.high == pytest.approx(np.quantile(every, 0.975, axis=0, method="inverted_cdf"))


@pytest.mark.parametrize("statistic", [mean, iqm])
def test_of_equal_weights_a_statistic_is_that_without(statistic):
    scores = np.random.default_rng(0).normal(size=(11, 5, 2))
    assert statistic(scores, np.full(11, 0.3)) == pytest.approx(statistic(scores))


@pytest.mark.parametrize(
    ("better", "than", "can"),
    [
        ([3], [3], False),  # 2 of 20 orders: 10 %
        ([4], [4], True),  # 2 of 70
        ([3], [5], True),  # 2 of 56
        ([3], [4], False),  # 2 of 35
        ([3, 3], [3, 3], True),
        ([1], [99], False),  # nothing is known about how the runs of the one differ
        ([1, 9], [9, 9], False),
    ],
)
def test_so_few_runs_have_no_interval_that_seems_to_show_a_difference(better, than, can):
    strata = [[np.arange(float(n)) + offset for n in sizes] for sizes, offset in ((better, 100), (than, 0))]
    assert can_differ(*strata) == can
    found = probability_of_improvement(*strata, seed=0, samples=100)
    assert found.value == 1
    assert math.isnan(found.low) != can


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

import math
from itertools import pairwise

import numpy as np
import pytest

from hymarl.components.statistics import Ratio, bootstrap_ratio_ci, mean_ci, student_975
from hymarl.reports.estimates import Interval
from hymarl.reports.sheets import Sheet, format_cell
from hymarl.reports.tables import format_ci, format_ratio, format_table

SCIPY = {1: 12.706205, 2: 4.302653, 4: 2.776445, 10: 2.228139, 11: 2.200985, 19: 2.093024, 29: 2.04523, 99: 1.984217}
"""scipy.stats.t.ppf(0.975, degrees of freedom)"""


@pytest.mark.parametrize("degrees", SCIPY)
def test_student_quantiles(degrees: int) -> None:
    assert student_975(degrees) == pytest.approx(SCIPY[degrees], rel=1e-4)


def test_student_quantiles_fall_towards_the_normal_one() -> None:
    quantiles = [student_975(degrees) for degrees in range(1, 500)]
    assert all(a > b for a, b in pairwise(quantiles))
    assert student_975(10**6) == pytest.approx(1.959964, abs=1e-5)


def test_mean_and_half_width() -> None:
    mean, half_width = mean_ci([1.0, 2.0, 3.0, 4.0, 5.0])
    assert mean == 3.0
    assert half_width == pytest.approx(2.776445 * math.sqrt(2.5 / 5), rel=1e-5)
    assert mean_ci(np.full(7, 2.0, np.float32)) == (2.0, 0.0)


def test_a_single_value_has_no_interval_and_no_value_no_mean() -> None:
    mean, half_width = mean_ci([4.0])
    assert mean == 4.0
    assert math.isnan(half_width)
    with pytest.raises(ValueError, match="no values"):
        mean_ci([])


def test_the_interval_covers_the_mean_in_95_percent_of_samples() -> None:
    samples = np.random.default_rng(0).normal(10.0, 3.0, (4000, 5))
    covered = [abs(mean - 10.0) <= half_width for mean, half_width in map(mean_ci, samples)]
    assert np.mean(covered) == pytest.approx(0.95, abs=0.012)


def test_ratio_of_pairs_that_differ_by_a_factor_is_certain() -> None:
    traffic = np.random.default_rng(0).lognormal(5.0, 1.0, 30)
    assert bootstrap_ratio_ci(0.5 * traffic, traffic, seed=1) == pytest.approx((0.5, 0.5, 0.5))


def test_pairing_narrows_the_interval() -> None:
    rng = np.random.default_rng(0)
    traffic, noise = rng.lognormal(5.0, 0.5, 40), rng.normal(1.0, 0.05, 40)
    paired = bootstrap_ratio_ci(0.8 * traffic * noise, traffic, seed=1)
    unpaired = bootstrap_ratio_ci(0.8 * traffic * noise, rng.permutation(traffic), seed=1)
    assert paired.low < 0.8 < paired.high
    assert paired.value == pytest.approx(np.mean(0.8 * traffic * noise) / np.mean(traffic))
    assert unpaired.high - unpaired.low > 4 * (paired.high - paired.low)


def test_bootstrap_covers_the_ratio_in_about_95_percent_of_samples() -> None:
    rng, covered = np.random.default_rng(0), 0
    for seed in range(400):
        b = rng.lognormal(0.0, 0.3, 30)
        ratio = bootstrap_ratio_ci(0.7 * b * rng.normal(1.0, 0.2, 30), b, seed=seed, n=500)
        covered += ratio.low <= 0.7 <= ratio.high
    assert 0.91 <= covered / 400 <= 0.97


def test_a_single_pair_has_a_ratio_but_no_interval() -> None:
    ratio = bootstrap_ratio_ci([3.0], [4.0], seed=0)
    assert ratio.value == 0.75
    assert math.isnan(ratio.low)
    assert math.isnan(ratio.high)
    assert format_ratio(ratio) == "0.750"
    assert format_ratio(Ratio(0.6151, 0.6119, 0.6161)) == "0.615 [0.612, 0.616]"


def test_bootstrap_depends_on_its_seed_only() -> None:
    a, b = np.arange(1.0, 9.0), np.arange(2.0, 10.0)
    assert bootstrap_ratio_ci(a, b, seed=3) == bootstrap_ratio_ci(a, b, seed=3)
    assert bootstrap_ratio_ci(a, b, seed=3) != bootstrap_ratio_ci(a, b, seed=4)


@pytest.mark.parametrize(("a", "b"), [([1.0, 2.0], [1.0]), ([], []), ([[1.0]], [[1.0]])])
def test_a_ratio_needs_pairs(a: list[float], b: list[float]) -> None:
    with pytest.raises(ValueError, match="paired"):
        bootstrap_ratio_ci(a, b, seed=0)


@pytest.mark.parametrize(
    ("mean", "half_width", "text"),
    [
        (74.1234, 0.3123, "74.12 ± 0.31"),
        (284.1, 12.3, "284 ± 12"),
        (1234.5, 345.6, "1234 ± 346"),
        (0.6, 0.00123, "0.6000 ± 0.0012"),
        (8.0, 0.0, "8.00 ± 0.00"),
        (1.25e-8, 1e-9, "1.25e-08 ± 1e-09"),
        (1e300, 2e299, "1e+300 ± 2e+299"),
        (74.1234, math.nan, "74.12"),
    ],
)
def test_an_interval_is_as_precise_as_it_is_wide(mean: float, half_width: float, text: str) -> None:
    assert format_ci(mean, half_width) == text


HEADERS = ["policy", "return", "n", "note"]
ROWS = [["qmix", "74.12 ± 0.31", 30, "best"], ["sed", 68.8123, 5, None], ["a|b", "-", 120, "x"]]


def test_a_table_for_the_terminal() -> None:
    assert format_table(HEADERS, ROWS).splitlines() == [
        "policy        return    n  note",
        "------  ------------  ---  ----",
        "qmix    74.12 ± 0.31   30  best",
        "sed            68.81    5",
        "a|b                -  120  x",
    ]


def test_a_table_for_markdown() -> None:
    assert format_table(HEADERS, ROWS, markdown=True).splitlines() == [
        "| policy |       return |   n | note |",
        "| ------ | -----------: | --: | ---- |",
        "| qmix   | 74.12 ± 0.31 |  30 | best |",
        "| sed    |        68.81 |   5 |      |",
        r"| a\|b   |            - | 120 | x    |",
    ]


def test_a_table_without_rows() -> None:
    assert format_table(["a", "bcde"], []).splitlines() == ["a    bcde", "---  ----"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="policy, return"):
        format_table(["policy", "return"], [["qmix"]])


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Interval(74.12, 73.8, 74.6), "74.12 [73.80, 74.60]"),
        (Interval(1e-8, 0.9e-8, 1.1e-8), "1e-08 [9e-09, 1.1e-08]"),
        (Interval(1e300, -1e300, 2e300), "1e+300 [-1e+300, 2e+300]"),
        (Interval(12_000.0, 10_000.0, math.inf), "12,000 [10,000, ∞]"),
        (Interval(3.0, math.nan, math.nan), "3"),
        (Interval(math.nan, math.nan, math.nan), ""),
        (1394.2, "1394"),
        (None, ""),
    ],
)
def test_a_cell_is_as_people_read_it(cell: Interval | float | None, text: str) -> None:
    assert format_cell(cell) == text


def test_a_wide_table_is_cut_and_names_what_is_missing() -> None:
    sheet = Sheet(name="x", title="", note="", headers=["method", "return", "ratio"], rows=[["[a", 1.0, 2.0]])
    assert sheet.text(width=14).splitlines() == [
        "method  return",
        "------  ------",
        "[a           1",
        "in the report also: ratio",
    ]
    assert "ratio" in sheet.text().splitlines()[0]
    assert "\n{[}a & 1 & 2" in sheet.latex()  # else the bracket would be an argument of the line's end before it

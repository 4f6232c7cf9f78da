"""From runs to verdicts: every statistic and every verdict, worked out by hand."""

import csv
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hymarl.registry import ConfigError, check_settings
from hymarl.reports.runs import Run, Series
from hymarl.reproduce.report import Result, _figures
from hymarl.reproduce.tasks import Row, Task, _read
from hymarl.reproduce.verdicts import judge


def row(of, **changes):
    values = {**_read("defaults")["row"], "of": [of] if isinstance(of, str) else of, "evidence": "read", **changes}
    return Row(**check_settings(Row, values, "row"))


def task(*rows):
    methods = {"vdn": ["algo=vdn"], "qmix": ["algo=qmix"], "sed": ["policy=sed"]}
    head = {"name": "t", "title": "T", "tier": "seconds", "experiment": "two_step", "protocol": "p", "source": "s"}
    return Task(**{**_read("defaults")["task"], **head, "methods": methods, "rows": rows})


def learned(*tests, curve=(), path=Path("nowhere"), references=None):
    """A run with these returns of its test episodes and of its evaluations."""
    series = Series(np.arange(float(len(curve))), np.array(curve, float))
    found = {"learned": {"return": np.array(tests, float)}, **(references or {})}
    curves = {"return": series} if len(curve) else {}
    return Run(
        path=path, config={"policy": "learned"}, finished=True, curves=curves, tests=found, metrics=("return",),
        wall_s=math.nan, steps_per_s=math.nan, doubt=None,
    )  # fmt: skip


def rule(*tests):
    run = learned()
    return Run(**{**vars(run), "config": {"policy": "sed"}, "tests": {"sed": {"return": np.array(tests, float)}}})


RUNS = {"vdn": [learned(1, 3), learned(4), learned(6)], "qmix": [learned(8), learned(8), learned(0)]}


@pytest.mark.parametrize(
    ("changes", "value", "verdict"),
    [
        ({"value": 4.0}, 4, "reproduced"),  # 2, 4 and 6: their mean
        ({"value": 5.0, "tolerance": 1.0}, 4, "reproduced"),  # Student's interval is 4 ± 4.97
        ({"value": 5.0, "tolerance": 0.9}, 4, "not reproduced"),
        ({"value": 5.0, "relative": 0.2}, 4, "reproduced"),
        ({"value": 0.04, "scale": 0.01}, 0.04, "reproduced"),
        ({"value": 3.0, "scale": -1.0, "offset": 7.0}, 3, "reproduced"),
        ({"low": 3.9, "high": 4.1}, 4, "reproduced"),
        ({"low": 4.1}, 4, "not reproduced"),
        ({"value": 3.0, "low": 2.5}, 4, "reproduced"),  # better than the reference
        ({"value": 9.9, "low": 3.5}, 4, "within tolerance"),  # at least what is demanded
        ({"value": 99.0, "not_comparable": "another unit"}, 4, "not comparable"),
    ],
)
def test_a_mean_and_its_verdict(changes, value, verdict):
    (found,) = judge(task(row("vdn", **changes)), RUNS, {"vdn": 3})
    assert found.ours.value == pytest.approx(value)
    assert found.ours.low < value < found.ours.high
    assert (found.verdict, found.n_runs) == (verdict, 3)
    assert found.failed == (verdict == "not reproduced")


@pytest.mark.parametrize(
    ("share", "verdict"), [(1.0, "not reproduced"), (0.6, "within tolerance"), (0.7, "not reproduced")]
)
def test_a_value_of_each_run_must_be_that_of_enough_of_them(share, verdict):
    (found,) = judge(task(row("qmix", statistic="each", value=8.0, share=share)), RUNS, {"qmix": 3})
    assert (found.each, found.verdict) == ((8, 8, 0), verdict)


def test_evaluations_and_training_count_as_their_statistics_say(tmp_path):
    with (tmp_path / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows(
            [["step", "episodes", "success"], [1, 100, 0.5], [2, 150, 1.0], [3, 160, ""], [4, 200, 0.0]]
        )
    runs = [learned(0, curve=[1, 9, 2], path=tmp_path), learned(0, curve=[3, 5, 8], path=tmp_path)]
    kinds = {"last": 2, "best": None, "best_of_each": None}
    rows = [row("vdn", statistic=kind, over=over, value=0.0) for kind, over in kinds.items()]
    rows.append(row("vdn", statistic="training", metric="success", over=100, value=0.6))
    rows.append(row("vdn", statistic="training", metric="success", over=100, until=140, value=0.7))
    found = judge(task(*rows), {"vdn": runs}, {"vdn": 2})
    assert found[4].ours.value == pytest.approx((40 * 1 + 60 * 0.5) / 100)
    # (9 + 2) / 2 and (5 + 8) / 2; evaluations have the means 2, 7 and 5; the best are 9 and 8
    assert [f.ours.value for f in found[:3]] == [6, 7, 8.5]
    assert found[3].ours.value == pytest.approx((40 * 0 + 50 * 1 + 10 * 0.5) / 100)
    with pytest.raises(ConfigError, match="have no loss"):
        judge(task(row("vdn", statistic="training", metric="loss", over=1, value=0.0)), {"vdn": runs}, {"vdn": 2})


def test_an_order_is_one_of_means_and_is_certain_where_intervals_are_apart():
    runs = {"vdn": [learned(9), learned(9.1)], "sed": [rule(1, 2, 3)]}
    runs["vdn"][0] = learned(9, references={"jsq": {"return": np.array([2.0, 2.2, 2.1])}})

    def verdict(*of, **changes):
        (found,) = judge(task(row([*of], statistic="order", **changes)), runs, {"vdn": 2, "sed": 1})
        return found.verdict

    assert verdict("vdn", "sed") == "reproduced"
    assert verdict("vdn", "jsq", "sed") == "within tolerance"  # 2.1 and 2 ± 2.5
    assert verdict("sed", "vdn") == "not reproduced"
    assert verdict("sed", "vdn", not_comparable="no") == "not comparable"


def test_a_rule_has_an_interval_over_episodes():
    (found,) = judge(task(row("sed", value=2.5, tolerance=1.0)), {"sed": [rule(1, 2, 3)]}, {"sed": 1})
    assert found.ours == pytest.approx((2, 2 - 4.302653 / math.sqrt(3), 2 + 4.302653 / math.sqrt(3)))
    assert (found.n_runs, found.verdict) == (0, "reproduced")


def test_what_has_not_finished_is_not_run_and_fails_unless_it_need_not_hold():
    for must_hold in (True, False):
        (found,) = judge(task(row("vdn", value=4.0, must_hold=must_hold)), {"vdn": RUNS["vdn"][:2]}, {"vdn": 3})
        assert (found.verdict, found.failed) == ("not run", must_hold)


def test_references_and_scripted_policies_are_drawn_differently():
    drawn = replace(task(row("vdn", value=3.0), row("qmix", value=4.0)), figure="return")
    run = learned(1.0, 2.0, curve=(0.0, 1.0, 2.0), references={"random": {"return": np.array([0.0, 1.0])}})
    (figure,) = _figures(Result(task=drawn, runs={"vdn": [run]}, findings=()))
    styles = {line.label: line.style for line in figure.panels[0].lines}
    assert styles.keys() == {"vdn", "random", "reference: vdn", "reference: qmix"}
    assert len(set(styles.values())) == 4

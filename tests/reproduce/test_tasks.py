"""The files of `published/`."""

from typing import get_args

import pytest

from hymarl.app.options import options
from hymarl.reproduce.tasks import EVIDENCE, Tier, load, names, of_tier


def test_every_task_can_be_read_and_compares_what_it_runs():
    experiments = options("experiment")
    for name in names():
        task = load(name)
        assert task.experiment in experiments, name
        assert task.rows, name
        for row in task.rows:
            assert row.of[0] in task.methods or row.statistic == "order", (name, row)
            assert any(method in task.methods for method in row.of), (name, row)
            nothing = row.value is row.low is row.high is None
            assert nothing == (row.statistic == "order") or (nothing and row.not_comparable), (name, row)
            assert row.statistic not in ("last", "training") or row.over, (name, row)
            assert row.must_hold or row.why or row.not_comparable, f"{name}: say why a row need not hold"


def test_only_what_was_read_is_called_published():
    assert [evidence for evidence, words in EVIDENCE.items() if "published" in words] == ["read"]


@pytest.mark.slow
@pytest.mark.parametrize("tier", get_args(Tier))
def test_every_cell_can_be_composed(configured, tier):
    for task in of_tier(tier):
        for _, overrides in task.cells([1]):
            assert configured(*overrides).train.total_steps > 0

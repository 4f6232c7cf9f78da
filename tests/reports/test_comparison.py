"""Tables of policies that played the same episodes, from numbers written by hand."""

import numpy as np
import pytest

from hymarl.reports.comparison import Comparison
from hymarl.runners.base import EpisodeStatistics
from hymarl.training.evaluation import Evaluation


def evaluation(times, numbers=None, name="time"):
    """Of episodes with these completion times; the return is ten times the episode's number."""
    numbers = np.arange(len(times)) if numbers is None else np.array(numbers)
    metrics = np.array(times, float)[:, None]
    return Evaluation(5, "test", EpisodeStatistics(numbers, numbers * 10.0, numbers + 1, metrics), (name,))


def test_every_policy_has_a_row_and_the_last_reference_is_what_the_first_is_divided_by():
    comparison = Comparison({"learned": evaluation([1, 2, 3]), "sed": evaluation([2, 4, 6])}, ("time",), "sed")
    header, _, learned, sed, note = comparison.text().splitlines()
    assert header.split("  ")[-1] == "time / sed"
    assert learned.split() == ["learned", "10", "±", "25", "2.0", "±", "2.5", "0.500", "[0.500,", "0.500]"]
    assert (sed.split()[0], sed.split()[-1]) == ("sed", "1")
    assert note == "mean ± 95 % interval over 3 test episodes, the same ones for every policy"


def test_what_runs_are_compared_by_as_numbers():
    comparison = Comparison({"learned": evaluation([1, 2, 3]), "sed": evaluation([2, 4, np.nan])}, ("time",), "sed")
    assert comparison.numbers() == {
        "final/return": 10.0,
        "reference/sed/return": 10.0,
        "ratio/sed/return": 1.0,
        "final/time": 2.0,
        "reference/sed/time": 3.0,
        "ratio/sed/time": 2.0 / 3.0,
    }
    losing = Comparison({"learned": evaluation([-1, -2]), "sed": evaluation([np.nan, np.nan])}, ("time",), "sed")
    assert losing.numbers() == {
        "final/return": 5.0,
        "reference/sed/return": 5.0,
        "ratio/sed/return": 1.0,
        "final/time": -1.5,  # no ratio of what may be negative, nothing of what no episode has
    }


def test_the_table_says_what_its_numbers_are(tmp_path):
    comparison = Comparison({"learned": evaluation([1, 3, np.nan], name="jct_mean")}, ("jct_mean",), None)
    comparison.write(tmp_path, "lb_herd, vdn, 8 agents, seed 1")
    title, _, *table = (tmp_path / "comparison.txt").read_text().splitlines()
    assert title == "lb_herd, vdn, 8 agents, seed 1"
    assert table[2].split()[4:] == ["2", "±", "13"]
    assert table[3:] == [
        "mean ± 95 % interval over 3 test episodes",
        "jct_mean: over the 2 of them that have one",
        "jct_mean: mean job completion time (ms), lower is better",
    ]


def test_one_episode_has_no_interval():
    comparison = Comparison({"learned": evaluation([1]), "sed": evaluation([4])}, ("time",), "sed")
    *_, learned, sed, note = comparison.text().splitlines()
    assert learned.split() == ["learned", "0", "1", "0.250"]
    assert sed.split() == ["sed", "0", "4", "1"]
    assert note == "one test episode, the same one for every policy"


@pytest.mark.parametrize(
    ("times", "note"),
    [([1, 2], "mean ± 95 % interval over 2 test episodes"), ([1], "one test episode")],
)
def test_a_policy_alone_is_compared_with_none(times, note):
    comparison = Comparison({"random": evaluation(times)}, (), None)
    assert comparison.text().splitlines()[-1] == note


def test_only_episodes_that_all_played_count():
    evaluations = {"learned": evaluation([1, 2, 3], [0, 1, 2]), "random": evaluation([5, 6, 7], [1, 2, 3])}
    comparison = Comparison(evaluations, ("time",), None)
    assert comparison.n_episodes == 2
    assert {name: means["time"] for name, means in comparison.means().items()} == {"learned": 2.5, "random": 5.5}
    assert "over 2 test episodes" in comparison.text()

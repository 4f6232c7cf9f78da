"""Tables of policies that played the same episodes, from numbers written by hand."""

import numpy as np
import pytest

from hymarl.reports.comparison import Comparison
from hymarl.runners.base import EpisodeStatistics
from hymarl.training.evaluation import Evaluation


def evaluation(times, numbers=None):
    """Of episodes with these completion times; the return is ten times the episode's number."""
    numbers = np.arange(len(times)) if numbers is None else np.array(numbers)
    metrics = np.array(times, float)[:, None]
    return Evaluation(5, "test", EpisodeStatistics(numbers, numbers * 10.0, numbers + 1, metrics), ("time",))


def test_every_policy_has_a_row_and_the_last_reference_is_what_the_first_is_divided_by():
    comparison = Comparison({"learned": evaluation([1, 2, 3]), "sed": evaluation([2, 4, 6])}, ("time",), "sed")
    header, _, learned, sed, note = comparison.text().splitlines()
    assert header.split("  ")[-1] == "time / sed"
    assert learned.split() == ["learned", "10", "±", "25", "2.0", "±", "2.5", "0.500", "[0.500,", "0.500]"]
    assert (sed.split()[0], sed.split()[-1]) == ("sed", "1")
    assert note == "mean ± 95 % interval over 3 test episodes, the same ones for every policy"


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

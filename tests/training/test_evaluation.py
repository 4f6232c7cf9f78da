"""Evaluation: the same episodes for everyone, and what is said about them."""

import math
from functools import partial

import numpy as np
import pytest
import torch

from hymarl.components.rng import Stream, keys
from hymarl.policies.learned import LearnedPolicy
from hymarl.runners.base import EpisodeStatistics, TooManyFailures
from hymarl.training.evaluation import Evaluation, evaluate


@pytest.fixture
def evaluation():
    statistics = EpisodeStatistics(
        numbers=np.array([0, 1, 2]),
        returns=np.array([1.0, 2.0, 6.0]),
        lengths=np.array([4, 4, 5]),
        metrics=np.array([[1.0, np.nan, np.nan], [3.0, np.nan, 8.0], [5.0, np.nan, 10.0]]),
    )
    return Evaluation(100, "validation", statistics, ("won", "never", "sometimes"))


def test_summary_is_over_what_is_known(evaluation):
    summary = evaluation.summary()
    # Mean 3, standard deviation sqrt((4 + 1 + 9) / 2) = sqrt(7), Student's t with 2 degrees of freedom 4.302653.
    assert summary.pop("return_ci95") == pytest.approx(4.302653 * math.sqrt(7 / 3), rel=1e-6)
    assert math.isnan(summary.pop("never"))
    assert summary == {"return_mean": 3.0, "length_mean": pytest.approx(13 / 3), "won": 3.0, "sometimes": 9.0}
    assert evaluation.return_mean == 3.0


def test_rows_are_one_per_episode_under_the_columns(evaluation):
    rows = evaluation.rows()
    columns = Evaluation.columns(("won", "never", "sometimes"))
    assert columns == ("step", "stream", "episode", "return", "length", "won", "never", "sometimes")
    assert all(tuple(row) == columns for row in rows)
    assert [row["return"] for row in rows] == [1.0, 2.0, 6.0]
    assert {k: v for k, v in rows[1].items() if k != "never"} == {
        "step": 100,
        "stream": "validation",
        "episode": 1,
        "return": 2.0,
        "length": 4,
        "won": 3.0,
        "sometimes": 8.0,
    }
    assert {type(value) for row in rows for value in row.values()} == {int, float, str}


def test_the_same_episodes_are_played_every_time(component, random_env, make_controller):
    runner = component("runner", "parallel", random_env, 5, Stream.VALIDATION, n_envs=3)
    torch.manual_seed(0)
    policy = LearnedPolicy(runner.spec, make_controller(runner.spec))
    first = evaluate(policy, runner, 7, step=0, stream="validation")
    runner.play(policy, np.arange(4))  # whatever else the runner does
    second = evaluate(policy, runner, 7, step=12, stream="validation")
    fewer = evaluate(policy, runner, 2, step=12, stream="validation")
    assert (second.step, second.stream, second.metric_names) == (12, "validation", ("first", "steps"))
    for a, b, c in zip(first.statistics, second.statistics, fewer.statistics, strict=True):
        assert np.array_equal(a, b)
        assert np.array_equal(a[:2], c)
    assert first.statistics.numbers.tolist() == list(range(7))
    assert len(set(first.statistics.returns)) == 7


def test_an_evaluation_without_a_single_episode_is_a_failure(component, random_env, make_controller):
    key = int(keys(5, Stream.VALIDATION, 0)[0])
    make_env = partial(random_env, failures={key: [0, 0]})
    runner = component("runner", "parallel", make_env, 5, Stream.VALIDATION, n_envs=1)
    policy = LearnedPolicy(runner.spec, make_controller(runner.spec))
    with pytest.raises(TooManyFailures, match=r"^all 1 episodes of an evaluation failed; the last: environment 0 "):
        evaluate(policy, runner, 1, step=0, stream="validation")

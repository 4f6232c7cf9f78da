"""No metric of an environment takes the place of a number of the run's own."""

import csv
from pathlib import Path

import numpy as np
import pytest

from hymarl.registry import ConfigError, find
from hymarl.runners.base import EpisodeStatistics
from hymarl.training.columns import check_metric_names
from hymarl.training.evaluation import Evaluation

GAMES = Path(__file__).parents[1] / "envs"
TELLING = ("env=pymarl", "env.entry_point=pymarl_games:Telling")
SHORT = (
    *("logger=[]", "train.total_steps=8", "replay.batch_episodes=2", "train.log_interval_steps=4"),
    *("eval.episodes=1", "eval.test_episodes=1", "runner.n_envs=2", "runner.workers=0"),
)
UNUSUAL = ["a,b", 'say "x"', "battle won"]


@pytest.fixture(scope="module")
def tables(hymarl, tmp_path_factory):
    """The rows of every table of a run whose environment has unusual names for its metrics."""
    folder = tmp_path_factory.mktemp("short")
    names = '["a,b",\'say "x"\',battle won]'
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(GAMES)
        run = (*TELLING, f"env.kwargs={{names: {names}}}", f"env.metrics={names}", *SHORT, "hydra.run.dir=run")
        seen = hymarl(folder, *run)
    assert (seen.code, seen.err) == (0, "")
    found = {}
    for table in ("metrics", "evaluations", "comparison"):
        with (folder / "run" / f"{table}.csv").open(encoding="utf-8", newline="") as file:
            found[table] = list(csv.DictReader(file))
    return found


@pytest.fixture
def others():
    """What the default selector and learner add."""
    return (*find("selector", "epsilon_greedy").metric_names, *find("learner", "q").metric_names)


@pytest.fixture
def evaluation():
    statistics = EpisodeStatistics(np.arange(2), np.ones(2), np.ones(2, np.int64), np.ones((2, 1)))
    return Evaluation(0, "test", statistics, ("won",))


def test_every_column_of_a_run_is_refused(tables, others):
    columns = [{*rows[0]} - {*UNUSUAL} for rows in tables.values()]
    assert all(len(names) > 4 for names in columns)
    for name in set.union(*columns):
        with pytest.raises(ConfigError, match=f"the environment's metric '{name}' has the name of a column"):
            check_metric_names(("won", name), others)


def test_every_mean_of_an_evaluation_is_refused(evaluation):
    for name in evaluation.summary().keys() - set(evaluation.metric_names):
        with pytest.raises(ConfigError, match=f"'{name}' has the name of a column"):
            check_metric_names((name,), ())


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (("won", "lost", "won"), "the environment has two metrics of the name 'won'"),
        (("",), "the environment's metric '' heads a column: give it a name of one line"),
        (("two\nlines",), r"metric 'two\\nlines' heads a column"),
    ],
)
def test_what_cannot_head_a_column_is_refused(names, sentence):
    with pytest.raises(ConfigError, match=sentence):
        check_metric_names(names, ())


def test_other_names_are_free():
    check_metric_names(("won", "r/x", "battle won", "taux réussite", 'a "word"', "a,b", "seed", "loss"), ())


def test_unusual_names_come_back_from_the_tables(tables):
    for table, rows in tables.items():
        assert rows
        assert all({row[name] for name in UNUSUAL} == {"77.0"} for row in rows), table


MODES = {
    "training": (*SHORT, "hydra.run.dir=run"),
    "evaluation": (*SHORT[-2:], "policy=random", "eval.test_episodes=1", "hydra.run.dir=run"),
    "film": (*SHORT[-2:], "policy=random", "eval.test_episodes=1", "render=terminal", "hydra.run.dir=run"),
    "check": ("check=true",),
}


@pytest.fixture
def telling(hymarl, tmp_path, monkeypatch):
    """Plays an environment with these infos in one of the modes."""
    monkeypatch.syspath_prepend(GAMES)

    def call(mode, infos, metrics):
        return hymarl(tmp_path, *TELLING, f"env.kwargs={{names: {infos}}}", f"env.metrics={metrics}", *MODES[mode])

    return call


@pytest.mark.parametrize(
    ("mode", "name"),
    [
        ("training", "loss"),
        ("evaluation", "return_mean"),
        ("check", "return"),
        pytest.param("film", "return", marks=pytest.mark.slow),
    ],
)
def test_a_clash_is_refused_before_anything_starts(telling, tmp_path, mode, name):
    seen = telling(mode, f"[{name}]", f"[{name}]")
    assert (seen.code, seen.out) == (2, "")
    assert seen.err.startswith(
        f"env=pymarl: the environment's metric '{name}' has the name of a column that the run's "
    )
    assert seen.err.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("mode", ["training", *(pytest.param(m, marks=pytest.mark.slow) for m in [*MODES][1:])])
def test_a_name_is_given_once(telling, tmp_path, mode):
    seen = telling(mode, "[won]", "[won,'won?']")
    assert (seen.code, seen.out) == (2, "")
    assert "env.metrics names 'won' twice; name it once\n" in seen.err
    assert not list(tmp_path.iterdir())

"""Searches with Optuna: what a trial is, what the study keeps, and what is left when they are ended."""

import csv
import math
import os
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from hymarl.app import sweep_progress
from hymarl.app.search_settings import SearchSettings
from hymarl.app.search_space import Choice, Interval, read_space
from hymarl.app.study import Study
from hymarl.app.validations import at_common_steps, score, validations
from hymarl.components.files import WriteError
from hymarl.registry import ConfigError
from hymarl.training.run_directory import owning

optuna = pytest.importorskip("optuna")

TINY = ("env=two_step", "train.total_steps=64", "train.eval_interval_steps=32", "eval.episodes=1")
TINY += ("eval.test_episodes=1", "eval.references=false", "logger=[]", "runner=episode", "threads=1")
SEARCH = ("-m", *TINY, "hydra/sweeper=hymarl_optuna", "sweep.name=s")
LR = "optimizer.lr=tag(log,interval(1e-4,1e-2))"


def directory(folder):
    return folder / "results" / "sweeps" / "s"


def study_of(folder):
    return optuna.load_study(study_name="s", storage=f"sqlite:///{directory(folder)}/study.db")


def made(folder):
    """The study of the search, before its first call."""
    directory(folder).mkdir(parents=True)
    storage = f"sqlite:///{directory(folder)}/study.db"
    return optuna.create_study(storage=storage, study_name="s", direction="maximize")


def states(folder):
    return [trial.state.name for trial in study_of(folder).get_trials()]


def jobs_in(folder):
    return sorted(path.name for path in directory(folder).iterdir() if path.is_dir())


def rows(run, stream="validation"):
    with (run / "evaluations.csv").open() as file:
        return [row for row in csv.DictReader(file) if row["stream"] == stream]


# The space


def test_hydras_syntax_is_read_and_the_command_line_wins():
    params = {"optimizer.lr": "interval(0.1,0.2)", "learner": {"gamma": 0.5}, "mixer": "qmix,vdn"}
    typed = [
        "learner.gamma=tag(log,interval(0.1,0.9))",
        "network.rnn_dim=int(interval(8,64))",
        "replay.batch_episodes=range(8,33,8)",
        "selector.finish=range(0.1,0.4,0.1)",
        "mixer=vdn",
        "seed=range(3,6)",
        "+env.kwargs.size=choice(3,null)",
    ]
    with pytest.raises(Exception, match="choice"):  # Hydra has no null in a choice
        read_space(params, typed)
    space = read_space(params, [*typed[:-1], "+env.kwargs.size=3,null"])
    assert space.parameters == {
        "optimizer.lr": Interval(0.1, 0.2),
        "learner.gamma": Interval(0.1, 0.9, log=True),
        "network.rnn_dim": Interval(8, 64),
        "replay.batch_episodes": Interval(8, 32, 8),
        "selector.finish": Interval(0.1, 0.3, 0.1),
        "+env.kwargs.size": Choice(("3", "null")),
    }
    assert space.seeds == ("seed=3", "seed=4", "seed=5")
    assert space.fixed == ("mixer=vdn",)


def test_a_grid_has_all_points_and_a_trial_a_run_for_each_seed():
    space = read_space({}, ["a=range(2,5,2)", "b=x,y", "seed=1,2", "c=1"])
    assert [[*point.values()] for point in space.grid()] == [[2, "x"], [2, "y"], [4, "x"], [4, "y"]]
    assert space.runs({"a": 2, "b": "y"}) == [
        ("seed=1", ["c=1", "a=2", "b=y", "seed=1"]),
        ("seed=2", ["c=1", "a=2", "b=y", "seed=2"]),
    ]
    with pytest.raises(ConfigError, match=r"b: a grid needs values"):
        read_space({}, ["b=interval(0,1)"]).grid()


def test_a_range_is_counted_not_listed():
    assert read_space({}, ["a=range(1,1e9)"]).parameters == {"a": Interval(1, 999_999_999, 1)}
    wrong = {
        "a=shuffle(range(1,1e9))": "these are 999,999,999 values; 10,000 can be listed",
        "a=range(1e9,1,-1)": "these are 999,999,999 values",
        "a=tag(log,range(8,65,8))": "a logarithm is searched without steps",
        "a=1,2 seed=range(1,1e9)": "these are 999,999,999 values",
        "a=1,2 seed=1,x": "seed=1,x: seeds are whole numbers from 0, x is none",
        "a=interval(0,inf)": "an interval goes from the smaller to the larger number",
    }
    for typed, sentence in wrong.items():
        with pytest.raises(ConfigError, match=sentence):
            read_space({}, typed.split())
    with pytest.raises(ConfigError, match="a: 999,999,999 values are too many for a grid"):
        read_space({}, ["a=range(1,1e9)"]).grid()


# What a run has reached


def test_validations_are_means_over_episodes_at_steps_that_runs_have_in_common(tmp_path):
    assert validations(tmp_path, "return", 2) == {}
    text = "step,stream,episode,return,length\n0,validation,0,9,1\n0,validation,1,9,1\n"
    text += "12,validation,0,1,1\n12,validation,1,4,1\n25,validation,0,3,1\n25,validation,1,5,1\n25,test,0,99,1\n"
    (tmp_path / "evaluations.csv").write_text(text + "31,validation,0,7,1\n31,validation,1,8")
    found = validations(tmp_path, "return", 2)  # of the last one, a row is not yet written
    assert found == {12: 2.5, 25: 4.0}
    assert at_common_steps(found, 10, 100) == {10: 2.5, 20: 4.0}
    with pytest.raises(ConfigError, match="did you mean 'return'"):
        validations(tmp_path, "retrun", 2)


def test_the_validation_at_the_end_has_a_step_of_its_own_and_counts():
    found = {12: 2.0, 31: math.nan, 36: 7.0, 39: 3.0}  # every 10 steps, and at the end, here 38
    assert at_common_steps({12: 2.0, 31: 1.0, 39: 3.0}, 10, 38) == {10: 2.0, 30: 1.0, 38: 3.0}
    assert at_common_steps({41: 5.0}, 100, 40) == {40: 5.0}
    del found[31]
    assert [score(found, which, "maximize") for which in ("last", "best", "mean")] == [3.0, 7.0, 4.0]
    found[31] = math.nan
    assert [score(found, "best", direction) for direction in ("maximize", "minimize")] == [7.0, 2.0]
    assert math.isnan(score(found, "mean", "maximize"))


# A study


@pytest.fixture(scope="module")
def searched(hymarl, tmp_path_factory):
    """A folder with a search of one trial with two seeds, and what it printed."""
    folder = tmp_path_factory.mktemp("searched")
    outcome = hymarl(folder, *SEARCH, LR, "learner.gamma=0.5,0.9", "seed=1,2", "hydra.sweeper.n_trials=1")
    assert (outcome.code, outcome.err) == (0, "")
    return folder, outcome.out


def test_a_trial_is_the_mean_over_its_seeds_and_the_report_says_how_to_train_with_it(hymarl, searched):
    folder, shown = searched
    assert jobs_in(folder) == ["trial-0_seed-1", "trial-0_seed-2"]
    for trial in study_of(folder).get_trials():
        runs = [directory(folder) / f"trial-{trial.number}_seed-{seed}" for seed in (1, 2)]
        assert trial.value == sum(float(rows(run)[-1]["return"]) for run in runs) / 2
        assert [*trial.intermediate_values] == [32, 64]
        assert f"lr: {trial.params['optimizer.lr']}" in (runs[0] / "config.yaml").read_text()
    assert "search" not in (runs[0] / "config.yaml").read_text()
    report = (directory(folder) / "search.md").read_text()
    assert shown.endswith(report)
    (line,) = [line for line in report.splitlines() if line.startswith("    ")]
    words = shlex.split(line)
    assert words[-1] == "seed=3"
    own = [word for word in words if "=" in word]
    again = hymarl(folder, *own, "logger=[]", "hydra.run.dir=new")
    assert (again.code, again.err) == (0, "")
    best = study_of(folder).best_trial.params["optimizer.lr"]
    assert f"lr: {best}" in (folder / "new" / "config.yaml").read_text()


def test_n_trials_is_the_total_of_the_study(hymarl, searched):
    folder, _ = searched
    same = (*SEARCH, LR, "learner.gamma=0.5,0.9", "seed=1,2")
    outcome = hymarl(folder, *same, "hydra.sweeper.n_trials=1")
    assert outcome.out.startswith("a search of 1 trial, 1 made before: results/sweeps/s\n# Search s\n")
    assert len(jobs_in(folder)) == 2
    other_words = ("learner.gamma=0.9,0.5", *reversed(TINY), "seed=range(1,3)", LR, "learner.double_q=true")
    outcome = hymarl(folder, "-m", "sweep.name=s", *SEARCH[-2:-1], *other_words, "hydra.sweeper.n_trials=1")
    assert (outcome.code, outcome.err) == (0, "")
    outcome = hymarl(folder, *same, "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert states(folder) == ["COMPLETE"] * 2
    drawn = [trial.params["optimizer.lr"] for trial in study_of(folder).get_trials()]
    assert len(set(drawn)) == 2  # continued, the sampler does not draw the same again


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("learner.gamma=0.5,0.9", "seed=1"), "seed was 1,2, now 1; give another sweep.name"),
        (("learner.gamma=0.5,0.8", "seed=1,2"), "has chosen it in another way: 0.5, 0.9; only the ends"),
        (("learner.gamma=0.5,0.9", "seed=1,2", "hydra.sweeper.direction=minimize"), "is to maximize; give another"),
        (("learner.gamma=0.5,0.9", "seed=1,2", "hydra.sweeper.score=best"), "score was last, now best; give"),
        (("learner.gamma=0.5,0.9", "seed=1,2", "mixer=vdn"), "about something else: mixer was qmix, now vdn; give"),
        (("learner.gamma=0.5,0.9", "seed=1,2", "mixer.embed_dim=8"), "else: mixer.embed_dim was 32, now 8; give"),
        (("learner.gamma=0.5", "seed=1,2"), "else: learner.gamma was searched and is not any more; give"),
        (("learner.gamma=0.5,0.9", "seed=1,2", "learner.grad_clip=1,2"), "else: learner.grad_clip was not searched;"),
    ],
)
def test_trials_that_cannot_be_compared_do_not_go_into_one_study(hymarl, searched, words, sentence):
    folder, _ = searched
    outcome = hymarl(folder, *SEARCH, LR, *words)
    assert outcome.code == 2
    assert "the study s in sqlite:///results/sweeps/s/study.db " in outcome.err
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""


def test_a_run_whose_validations_are_damaged_is_a_failed_trial(hymarl, searched, tmp_path):
    shutil.copytree(directory(searched[0]), directory(tmp_path))
    (directory(tmp_path) / "study.db").unlink()  # a new study draws the same, and finds the finished runs
    table = directory(tmp_path) / "trial-0_seed-2" / "evaluations.csv"
    table.write_text(table.read_text().replace("validation", "validation,", 1))
    outcome = hymarl(
        tmp_path, *SEARCH, LR, "learner.gamma=0.5,0.9", "seed=1,2", "hydra.sweeper.n_trials=1", "hydra.sweeper.seed=0"
    )
    assert outcome.code == 1
    said = outcome.err.splitlines()
    assert said[0].startswith("trial 0: results/sweeps/s/trial-0_seed-2/evaluations.csv is damaged: ")
    assert said[1:] == ["1 trials failed, more than hydra.sweeper.max_failure_rate=0.2 allows"]
    assert states(tmp_path) == ["FAIL"]


def test_a_trial_of_a_dead_search_is_failed_and_queued_again_once(hymarl, tmp_path):
    distribution = optuna.distributions.FloatDistribution(1e-4, 1e-2, log=True)
    dead = made(tmp_path).ask({"optimizer.lr": distribution})
    outcome = hymarl(tmp_path, *SEARCH, LR, "hydra.sweeper.n_trials=1")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.startswith("a search of 1 trial, 1 to continue: ")
    assert states(tmp_path) == ["FAIL", "COMPLETE"]
    trials = study_of(tmp_path).get_trials()
    assert trials[0].user_attrs["failed"] == "interrupted; it is queued again"
    assert trials[1].params == dead.params


def test_pruning_stops_the_jobs_of_a_trial_and_is_no_failure(hymarl, tmp_path):
    better = {1000 * n: 1000.0 for n in range(1, 91)}  # than anything in this game
    made(tmp_path).add_trial(optuna.create_trial(value=1000.0, intermediate_values=better))
    long = (
        "train.total_steps=90000",
        "train.eval_interval_steps=1000",
        "train.log_interval_steps=100",
        "train.checkpoint_interval_steps=90000",
    )
    pruner = ("hydra.sweeper.pruner=median", "+hydra.sweeper.pruner_kwargs.n_startup_trials=1")
    outcome = hymarl(tmp_path, *SEARCH, LR, *long, *pruner, "hydra.sweeper.n_trials=2")
    assert (outcome.code, outcome.err) == (0, "")
    assert states(tmp_path) == ["COMPLETE", "PRUNED"]
    pruned = study_of(tmp_path).get_trials()[1]
    assert f"trial 1: pruned at step {pruned.last_step:,}" in outcome.out
    assert "2 trials, 1 pruned" in outcome.out
    run = directory(tmp_path) / "trial-1"
    assert '"interrupted"' in (run / "status.json").read_text()
    assert int(rows(run)[-1]["step"]) < 90000
    assert not (run / ".stop").exists()


def test_a_grid_makes_every_point_once_and_a_trial_that_fails_has_a_sentence(hymarl, tmp_path):
    words = (*SEARCH, "init_from=nothing,null", "mixer=vdn", "hydra.sweeper.sampler=grid")
    outcome = hymarl(tmp_path, *words)
    assert outcome.code == 0  # 1 of at most 20 is no more than a fifth
    assert re.fullmatch(r"trial 0: .*nothing.*\n", outcome.err)
    assert states(tmp_path) == ["FAIL", "COMPLETE"]
    assert [trial.params["init_from"] for trial in study_of(tmp_path).get_trials()] == ["nothing", "null"]
    assert "1 trial, 1 failed; maximized is return" in outcome.out


def test_too_many_failures_end_the_search(hymarl, tmp_path):
    words = (*SEARCH, LR, "init_from=nothing", "hydra.sweeper.n_trials=3", "hydra.sweeper.max_failure_rate=0.4")
    outcome = hymarl(tmp_path, *words)
    assert outcome.code == 1
    assert states(tmp_path) == ["FAIL", "FAIL"]
    assert set(re.findall(r"of (\d+) done", outcome.out)) <= {"3"}
    said = outcome.err.splitlines()
    assert said[0].startswith("trial 0: ")
    assert "nothing" in said[0]
    assert said[2] == "2 trials failed, more than hydra.sweeper.max_failure_rate=0.4 allows"
    assert "to go on: " in outcome.out


def test_an_objective_that_runs_do_not_have_ends_the_search_and_loses_nothing(hymarl, tmp_path):
    outcome = hymarl(tmp_path, *SEARCH, LR, "hydra.sweeper.n_trials=1", "hydra.sweeper.objective=retrun")
    assert outcome.code == 2
    assert outcome.err.startswith("hydra.sweeper.objective=retrun: runs have no such column; did you mean 'return'?")
    assert states(tmp_path) == ["FAIL", "WAITING"]
    outcome = hymarl(
        tmp_path, *SEARCH, LR, "hydra.sweeper.n_trials=1", "hydra.sweeper.objective=length", "hydra.sweeper.score=mean"
    )
    assert (outcome.code, outcome.err) == (0, "")
    assert jobs_in(tmp_path) == ["trial-0"]
    assert study_of(tmp_path).best_value == 2.0  # each episode has two steps


def test_cma_es_and_a_journal_as_storage(hymarl, tmp_path):
    pytest.importorskip("cmaes")
    words = (*SEARCH, LR, "learner.gamma=interval(0.5,0.9)", "hydra.sweeper.sampler=cmaes")
    outcome = hymarl(tmp_path, *words, "hydra.sweeper.n_trials=2", "hydra.sweeper.storage=journal.log")
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "journal.log").is_file()
    assert not (directory(tmp_path) / "study.db").exists()
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(str(tmp_path / "journal.log")))
    last = optuna.load_study(study_name="s", storage=storage).get_trials()[-1]
    assert any(key.startswith("cma:") for key in last.system_attrs)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "a search needs a setting to choose"),
        (("mixr=qmix,vdn",), "unknown key or group 'mixr'; did you mean 'mixer'?"),
        ((LR, "seed=interval(1,3)"), "seed=interval(1,3): a trial is averaged over its seeds; list them"),
        (
            ("optimizer.lr=interval(2,1)",),
            "optimizer.lr=interval(2,1): an interval goes from the smaller to",
        ),
        ((LR, "hydra.sweeper.sampler=grid"), "optimizer.lr: a grid needs values"),
        ((LR, "hydra.sweeper.sampler=tpee"), "hydra.sweeper: sampler=tpee is not a choice; did you mean 'tpe'?"),
        ((LR, "hydra.sweeper.n_trails=3"), "hydra.sweeper: unknown key 'n_trails'; did you mean 'n_trials'?"),
        ((LR, "hydra.sweeper.n_trials=0"), "hydra.sweeper: n_trials must be at least 1"),
        ((LR, "+hydra.sweeper.sampler_kwargs.x=1"), "hydra.sweeper.sampler_kwargs: Optuna's TPESampler says: "),
        (("mixer=qmix,vdn", "hydra.sweeper.sampler=cmaes"), "hydra.sweeper.sampler=cmaes searches numbers"),
        (
            (LR, "hydra.sweeper.storage=sqlit://me:secret@x/y"),
            "hydra.sweeper.storage=sqlit://me:***@x/y cannot be used: ",
        ),
        ((LR, "hydra.sweep.dir='what?/s'"), "what?/s: a search cannot keep its study in a directory with ?"),
        (
            (LR, "hydra.sweeper.pruner=hyperband", "+hydra.sweeper.pruner_kwargs.reduction_factor=x"),
            "hydra.sweeper.pruner_kwargs: Optuna's HyperbandPruner says: ",
        ),
        (
            ("mixer=vdn,qmix", "mixer.embed_dim=16,32"),
            "with mixer=vdn there is no run: mixer=vdn has no settings, so no 'embed_dim'; what only some options have "
            "is searched as +when_chosen.mixer.OPTION.embed_dim=…",
        ),
        (
            ("learner.gamma=interval(0.5,1.5)",),
            "with learner.gamma=1.5 there is no run: learner=q: gamma must be at most 1, got 1.5",
        ),
        ((LR, "policy=random"), "a search compares what new runs have learned; here nothing is trained"),
    ],
)
def test_a_mistake_is_said_once_and_leaves_nothing(hymarl, tmp_path, words, sentence):
    outcome = hymarl(tmp_path, *SEARCH, *words)
    assert outcome.code == 2
    assert outcome.err.startswith(sentence)
    assert outcome.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_an_interval_needs_a_search(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "-m", *TINY, LR)
    assert (outcome.code, outcome.err) == (2, f"{LR} is for a search; add hydra/sweeper=hymarl_optuna\n")
    assert not any(tmp_path.iterdir())


def test_without_optuna_a_sentence_says_what_to_install(hymarl, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    outcome = hymarl(tmp_path, *SEARCH, LR)
    assert outcome.code == 2
    assert outcome.err == "a search needs optuna, which is not installed: pip install 'hymarl[search]'\n"
    assert not any(tmp_path.iterdir())


# The option files


@pytest.mark.parametrize("option", sorted(p.stem for p in (Path(__file__).parents[2] / "conf" / "search").iterdir()))
def test_every_search_that_ships_can_begin(hymarl, tmp_path, option):
    outcome = hymarl(tmp_path, "-m", f"search={option}", "env=two_step", "sweep.name=s", "sweep.dry_run=true")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[-1].startswith("up to 20 trials, each 1 run of 100,000 steps: ")
    assert not any(tmp_path.iterdir())


def test_a_search_file_of_ones_own_is_no_part_of_its_runs(hymarl, tmp_path):
    (tmp_path / "own" / "search").mkdir(parents=True)
    header = "# @package hydra.sweeper\ndefaults: [/hydra/sweeper/hymarl_optuna@_here_, _self_]\n"
    file = tmp_path / "own" / "search" / "mine.yaml"
    file.write_text(header + "sampler: grid\nparams: {learner.gamma: 'choice(0.5,0.9)'}\n")
    words = ("-m", *TINY, "search=mine", "hydra.searchpath=[file://own]", "sweep.name=s")
    outcome = hymarl(tmp_path, *words, "hydra.sweeper.n_trials=1")
    assert (outcome.code, outcome.err) == (0, "")
    run = directory(tmp_path) / "trial-0"
    assert "gamma: 0.5" in (run / "config.yaml").read_text()
    assert "hydra.sweeper" not in (run / "config.yaml").read_text()
    report = (directory(tmp_path) / "search.md").read_text()
    assert "search=" not in report
    assert "'hydra.searchpath=[file://own]' seed=2" in report  # the runs may need other files of the folder
    file.write_text("params: {learner.gamma: 'choice(0.5,0.9)'}\n")
    outcome = hymarl(tmp_path, *words)
    sentence = "search=mine: its YAML file, or one that it includes, lacks this first line: # @package hydra.sweeper\n"
    assert (outcome.code, outcome.err) == (2, sentence)


def test_a_search_without_m_is_refused(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "search=qmix", "env=two_step")
    assert (outcome.code, outcome.err) == (2, "search=… makes many runs; add -m\n")


def test_the_module_that_hydra_scans_is_light():
    code = "import sys, hydra_plugins.hymarl.optuna_sweeper; print({'torch', 'optuna', 'hymarl'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


# What goes on beside the jobs


def test_an_error_beside_the_jobs_is_said_once_and_ends_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sweep_progress, "_POLL_S", 0.01)
    looked, asked = [], threading.Event()

    def look():
        looked.append(asked.is_set())
        raise OSError("the disk is away")

    with sweep_progress.Progress([]).shown(asked.is_set, tmp_path / ".stop", look):
        end = time.monotonic() + 20
        while len(looked) < 3 and time.monotonic() < end:
            time.sleep(0.01)
        asked.set()
        while not (tmp_path / ".stop").exists() and time.monotonic() < end:
            time.sleep(0.01)
    assert len(looked) >= 3
    shown = capsys.readouterr()
    assert shown.err == "cannot follow the jobs: the disk is away; it is tried again\n"
    assert shown.out == "stopping: the jobs save everything; once more ends them at once\n"


def test_a_locked_database_is_waited_for(tmp_path):
    given = dict.fromkeys(SearchSettings.__dataclass_fields__)
    given |= {"sampler": "random", "sampler_kwargs": {}, "seed": 0, "pruner": "none", "pruner_kwargs": {}}
    settings = SearchSettings(**given | {"direction": "maximize", "n_trials": 3, "n_jobs": 1})
    study = Study(settings, read_space({}, ["a=interval(0,1)"]), tmp_path, (10, 20))
    trial = study.ask()
    other = sqlite3.connect(tmp_path / "study.db", isolation_level=None, check_same_thread=False)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(WriteError, match=r"the study .* cannot be used: database is locked"):
        study.report(trial, 10, 1.0, patient=False)
    unlocking = threading.Timer(0.2, other.rollback)
    unlocking.start()
    study.completed(trial.number, 1.0)
    unlocking.join()
    other.close()
    assert study.made == 1


def test_a_search_that_is_stopped_by_a_file_goes_on(hymarl, tmp_path):
    long = ("train.total_steps=90000", "train.log_interval_steps=90000", "train.eval_interval_steps=90000")
    words = (*SEARCH, *long, LR, "hydra.sweeper.n_trials=1")

    def stop():
        while not (directory(tmp_path) / "trial-0" / "metrics.csv").exists():
            time.sleep(0.01)
        (directory(tmp_path) / ".stop").touch()

    thread = threading.Thread(target=stop)
    thread.start()
    outcome = hymarl(tmp_path, *words)
    thread.join()
    assert (outcome.code, outcome.err) == (130, "")
    assert "to go on: " in outcome.out
    assert states(tmp_path) == ["FAIL", "WAITING"]
    with owning(directory(tmp_path) / "trial-0"):  # as by a process that outlived the search
        outcome = hymarl(tmp_path, *words)
    assert outcome.code == 2
    assert re.fullmatch(r"results/sweeps/s/trial-0 is in use by process .*\n", outcome.err)
    assert states(tmp_path) == ["FAIL", "FAIL", "WAITING"]


# Signals

LONGER = ("train.total_steps=3000", "train.checkpoint_interval_steps=200", "train.eval_interval_steps=1000")
LONG = (*SEARCH, *LONGER, LR, "seed=1", "hydra.sweeper.n_trials=3")


def started(folder):
    command = [sys.executable, "-m", "hymarl", *LONG]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_for_checkpoints(run, process):
    end = time.monotonic() + 200
    while len(list((run / "checkpoints").glob("weights_*"))) <= 2 and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert (run / "checkpoints").exists()


@pytest.mark.slow
def test_a_search_that_is_killed_and_interrupted_loses_nothing(hymarl, tmp_path):
    process = started(tmp_path)
    wait_for_checkpoints(directory(tmp_path) / "trial-0_seed-1", process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert states(tmp_path) == ["RUNNING"]

    process = started(tmp_path)  # trial 1 continues the run of trial 0
    wait_for_checkpoints(directory(tmp_path) / "trial-2_seed-1", process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = (text.decode() for text in process.communicate())
    assert process.returncode == 130, err
    assert "to go on: python -m hymarl" in out
    assert "Traceback" not in err
    assert states(tmp_path) == ["FAIL", "COMPLETE", "FAIL", "WAITING"]

    process = started(tmp_path)
    out, err = (text.decode() for text in process.communicate())
    assert (process.returncode, err) == (0, "")
    assert states(tmp_path) == ["FAIL", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert jobs_in(tmp_path) == ["trial-0_seed-1", "trial-2_seed-1", "trial-4_seed-1"]

    rate = study_of(tmp_path).get_trials()[0].params["optimizer.lr"]
    whole = hymarl(tmp_path, *TINY, *LONGER, f"optimizer.lr={rate}", "seed=1", "hydra.run.dir=whole")
    assert whole.code == 0
    for table in ("metrics.csv", "evaluations.csv", "comparison.csv"):
        broken = directory(tmp_path) / "trial-0_seed-1" / table
        assert broken.read_bytes() == (tmp_path / "whole" / table).read_bytes()

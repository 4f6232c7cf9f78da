"""Sweeps: what a job is, what is found again, and what is left when they are ended."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

TINY = (
    "env=two_step",
    "train.total_steps=64",
    "train.eval_interval_steps=64",
    "eval.episodes=1",
    "eval.test_episodes=1",
)
TINY += ("eval.references=false", "logger=[]", "runner=episode")


def jobs_in(sweep):
    return sorted(path.name for path in sweep.iterdir() if path.is_dir())


def status(directory):
    return json.loads((directory / "status.json").read_text())["status"]


@pytest.fixture(scope="module")
def swept(hymarl, tmp_path_factory):
    """A folder with a finished sweep over two seeds, called first, and what it printed."""
    folder = tmp_path_factory.mktemp("swept")
    outcome = hymarl(folder, "-m", *TINY, "mixer=vdn", "seed=1,2", "sweep.name=first")
    assert (outcome.code, outcome.err) == (0, "")
    return folder, outcome.out


def test_jobs_are_called_after_what_differs_and_their_output_is_theirs(swept):
    folder, shown = swept
    sweep = folder / "results" / "sweeps" / "first"
    assert jobs_in(sweep) == ["seed-1", "seed-2"]
    assert [p.name for p in sweep.iterdir() if not p.is_dir()] == []
    lines = shown.splitlines()
    assert lines[0] == "2 jobs: results/sweeps/first"
    assert lines[-1] == "2 of 2 jobs finished: results/sweeps/first"
    assert any("finished  seed=1  (1 of 2 done" in line for line in lines)
    assert "algorithm" not in shown
    assert "algorithm  vdn" in (sweep / "seed-2" / "train.log").read_text()


def test_a_further_seed_and_axis_find_what_is_finished_whatever_logs_it(hymarl, swept):
    folder, _ = swept
    sweep = folder / "results" / "sweeps" / "first"
    before = {p: p.stat().st_mtime_ns for p in sweep.rglob("*") if p.is_file()}
    again = "mixer=vdn,none", "seed=1,2,2,3", "logger=[console]", "threads=1", "sweep.name=first"
    shown = hymarl(folder, "-m", *TINY[:-2], TINY[-1], *again, "sweep.dry_run=true")
    assert (shown.code, shown.err) == (0, "")
    states = [line.split()[0] for line in shown.out.splitlines()]
    assert states == ["finished", "finished", "new", "new", "new", "new", "6"]  # what is given twice is one job
    assert jobs_in(sweep) == ["seed-1", "seed-2"]
    outcome = hymarl(folder, "-m", *TINY[:-2], TINY[-1], "mixer=vdn,none", "seed=1,2", *again[2:])
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == "4 jobs, 2 finished before: results/sweeps/first"
    assert jobs_in(sweep) == ["mixer-none_seed-1", "mixer-none_seed-2", "seed-1", "seed-2"]
    outcome = hymarl(folder, "-m", *TINY, "mixer=vdn", "seed=1,2", "sweep.name=first", "hydra/launcher=joblib")
    assert (outcome.code, outcome.err) == (0, "")  # there is nothing to launch
    assert {p: p.stat().st_mtime_ns for p in before} == before


def test_another_configuration_never_gets_the_directory_of_a_run(hymarl, swept):
    folder, _ = swept
    outcome = hymarl(
        folder, "-m", *TINY, "mixer=vdn", "seed=1,2", "learner.gamma=0.9", "sweep.name=first", "sweep.dry_run=true"
    )
    names = [line.split()[-1] for line in outcome.out.splitlines()[:2]]
    assert all(Path(name).name.startswith(f"seed-{n}-") for n, name in enumerate(names, 1))


def test_the_runs_of_a_sweep_are_reported(hymarl, swept):
    folder, _ = swept
    outcome = hymarl(folder, "report.runs=[results/sweeps/first/seed*]", "report.formats=[csv]")
    assert (outcome.code, outcome.err) == (0, "")
    assert "2 runs in 1 group" in outcome.out
    (report,) = (folder / "results" / "reports").iterdir()
    assert [path.name for path in report.iterdir()] == ["tables"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["report.runs=[nowhere]"], "report.runs: nowhere does not exist\n"),
        (["report.runs=[nowhere]", "seed=2"], "report.runs is about runs that there are; leave out seed\n"),
        (["dashboard.runs=[nowhere]"], "nowhere"),
    ],
)
def test_a_report_that_cannot_be_made_leaves_nothing(hymarl, tmp_path, words, sentence):
    outcome = hymarl(tmp_path, *words)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


def test_scripted_policies_are_found_again_and_tested_ones_only(hymarl, tmp_path):
    words = ("-m", *TINY, "policy=random", "seed=1,2", "sweep.name=s")
    (tmp_path / "results" / "sweeps" / "s" / "seed-1" / ".hydra").mkdir(parents=True)  # killed before it began
    first = hymarl(tmp_path, *words)
    assert first.code == 0
    assert "finished  seed=2  (2 of 2 done)" in first.out
    assert hymarl(tmp_path, *words).out.splitlines()[0] == "2 jobs, 2 finished before: results/sweeps/s"
    assert jobs_in(tmp_path / "results" / "sweeps" / "s") == ["seed-1", "seed-2"]


def test_a_scripted_policy_whose_test_was_ended_is_tested_again(hymarl, tmp_path):
    fewer = [word for word in TINY if not word.startswith("eval.test_episodes")]  # then eval.episodes counts
    words = ("-m", *fewer, "policy=random", "seed=1,2", "sweep.name=s")
    assert hymarl(tmp_path, *words).code == 0
    ended = tmp_path / "results" / "sweeps" / "s" / "seed-1" / "comparison.csv"
    ended.unlink()
    outcome = hymarl(tmp_path, *words)
    assert (outcome.code, outcome.err) == (0, "")
    assert ended.is_file()
    assert jobs_in(ended.parents[1]) == ["seed-1", "seed-2"]


def test_an_evaluation_is_not_the_run_that_it_evaluates(hymarl, swept, tmp_path):
    folder, _ = swept
    source = folder / "results" / "sweeps" / "first" / "seed-1"
    outcome = hymarl(tmp_path, "-m", f"evaluate={source}", "eval.episodes=1,2", "sweep.name=s")
    assert (outcome.code, outcome.err) == (0, "")
    shown = hymarl(tmp_path, "-m", *TINY, "mixer=vdn", "seed=1,2", "sweep.name=s", "sweep.dry_run=true")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["new", "new", "2"]


def test_a_finished_sweep_has_nothing_left_for_any_launcher(hymarl, swept):
    folder, _ = swept
    launcher = "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"
    outcome = hymarl(folder, "-m", *TINY, "mixer=vdn", "seed=1,2", "sweep.name=first", *launcher)
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out.splitlines()[0] == "2 jobs, 2 finished before: results/sweeps/first"


def test_a_launcher_that_fails_makes_no_job_a_finished_one(hymarl, tmp_path):
    launcher = "hydra/launcher=joblib", "hydra.launcher.n_jobs=0"
    outcome = hymarl(tmp_path, "-m", *TINY, "policy=random", "seed=1,2", *launcher, "sweep.name=s")
    assert outcome.code == 1
    assert outcome.err.startswith("the launcher failed: ")
    assert "0 of 2 jobs finished" in outcome.out
    assert not any(tmp_path.iterdir())


def test_directories_that_are_asked_for_are_never_shared(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "-m", *TINY, "seed=1,2", "hydra.sweep.subdir=a/b c", "hydra.sweep.dir='it is\\ours'")
    assert (outcome.code, outcome.err) == (0, "")
    assert [name[:5] for name in jobs_in(tmp_path / "it is\\ours")] == ["a_b_c", "a_b_c"]


def test_a_damaged_run_is_left_alone(hymarl, tmp_path):
    damaged = tmp_path / "results" / "sweeps" / "s" / "seed-1"
    damaged.mkdir(parents=True)
    (damaged / "config.yaml").write_text("nothing")
    outcome = hymarl(tmp_path, "-m", *TINY, "seed=1,2", "sweep.name=s")
    assert outcome.code == 0
    assert outcome.err.startswith("left alone: results/sweeps/s/seed-1/config.yaml")
    assert outcome.err.count("\n") == 1
    assert len(jobs_in(damaged.parent)) == 3
    assert (damaged / "config.yaml").read_text() == "nothing"


def test_mistakes_of_some_jobs_are_said_and_the_others_run(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "-m", *TINY, "seed=-1,2", "sweep.name=s")
    assert outcome.code == 1
    assert outcome.err == "job seed=-1: the command line: seed must be at least 0, got -1\n"
    assert jobs_in(tmp_path / "results" / "sweeps" / "s") == ["seed-2"]
    assert "to go on" not in outcome.out


def test_settings_of_some_options_are_swept_with_those(hymarl, tmp_path):
    words = ("-m", *TINY, "mixer=vdn,qmix", "sweep.name=s", "sweep.dry_run=true")
    outcome = hymarl(tmp_path, *words, "mixer.embed_dim=8,16")
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["refused", "refused", "new", "new", "4"]
    assert "mixer=vdn mixer.embed_dim=8  mixer=vdn has no settings, so no 'embed_dim'" in outcome.out
    outcome = hymarl(tmp_path, *words, "+when_chosen.mixer.qmix.embed_dim=8,16")
    assert [line.split()[0] for line in outcome.out.splitlines()] == ["new", "new", "new", "3"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("mixr=qmix,vdn",), "unknown key or group 'mixr'; did you mean 'mixer'?"),
        (("seed=1,2", "sweep.name=a/b"), "sweep.name=a/b: a name has letters, digits, '.', '_', '+' and '-' only"),
        (("seed=1,2", "sweep.name=1.10"), "sweep.name=1.1 is read as a number; begin the name with a letter"),
        (("seed=1,2", "sweep.name=a,b"), "sweep.name has one value in a sweep"),
        (("seed=1,2", "sweep.nam=a"), "sweep: unknown key 'nam'"),
        (("seed=range(5,5)",), "there are no jobs: what is swept has no values"),
        (("seed=range(1,1e9)", "mixer=vdn,qmix"), "these are 1,999,999,998 jobs; a sweep has at most 10,000"),
        (("seed=1,2", "hydra.sweeper.max_batch_size=0"), "hydra.sweeper.max_batch_size=0: give a whole number from 1"),
    ],
)
def test_a_mistake_of_every_job_is_said_once_and_leaves_nothing(hymarl, tmp_path, words, sentence):
    outcome = hymarl(tmp_path, "-m", *TINY, *words)
    assert outcome.code == 2
    assert outcome.err.startswith(sentence)
    assert outcome.err.count("\n") == 1
    assert not any(tmp_path.iterdir())


LONGER = (*TINY[:1], "train.total_steps=3000", "train.checkpoint_interval_steps=200", "train.eval_interval_steps=1000")
LONGER += (
    "eval.episodes=2",
    "eval.test_episodes=2",
    "eval.references=false",
    "logger=[]",
    "runner=episode",
    "threads=1",
)
SWEEP = ("-m", *LONGER, "mixer=qmix,vdn", "seed=1,2", "sweep.name=s")


def started(folder, *words):
    command = [sys.executable, "-m", "hymarl", *SWEEP, *words]
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)


def wait_until(condition, process):
    end = time.monotonic() + 200
    while not condition() and time.monotonic() < end:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    assert condition()


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [(), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")])
def test_a_sweep_that_is_interrupted_and_killed_ends_with_the_same_bits(tmp_path, launcher):
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    whole.mkdir(), broken.mkdir()
    process = started(whole, *launcher)
    process.communicate()
    assert process.returncode == 0
    sweep = broken / "results" / "sweeps" / "s"

    def saved(name):
        return len(list((sweep / name / "checkpoints").glob("weights_*"))) > 2

    process = started(broken, *launcher)
    wait_until(lambda: saved("mixer-qmix_seed-1"), process)
    os.killpg(process.pid, signal.SIGINT)
    out, err = (text.decode() for text in process.communicate())
    assert process.returncode == 130, err
    assert "to go on: python -m hymarl" in out
    assert "Traceback" not in err
    assert status(sweep / "mixer-qmix_seed-1") == "interrupted"
    assert not (sweep / "mixer-vdn_seed-2").exists()

    process = started(broken, *launcher)
    wait_until(lambda: (sweep / "mixer-qmix_seed-1/comparison.csv").exists() and saved("mixer-qmix_seed-2"), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()

    process = started(broken, *launcher)
    out, err = (text.decode() for text in process.communicate())
    assert (process.returncode, err) == (0, "")
    assert out.splitlines()[-1].startswith("4 of 4 jobs finished")
    names = jobs_in(whole / "results" / "sweeps" / "s")
    assert jobs_in(sweep) == names
    for name in names:
        for table in ("metrics.csv", "evaluations.csv", "comparison.csv"):
            assert (sweep / name / table).read_bytes() == (whole / "results/sweeps/s" / name / table).read_bytes()

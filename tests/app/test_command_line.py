"""The words of the command line, and how the program is started."""

import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from hymarl.app.command_line import prepare
from hymarl.app.options import options
from hymarl.registry import ConfigError

ROOT = Path(__file__).resolve().parents[2]
TINY = (
    *("env=two_step", "logger=[]", "train.total_steps=2", "runner=episode", "eval.episodes=1"),
    *("eval.test_episodes=1", "eval.references=false"),
)


def names_of(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("typed", "prepared"),
    [
        ("mixer=vdn --cfg job seed=2", "mixer=vdn seed=2 --cfg job"),
        ("--cfg job job=1", "job=1 --cfg job"),
        ("-c job -p train seed=1 --resolve", "seed=1 -c job -p train --resolve"),
        ("--help", "--help"),
        ("--hydra-help env=two_step", "--hydra-help"),
        ("-sc install=bash", "install=bash -sc"),
        ("", ""),
        (
            "reproduce.tier=seconds reproduce.jobs=1",
            "reproduce.tier=seconds reproduce.jobs=1 hydra/sweeper=hymarl_reproduce --multirun",
        ),
        (
            "-m reproduce.task=x reproduce.jobs=3",
            "reproduce.task=x reproduce.jobs=3 hydra/sweeper=hymarl_reproduce hydra/launcher=joblib "
            "hydra.launcher.n_jobs=3 -m",
        ),
        (
            "reproduce.task=x hydra/launcher=ray_local",
            "reproduce.task=x hydra/launcher=ray_local hydra/sweeper=hymarl_reproduce --multirun",
        ),
        ("reproduce.task=x --cfg job", "reproduce.task=x --cfg job"),
    ],
)
def test_flags_may_stand_anywhere(typed, prepared):
    assert prepare(typed.split()) == prepared.split()


def test_the_version_is_ours_and_torch_s(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "--version")
    assert (outcome.code, outcome.err) == (0, "")
    assert outcome.out == f"HyMARL {version('hymarl')} with torch {version('torch')}\n"


def test_help_begins_with_what_can_be_asked_for(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "--help")
    assert outcome.out.startswith("HyMARL: ")
    table = outcome.out.partition("Groups and their options")[0]
    for asked in ("resume=", "evaluate=", "init_from=", "policy=", "check=true", "render=", "-m ", "--cfg job"):
        assert f"python main.py {asked}" in table or f" {asked}" in table
    assert len(outcome.out.splitlines()) < 50
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("typed", ["~mixer", "=1", "~", "--nope", "mixer=3", "hydra.output_subdir=a/b"])
def test_what_cannot_be_meant_is_refused_before_hydra_composes(typed):
    with pytest.raises(ConfigError) as caught:
        prepare(["env=two_step", typed, "seed=2"])
    assert typed.split("=")[0] in str(caught.value)


# Folders: relative paths start where the command was typed


MOVING = """
import os

import numpy as np
from hymarl.components.spec import EnvSpec, TimeStep
from hymarl.registry import register


@register("env")
class Moving:
    def __init__(self, agents, n_envs):
        os.makedirs("elsewhere", exist_ok=True)
        os.chdir("elsewhere")
        self.n_envs = n_envs
        self.spec = EnvSpec(n_agents=2, n_actions=2, obs_dim=1, state_dim=1, episode_limit=1)

    def reset(self, seeds, where):
        return self._now(where)

    def step(self, actions, active):
        now = self._now(active)
        now.truncated[active] = True
        return now

    def _now(self, where):
        now = TimeStep.zeros(self.spec, self.n_envs)
        now.avail[where] = True
        return now

    def close(self):
        pass
"""


@pytest.fixture(scope="module")
def swept(hymarl, tmp_path_factory):
    """The folder of a sweep over two seeds, in an environment that changes to another folder."""
    folder = tmp_path_factory.mktemp("swept")
    (folder / "own").mkdir()
    (folder / "own" / "moving_game.py").write_text(MOVING)
    (folder / "conf" / "env").mkdir(parents=True)
    (folder / "conf" / "env" / "moving.yaml").write_text("name: own.moving_game\n")
    moving = ("hydra.searchpath=[file://conf]", *TINY[1:], "env=moving", "logger=[sacred]", "logger.sacred.directory=s")
    outcome = hymarl(folder, *moving, "seed=1,2", "-m", "mixer=vdn")
    assert (outcome.code, outcome.err) == (0, "")
    return folder


def test_the_jobs_of_a_sweep_are_named_after_what_is_swept(swept):
    (sweep,) = (swept / "results" / "sweeps").iterdir()
    assert [path.name for path in sorted(sweep.iterdir()) if path.is_dir()] == ["seed-1", "seed-2"]


def test_an_environment_that_changes_to_elsewhere_changes_no_path(swept):
    assert names_of(swept) == ["conf", "elsewhere", "own", "results", "s"]
    assert not any(path.is_file() for path in (swept / "elsewhere").rglob("*"))
    assert {"1", "2"} <= set(names_of(swept / "s"))


def test_mistakes_of_jobs_in_folders_of_their_own_are_said(hymarl, tmp_path):
    outcome = hymarl(tmp_path, "-m", *TINY, "seed=-1,-2", "hydra.job.chdir=true")
    assert outcome.code == 2
    assert outcome.err.splitlines() == [f"the command line: seed must be at least 0, got {n}" for n in (-1, -2)]


def test_a_path_among_settings_starts_where_the_command_was_typed(hymarl, tmp_path):
    short = ("env=loadbalance", "agents=2", "env.episode_limit=5", "hydra.job.chdir=true", "env.trace=nowhere.csv")
    outcome = hymarl(tmp_path, *short)
    assert (outcome.code, outcome.err) == (2, "env=loadbalance: nowhere.csv: there is no such trace file\n")
    assert not any(tmp_path.iterdir())


# How it is started


def started(folder, *command, **environment):
    return subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=60, check=False, env=os.environ | environment
    )


@pytest.fixture
def above(tmp_path):
    """A folder above a clone that is called like the package."""
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / "hymarl" / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "main.py", tmp_path / "hymarl")
    return tmp_path


def test_a_clone_does_not_hide_the_package(above):
    done = started(above, sys.executable, "-m", "hymarl", "mixer=nope")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("mixer=nope: there is no such option; ")


def test_a_clone_that_hides_the_package_is_said(above):
    code = "from hymarl.main import main; main()"
    done = started(above, sys.executable, "-c", code)
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert done.stderr.startswith("a folder called hymarl on Python's path hides the package: ")


def test_the_program_can_be_started_as_pymarl_is():
    done = started(ROOT, sys.executable, "src/main.py", "--config=qmix", "--env-config=sc2", "with", "seed=3")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "that is a command line of PyMARL; here it reads: python main.py algo=qmix env=smac seed=3\n"


def test_modules_of_the_current_folder_can_be_named(hymarl, tmp_path, monkeypatch):
    (tmp_path / "own_mixers").mkdir()
    (tmp_path / "own_mixers" / "thing.py").write_text("raise ValueError('own_mixers.thing was imported')")
    monkeypatch.setattr(sys, "path", [folder for folder in sys.path if folder])  # as a program that is installed has it
    seen = hymarl(tmp_path, "env=two_step", "mixer.name=own_mixers.thing", "logger=[]")
    assert "own_mixers.thing was imported" in seen.err


def test_completion_knows_options_and_settings(tmp_path):
    code = "from hymarl.main import main; main()"
    line = "hymarl mixer="
    done = started(tmp_path, sys.executable, "-c", code, "-sc", "query=bash", COMP_LINE=line, COMP_POINT=str(len(line)))
    assert sorted(done.stdout.split()) == [f"mixer={name}" for name in sorted(options("mixer"))]

"""Whole runs as a user sees them: what they leave behind, the same bits again, interrupted, killed, continued."""

import csv
import errno
import json
import os
import random
import re
import resource
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from hymarl.components.files import load, save
from hymarl.components.replay.uniform import UniformReplay
from hymarl.policies.learned import LearnedPolicy
from hymarl.registry import ConfigError
from hymarl.training.checkpoint import ReplayFiles
from hymarl.training.run_directory import owning

# No interval divides another or the length of a collection; the replay wraps around; running statistics are on.
SETTINGS = (
    *("env=chance", "logger=[]", "runner.n_envs=3", "eval.episodes=3", "eval.test_episodes=4"),
    *("network.hidden_dims=[8]", "network.rnn_dim=8", "mixer.embed_dim=4", "mixer.hypernet_dim=8"),
    *(
        "train.total_steps=200",
        "replay.batch_episodes=4",
        "replay.buffer_episodes=20",
        "replay.updates_per_episode=0.7",
    ),
    *("train.log_interval_steps=25", "train.eval_interval_steps=45", "train.checkpoint_interval_steps=35"),
    *("learner.target_interval_updates=7", "learner.standardize_rewards=true", "selector.anneal_steps=150"),
)
TINY = (
    *("env=two_step", "logger=[]", "train.total_steps=24", "replay.batch_episodes=4", "replay.buffer_episodes=16"),
    *("train.log_interval_steps=8", "eval.episodes=2", "eval.test_episodes=2", "eval.references=false"),
)
SHORT = ("train.total_steps=30", "eval.references=false")
TRUST = "trust=[extension]"  # runs name the extension's game


@pytest.fixture(scope="session")
def settings(extension):
    """A short run with everything in it."""
    return (f"hydra.searchpath=['file://{extension}/conf']", *SETTINGS)


@pytest.fixture(scope="session")
def played(hymarl, settings, tmp_path_factory):
    """The directory of such a run and the number of joint steps that it played, those of the test included."""
    from extension.chance import Chance

    folder, steps, count = tmp_path_factory.mktemp("finished"), [], Chance._count
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Chance, "_count", lambda env: (steps.append(1), count(env)))
        outcome = hymarl(folder, *settings, "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    return folder / "run", len(steps)


@pytest.fixture(scope="session")
def finished(played):
    """The directory of such a run; nobody may change it."""
    return played[0]


@pytest.fixture
def copy(finished, tmp_path):
    """A copy of the finished run that may be changed."""
    return shutil.copytree(finished, tmp_path / "run")


def begin(hymarl, settings, folder, *more, **environment):
    outcome = hymarl(folder, *settings, "hydra.run.dir=run", *more, **environment)
    return folder / "run", outcome


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def text(run, name="train.log"):
    return (run / name).read_text(encoding="utf-8")


def status(run):
    return json.loads((run / "status.json").read_text())


def replayed(run):
    """The episodes that a continuation would find in its replay."""
    spec = LearnedPolicy.load(run).spec
    capacity = 20
    buffer = UniformReplay(spec, {}, 0, batch_episodes=1, buffer_episodes=capacity, updates_per_episode=0.0)
    ReplayFiles(run / "checkpoints" / "replay", load(run / "checkpoints" / "latest.pt")["replay"]).restore(buffer)
    return buffer.first, buffer.n_inserted, buffer.episodes(buffer.first).tensors()


@pytest.fixture(scope="session")
def assert_equal_runs(assert_equal_runs):
    """As everywhere, and the replay holds the same episodes at the same places."""

    def check(run, other):
        assert_equal_runs(run, other)
        (*counts, episodes), (*other_counts, other_episodes) = replayed(run), replayed(other)
        assert counts == other_counts
        assert all(torch.equal(episodes[name], other_episodes[name]) for name in episodes)

    return check


def assert_not_resumed(hymarl, run):
    """An evaluation is nothing that could be continued."""
    before = contents(run)
    outcome = hymarl(run.parent, f"resume={run.name}")
    assert (outcome.code, outcome.err) == (2, f"{run.name} holds an evaluation, which cannot be continued\n")
    assert contents(run) == before


# What a run leaves behind


def test_a_run_leaves_what_the_protocol_lists(hymarl, settings, tmp_path):
    outcome = hymarl(tmp_path, *settings, "logger=[console,tensorboard,sacred]", *SHORT)
    assert (outcome.code, outcome.err) == (0, "")
    (run,) = (tmp_path / "results" / "chance" / "qmix").iterdir()
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", run.name)
    table = text(Path(__file__).parents[1] / "docs", "protocol.md").partition("## What a run leaves behind")[2]
    cells = [line.split("|")[1] for line in table.splitlines() if line.startswith("|")]
    listed = {name.rstrip("/") for cell in cells for name in re.findall(r"`([^`]+)`", cell)}
    present = {path.name for path in run.iterdir()}
    assert present - {"plots"} == listed - {"plots/learning_curve.png", "wandb", "evaluations", "exports"}
    assert [path.name for path in (run / "plots").iterdir()] == ["learning_curve.png"]
    sacred = tmp_path / "results" / "sacred"
    assert [path.name for path in sacred.iterdir() if path.name.isdigit()] == ["1"]
    kept = json.loads(text(sacred / "1", "config.json"))
    labels = {"agents": 2, "env": "chance", "algo": "qmix", "mixer": "qmix", "critic": None, "seed": 1}
    assert kept.items() >= labels.items()  # the number of agents is one that only the environment knows
    assert {path.name for path in (sacred / "1").iterdir()} >= {"config.yaml", "comparison.txt", "learning_curve.png"}
    assert "algorithm  qmix" in text(sacred / "1", "cout.txt")
    found = json.loads(text(sacred / "1", "info.json"))["results"]
    assert found["final/return"] == pytest.approx(np.mean([float(r["return"]) for r in rows(run / "comparison.csv")]))
    assert text(run, "comparison.txt").startswith("chance, qmix, mixer qmix, 2 agents, seed 1\n\n")
    assert status(run) == {"status": "finished", "reason": None}
    assert f"results: {run.relative_to(tmp_path)}" in outcome.out
    log = (run / "train.log").read_text()
    assert "algorithm  qmix (learner q, mixer qmix, network rnn)" in log
    assert "mean ± 95 % interval over 4 test episodes" in log


def test_the_tables_have_their_columns_and_rows(finished):
    metrics, evaluations, timing = (rows(finished / f"{name}.csv") for name in ("metrics", "evaluations", "timing"))
    counters = ["step", "episodes", "updates", "return_mean", "length_mean", "epsilon", "luck"]
    learner = ["loss", "grad_norm", "td_error_abs", "q_taken_mean", "target_mean"]
    assert list(metrics[0]) == [*counters, *learner]
    assert list(timing[0]) == ["step", "env_steps_per_s", "wall_s", "collect_s", "update_s", "evaluate_s"]
    assert list(evaluations[0]) == ["step", "stream", "episode", "return", "length", "luck"]
    steps = [int(row["step"]) for row in metrics]
    assert [row["step"] for row in timing] == [row["step"] for row in metrics]
    assert [step // 25 for step in steps] == list(range(1, 9))  # the first collection's end at or after each multiple
    assert int(metrics[-1]["updates"]) == int(0.7 * (int(metrics[-1]["episodes"]) - 3) + 1e-9)
    at = list(dict.fromkeys((row["stream"], int(row["step"])) for row in evaluations))
    assert [stream for stream, _ in at] == ["validation"] * (len(at) - 1) + ["test"]
    validated = [step for _, step in at[:-1]]
    assert [step // 45 for step in validated[:-1]] == [0, 1, 2, 3, 4]
    assert validated[-1] == load(finished / "checkpoints" / "latest.pt")["trainer"]["collector"]["steps"] >= 200
    assert [row["episode"] for row in evaluations if row["stream"] == "test"] == ["0", "1", "2", "3"]
    weights = sorted(path.name for path in (finished / "checkpoints").glob("weights_*.pt"))
    assert len(weights) == 3
    assert weights[-1] == f"weights_{validated[-1]:012d}.pt"
    comparison = rows(finished / "comparison.csv")
    assert [row.pop("policy") for row in comparison] == ["learned"] * 4 + ["random"] * 4
    assert comparison[:4] == evaluations[-4:]
    assert comparison[4:] != evaluations[-4:]


def test_the_header_names_what_a_reader_needs(finished):
    protocol = json.loads(text(finished, "protocol.json"))
    assert set(protocol) == {"header", "versions", "git_revision"}
    header = protocol["header"]
    wanted = {
        "algorithm": "qmix (learner q, mixer qmix, network rnn)",
        "agents": 2,
        "seed": "1 (evaluation 0)",
        "steps": "200 asked for, collected in blocks of up to 3 episodes × 6 steps, in this process",
        "updates_per_episode": "0.7",
        "targets": "copied every 7 updates",
        "values_dropped": "none",
    }
    assert {key: header[key] for key in wanted} == wanted
    assert header["environment"].startswith("chance (hymarl ")
    assert header["parameters"] > 100
    assert header["replay_memory"].endswith(" MB, as much on disk when full")


@pytest.mark.parametrize(
    ("odd", "said"),
    [
        (
            "train.total_steps=1 eval.episodes=1 eval.test_episodes=1 train.log_interval_steps=1000000 runner=episode",
            "no update was made: learning begins when 4 episodes are stored, this run collected 1; raise "
            "train.total_steps or lower replay.batch_episodes\n",
        ),
        (
            "runner.n_envs=100 replay.buffer_episodes=4 replay.updates_per_episode=0 seed=99999999999999999999 "
            "env.steps=1",
            "no update was made: replay.updates_per_episode=0.0, and learning began with episode 4 of the 100 "
            "collected\n",
        ),
        (
            "train.log_interval_steps=1 train.eval_interval_steps=1 train.checkpoint_interval_steps=1 "
            "train.keep_checkpoints=1 controller=independent selector=greedy ~algo",
            "",
        ),
    ],
)
def test_odd_settings_work(hymarl, tmp_path, odd, said):
    outcome = hymarl(tmp_path, *TINY, *odd.split(), "hydra.run.dir=run")
    assert (outcome.code, outcome.out, outcome.err) == (0, f"{said}results: run\n", "")
    assert said in text(tmp_path / "run")
    assert status(tmp_path / "run")["status"] == "finished"
    assert rows(tmp_path / "run" / "evaluations.csv")[-1]["stream"] == "test"


# The same again


def test_equal_seeds_leave_equal_bytes_even_if_a_logger_fails(assert_equal_runs, hymarl, settings, finished, tmp_path):
    (tmp_path / "file").touch()
    loggers = "threads=1", "logger=[console,sacred]", "logger.sacred.directory=file/below"
    run, outcome = begin(hymarl, settings, tmp_path, *loggers)
    assert (outcome.code, outcome.err) == (0, "")
    assert "logger=sacred could not start and is switched off: " in outcome.out
    assert "logger=sacred could not start and is switched off: " in text(run)
    assert_equal_runs(run, finished)


def test_other_seeds_leave_other_bytes(hymarl, settings, finished, tmp_path):
    assert hymarl(tmp_path, *settings, "seed=2", "eval.references=false", "hydra.run.dir=other").code == 0
    assert (tmp_path / "other" / "metrics.csv").read_bytes() != (finished / "metrics.csv").read_bytes()
    before, other = (rows(path / "evaluations.csv") for path in (finished, tmp_path / "other"))
    assert [row["episode"] for row in before] == [row["episode"] for row in other]
    assert before != other


def test_the_runner_does_not_change_how_much_is_learned(hymarl, settings, tmp_path):
    last = {}
    for name, runner in (("one", ["runner=episode"]), ("many", ["runner=parallel", "runner.n_envs=6"])):
        fixed = [setting for setting in settings if not setting.startswith(("runner.", "env="))]
        more = ["env=two_step", "eval.references=false", "train.total_steps=60", "train.log_interval_steps=12"]
        assert hymarl(tmp_path, *fixed, *runner, *more, f"hydra.run.dir={name}").code == 0
        last[name] = [(row["step"], row["episodes"], row["updates"]) for row in rows(tmp_path / name / "metrics.csv")]
    assert last["one"] == last["many"]
    assert last["one"][-1] == ("60", "30", str(int(0.7 * 27)))


# Continued


@pytest.fixture(scope="session")
def stopped(hymarl, settings, tmp_path_factory):
    """The directory of a run that was ended by Ctrl-C in its middle, and what was said; nobody may change it."""
    folder = tmp_path_factory.mktemp("stopped")
    return begin(hymarl, settings, folder, "logger=[console]", CHANCE_SIGNAL="SIGINT", CHANCE_AT="50")


@pytest.fixture
def half(stopped, tmp_path):
    """A copy of that run that may be changed."""
    return shutil.copytree(stopped[0], tmp_path / "run")


def test_ctrl_c_saves_and_the_run_continues_to_the_same_bits(assert_equal_runs, hymarl, stopped, half, finished):
    outcome = stopped[1]
    assert outcome.code == 130
    assert (outcome.err, status(half)) == ("", {"status": "interrupted", "reason": None})
    assert "interrupted; continue with: python main.py resume=run trust=[extension]\n" in outcome.out
    assert 0 < int(rows(half / "metrics.csv")[-1]["step"]) < 150
    outcome = hymarl(half.parent, "resume=run", TRUST, "logger=[]")
    assert (outcome.code, outcome.err, status(half)["status"]) == (0, "", "finished")
    assert_equal_runs(half, finished)


@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), pytest.param("SIGHUP", 129, marks=pytest.mark.slow)])
def test_the_goodbyes_of_schedulers_and_terminals_are_heeded_like_ctrl_c(
    assert_equal_runs, hymarl, settings, finished, tmp_path, name, code
):
    run, outcome = begin(hymarl, settings, tmp_path, CHANCE_SIGNAL=name, CHANCE_AT="50")
    assert (outcome.code, outcome.err) == (code, "")
    assert status(run) == {"status": "interrupted", "reason": None}
    assert (run / "checkpoints" / "latest.pt").exists()
    outcome = hymarl(tmp_path, "resume=run", TRUST)
    assert (outcome.code, outcome.err) == (0, "")
    assert_equal_runs(run, finished)
    outcome = hymarl(tmp_path, "evaluate=run", TRUST, CHANCE_SIGNAL=name, CHANCE_AT="2")
    assert (outcome.code, outcome.out, outcome.err) == (code, "", "")
    assert not (run / "evaluations").exists()


@pytest.mark.parametrize("when", ["during the test", pytest.param("twice", marks=pytest.mark.slow)])
def test_ctrl_c_ends_a_run_at_once(assert_equal_runs, hymarl, settings, played, tmp_path, when):
    finished, n_steps = played
    at = {"during the test": str(n_steps - 2), "twice": "50 51"}[when]
    run, outcome = begin(hymarl, settings, tmp_path, CHANCE_SIGNAL="SIGINT", CHANCE_AT=at)
    assert (outcome.code, outcome.err, status(run)["status"]) == (130, "", "interrupted")
    assert {row["stream"] for row in rows(run / "evaluations.csv")} == {"validation"}
    assert hymarl(tmp_path, "resume=run", TRUST).code == 0
    assert_equal_runs(run, finished)


@pytest.fixture(scope="session")
def start(extension):
    """Start the program in a process of its own: ``start(directory, "mixer=vdn", …, NAME="value")``."""
    import processes

    return lambda directory, *arguments, **environment: processes.start(directory, arguments, environment)


def killed(start, folder, at, *arguments):
    """Let the program kill itself at a joint step."""
    process = start(folder, *arguments, CHANCE_SIGNAL="SIGKILL", CHANCE_AT=str(at))
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, (folder / "output.txt").read_text()


def test_a_run_killed_again_and_again_continues_to_the_same_bits(
    assert_equal_runs, hymarl, start, settings, played, tmp_path
):
    finished, n_steps = played
    run = tmp_path / "run"
    killed(start, tmp_path, 2, *settings, "hydra.run.dir=run")  # before its first checkpoint
    assert status(run)["status"] == "running"
    assert not (run / "checkpoints").exists()
    killed(start, tmp_path, n_steps // 2, "resume=run", TRUST)
    step = load(run / "checkpoints" / "latest.pt")["trainer"]["collector"]["steps"]
    assert 0 < step < 200
    outcome = hymarl(tmp_path, "resume=run", TRUST)
    assert (outcome.code, outcome.err) == (0, "")
    said = [line for line in text(run).splitlines() if "resumed" in line or "starting" in line]
    assert said == ["no checkpoint yet: starting again", f"resumed at step {step}"]
    assert_equal_runs(run, finished)
    assert len(list((run / ".hydra").glob("resumed-*"))) == 2


@pytest.mark.slow
def test_a_run_killed_at_any_moment_continues_to_the_same_bits(
    assert_equal_runs, hymarl, start, settings, finished, tmp_path
):
    for name in ("first", "whole"):  # the second is as quick as the others
        began = time.monotonic()
        start(tmp_path, *settings, f"hydra.run.dir={name}").join(60)
        duration = time.monotonic() - began
    n_killed = 0
    for attempt in range(25):
        run, moment = tmp_path / f"run{attempt}", random.random() * duration
        process = start(tmp_path, *settings, f"hydra.run.dir={run.name}")
        time.sleep(moment)
        process.kill()
        process.join()
        if not (run / "config.yaml").exists():  # it had not begun
            continue
        n_killed += process.exitcode == -signal.SIGKILL
        assert hymarl(tmp_path, f"resume={run.name}", TRUST).code == 0, moment
        assert_equal_runs(run, finished)
    assert n_killed >= 10


def test_a_run_belongs_to_one_process_at_a_time(hymarl, settings, start, copy):
    from hymarl.training.run_directory import owning

    before = contents(copy)
    with owning(copy):
        outcome = hymarl(copy.parent, "resume=run", TRUST)
        assert hymarl(copy.parent, "evaluate=run", TRUST, "hydra.run.dir=evaluated", "eval.references=false").code == 0
    assert outcome.code == 2
    assert outcome.err.startswith(f"run is in use by process {os.getpid()} on ")
    assert outcome.err.count("\n") == 1
    assert contents(copy) == before


def test_two_processes_that_continue_a_run_at_once_do_not_mix(assert_equal_runs, start, half, finished, tmp_path):
    processes = [start(tmp_path, "resume=run", TRUST) for _ in range(2)]
    for process in processes:
        process.join(60)
    codes = sorted(process.exitcode for process in processes)
    assert codes in ([0, 2], [0, 0])  # the second may come when the first has ended
    assert (codes == [0, 2]) == ("run is in use by " in text(tmp_path, "output.txt"))
    assert_equal_runs(half, finished)


def test_a_run_whose_game_does_not_ship_is_continued_only_if_that_is_trusted(hymarl, copy):
    before = contents(copy)
    for what in ("resume", "evaluate"):
        outcome = hymarl(copy.parent, f"{what}=run")
        assert (outcome.code, outcome.err) == (
            2,
            "run/config.yaml uses the module extension.chance, which no option of HyMARL names and which would be "
            "imported; if you trust it, say so: trust=[extension]\n",
        )
        assert contents(copy) == before


def test_nothing_is_written_through_links_that_lead_out_of_a_run(hymarl, copy, tmp_path):
    """Each of its files and folders in turn stands elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    written = [path for path in copy.rglob("*") if path.name != "config.yaml"]
    assert {copy / "train.log", copy / ".hydra", copy / "checkpoints" / "replay"} <= {*written}
    for path in written:
        path.rename(elsewhere)
        path.symlink_to(elsewhere)
        before = contents(tmp_path)
        if path in (copy / "train.log", copy / "checkpoints"):  # the others are refused by the same line
            outcome = hymarl(tmp_path, "resume=run", TRUST, "train.total_steps=10000")
            assert (outcome.code, outcome.err.split(" is a link that leads out of run, ")[0]) == (2, f"run/{path.name}")
        with pytest.raises(ConfigError, match=f"{path.name} is a link"), owning(copy):
            pass
        assert contents(tmp_path) == before
        path.unlink()
        elsewhere.rename(path)


def test_a_finished_run_has_nothing_left_to_do_and_stays_as_it_was(assert_equal_runs, hymarl, finished, copy):
    reached = load(finished / "checkpoints" / "latest.pt")["trainer"]["collector"]["steps"]
    outcome = hymarl(copy.parent, "resume=run", TRUST)
    assert (outcome.code, outcome.err) == (0, "")
    said = "run is finished, there is nothing to do; to train on, raise train.total_steps above"
    assert outcome.out == f"{said} {reached}\n"
    assert_equal_runs(copy, finished)
    before = contents(copy)
    outcome = hymarl(copy.parent, "resume=run", TRUST, "train.total_steps=100")
    assert (outcome.code, outcome.out) == (2, "")
    assert outcome.err == f"run has reached step {reached}; train.total_steps=100 must be larger than that\n"
    assert contents(copy) == before


def test_a_resumed_run_keeps_what_is_known_of_its_beginning(hymarl, settings, tmp_path):
    fixed = [setting for setting in settings if not setting.startswith("mixer.")]
    preset = *fixed, "algo=qmix_pymarl2", "logger=[console]"
    run, outcome = begin(hymarl, preset, tmp_path, "mixer=vdn", CHANCE_SIGNAL="SIGINT", CHANCE_AT="50")
    assert outcome.code == 130
    began = json.loads(text(run, "protocol.json"))
    outcome = hymarl(tmp_path, "resume=run", TRUST, "train.total_steps=150")
    assert (outcome.code, outcome.err) == (0, "")
    resumed = json.loads(text(run, "protocol.json"))
    (part,) = resumed.pop("continued")
    assert resumed == began
    assert f"resumed at step {part['step']}\n" in outcome.out
    assert (part["versions"], part["git_revision"]) == (began["versions"], began["git_revision"])
    for name in ("values_applied", "values_dropped"):
        assert part["header"][name] == began["header"][name] != "none"
        assert f"{name.replace('_', ' '):>20}  {began['header'][name]}\n" in outcome.out
    assert part["header"]["steps"].startswith("150 asked for")


@pytest.mark.slow
def test_a_finished_run_can_be_made_longer(differences, hymarl, settings, finished, copy):
    assert hymarl(copy.parent, "resume=run", TRUST, "train.total_steps=300").code == 0
    assert hymarl(copy.parent, *settings, "train.total_steps=300", "hydra.run.dir=long").code == 0
    long = copy.parent / "long"
    assert (copy / "metrics.csv").read_bytes() == (long / "metrics.csv").read_bytes()
    old_end = str(load(finished / "checkpoints" / "latest.pt")["trainer"]["collector"]["steps"])
    at_its_old_end = [row for row in rows(copy / "evaluations.csv") if row["step"] == old_end]
    assert len(at_its_old_end) == 3
    assert [r for r in rows(copy / "evaluations.csv") if r["step"] != old_end] == rows(long / "evaluations.csv")
    a, b = (load(path / "checkpoints" / "latest.pt")["trainer"]["learner"] for path in (copy, long))
    assert differences(a, b) == []
    assert load_saved_steps(copy) == 300


def load_saved_steps(run):
    return int(re.search(r"total_steps: (\d+)", (run / "config.yaml").read_text())[1])


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path):
    """Change one bit in the middle."""
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])


DAMAGES = {
    "cut short": (lambda run: cut(run / "checkpoints" / "latest.pt"), "is damaged or no file of HyMARL: "),
    "another file": (
        lambda run: shutil.copy(run / "checkpoints" / "best.pt", run / "checkpoints" / "latest.pt"),
        "does not fit this run: ",
    ),
    "gone": (lambda run: (run / "checkpoints" / "latest.pt").unlink(), "is gone, so run cannot be continued"),
    "replay gone": (lambda run: shutil.rmtree(run / "checkpoints" / "replay"), "cannot read run/checkpoints/replay/"),
    "replay cut short": (
        lambda run: cut(max((run / "checkpoints" / "replay").iterdir())),
        "is damaged or no file of HyMARL: the checksum at its end is missing or wrong",
    ),
    "replay exchanged": (
        lambda run: [shutil.copy(min(files), max(files)) for files in [[*(run / "checkpoints" / "replay").iterdir()]]],
        "is not the file that the checkpoint names: its checksum is another one",
    ),
    "all checkpoints gone": (
        lambda run: [path.unlink() for path in (run / "checkpoints").glob("*.pt")],
        "latest.pt is gone, so run cannot be continued; begin a new run in another directory",
    ),
    "all files of checkpoints gone": (
        lambda run: shutil.rmtree(run / "checkpoints"),
        "latest.pt is gone, so run cannot be continued",
    ),
    "bit": (lambda run: flip(run / "checkpoints" / "latest.pt"), "is damaged or no file of HyMARL: the checksum at"),
    "table changed": (lambda run: flip(run / "metrics.csv"), "metrics.csv is damaged or was changed: its rows are not"),
    "configuration changed": (lambda run: flip(run / "config.yaml"), "config.yaml was changed or damaged since the"),
    "table cut short": (lambda run: cut(run / "metrics.csv"), "metrics.csv is shorter than it was at the checkpoint"),
    "table gone": (lambda run: (run / "evaluations.csv").unlink(), "evaluations.csv is shorter than it was at "),
    "no configuration": (lambda run: (run / "config.yaml").unlink(), "run is not a run directory: it has no config"),
    "other configuration": (
        lambda run: shutil.copy(run / ".hydra" / "config.yaml", run / "config.yaml"),
        "config.yaml is not the configuration of a run: ",
    ),
}


FAST = (  # one for each thing that is compared
    *("bit", "replay cut short", "all checkpoints gone", "table gone", "configuration changed", "other configuration"),
)


@pytest.mark.parametrize(
    "damage", [pytest.param(name, marks=[] if name in FAST else pytest.mark.slow) for name in DAMAGES]
)
def test_a_damaged_run_is_refused_in_one_sentence_and_left_alone(hymarl, copy, damage):
    spoil, sentence = DAMAGES[damage]
    spoil(copy)
    before = contents(copy)
    outcome = hymarl(copy.parent, "resume=run", TRUST)
    assert (outcome.code, outcome.out) == (2, ""), outcome.err
    assert sentence in outcome.err
    assert outcome.err.count("\n") == 1
    assert contents(copy) == before


def test_a_run_is_resumed_as_it_was_configured_or_not_at_all(hymarl, finished):
    before = contents(finished)
    outcome = hymarl(finished.parent, "resume=run", TRUST, "learner.gamma=0.9", "replay.batch_episodes=8", "logger=[]")
    assert (outcome.code, outcome.err) == (
        2,
        "resume continues a run exactly as it was configured; leave out learner.gamma, replay.batch_episodes, or start "
        "a new run from its weights with init_from=run\n",
    )
    assert contents(finished) == before


@pytest.mark.slow
def test_directories_may_have_any_name_and_the_program_may_change_to_them(
    assert_equal_runs, hymarl, settings, finished, tmp_path
):
    name = "ein Lauf: größer, =1"
    chdir = "hydra.job.chdir=true"
    run = tmp_path / name
    outcome = hymarl(tmp_path, *settings, f"hydra.run.dir='{name}'", chdir, CHANCE_SIGNAL="SIGINT", CHANCE_AT="50")
    assert (outcome.code, status(run)["status"]) == (130, "interrupted")
    assert hymarl(tmp_path, f"resume='{name}'", TRUST, chdir).code == 0
    assert_equal_runs(run, finished)
    assert hymarl(tmp_path, f"evaluate='{name}'", TRUST, chdir).code == 0
    assert len(list((run / "evaluations").iterdir())) == 1
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_directory_that_holds_a_run_is_not_used_for_another(hymarl, settings, finished):
    before = {path: text for path, text in contents(finished).items() if path.parts[0] != ".hydra"}
    outcome = hymarl(finished.parent, *settings, "hydra.run.dir=run")
    assert outcome.code == 2
    assert outcome.err.startswith("run holds a run already: continue it with resume=run, or choose another ")
    assert {path: text for path, text in contents(finished).items() if path.parts[0] != ".hydra"} == before


# Failed


def test_an_environment_that_raises_ends_the_run_as_failed(hymarl, settings, tmp_path):
    run, outcome = begin(hymarl, settings, tmp_path, "env.breaks_at=40", "logger=[console]")
    assert outcome.code == 1
    assert "Traceback (most recent call last)" in outcome.err
    assert outcome.err.rstrip().endswith("RuntimeError: out of luck")
    assert status(run) == {"status": "failed", "reason": "RuntimeError: out of luck"}
    assert "failed after" in outcome.out


def test_environments_that_fail_too_often_end_the_run_as_failed(hymarl, extension, tmp_path):
    game = "env=pettingzoo", "env.entry_point=extension.games:climbing", "runner.n_envs=2", "+env.kwargs.breaks_at=6"
    outcome = hymarl(tmp_path, *TINY, *game, "train.total_steps=100", "runner.max_failures=6", "hydra.run.dir=run")
    assert outcome.code == 1
    assert "fell off the wall" in outcome.err
    assert status(tmp_path / "run")["status"] == "failed"
    assert status(tmp_path / "run")["reason"].startswith("TooManyFailures: 8 environment failures; the last: environ")
    warnings = [line for line in text(tmp_path / "run").splitlines() if line.startswith("warning: environment ")]
    assert len(warnings) == 8
    assert all("given the joint action [" in line and "fell off the wall" in line for line in warnings)


def test_a_full_disk_ends_the_run_as_failed_until_there_is_room_again(
    assert_equal_runs, hymarl, half, finished, tmp_path
):
    run = half
    (run / "checkpoints" / ".best.pt.999999999.tmp").touch()  # as if killed while it wrote
    hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))  # stands for a disk that is nearly full
    try:
        outcome = hymarl(tmp_path, "resume=run", TRUST)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert (outcome.code, outcome.err) == (
        1,
        "cannot write run/checkpoints/latest.pt: File too large; when it can be written again, continue with "
        "resume=run\n",
    )
    assert status(run)["status"] == "failed"
    assert status(run)["reason"].endswith("latest.pt: File too large")
    assert not list(run.rglob("*.tmp"))
    assert hymarl(tmp_path, "resume=run", TRUST).code == 0
    assert_equal_runs(run, finished)


@pytest.mark.parametrize("taken", ["results", "results/two_step"])
def test_where_nothing_can_be_written_another_place_is_proposed(hymarl, tmp_path, taken):
    (tmp_path / taken).parent.mkdir(exist_ok=True)
    (tmp_path / taken).touch()
    outcome = hymarl(tmp_path, *TINY)
    assert (outcome.code, outcome.err.count("\n")) == (2, 1)
    assert outcome.err.startswith("cannot write results/two_step")
    assert outcome.err.endswith("; choose another place with hydra.run.dir=…\n")


@pytest.mark.parametrize("policy", ["learned", "random"])
def test_a_machine_without_git_and_with_few_characters_can_run(hymarl, tmp_path, policy):
    arguments = *TINY, f"policy={policy}", "logger=[console]", "hydra.run.dir=run"
    outcome = hymarl(tmp_path, *arguments, PYTHONIOENCODING="ascii", PATH="")
    assert (outcome.code, outcome.err) == (0, "")
    assert "mean +- 95 % interval over 2 test episodes" in outcome.out
    assert "switched off" not in outcome.out
    assert "mean ± 95 % interval over 2 test episodes" in text(tmp_path / "run", "comparison.txt")
    if policy == "learned":
        assert json.loads(text(tmp_path / "run", "protocol.json"))["git_revision"] is None


def test_a_value_to_show_that_the_run_does_not_have_is_said(hymarl, settings, tmp_path):
    show = "metrics/retrun_mean", "metrics/loss", "evaluation/luck", "test/return_mean", "timing/wall_s"
    outcome = hymarl(tmp_path, *settings, *SHORT, "logger=[console]", f"logger.console.show=[{','.join(show)}]")
    assert (outcome.code, outcome.err) == (0, "")
    (said,) = [line for line in outcome.out.splitlines() if line.startswith("logger.console.show")]
    assert said.startswith(
        "logger.console.show: this run has no 'metrics/retrun_mean'; did you mean 'metrics/return_mean'? "
    )


def test_a_reader_of_the_output_who_leaves_does_not_end_the_run(hymarl, tmp_path, monkeypatch):
    def leave(*values, **options):
        raise BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE))

    monkeypatch.setattr("builtins.print", leave)
    outcome = hymarl(tmp_path, *TINY, "logger=[console]", "hydra.run.dir=run")
    assert (outcome.code, status(tmp_path / "run")["status"]) == (0, "finished")
    assert "logger=console failed and is switched off: BrokenPipeError" in text(tmp_path / "run")


# Weights used again


def test_init_from_takes_over_weights_only(hymarl, settings, finished, tmp_path):
    last = max((finished / "checkpoints").glob("weights_*.pt"))
    outcome = hymarl(tmp_path, *settings, f"init_from={last}", *SHORT, "hydra.run.dir=run", "logger=[console]")
    assert (outcome.code, outcome.err) == (0, "")
    assert f"weights from {last}; left out: optimizer, replay, statistics, counters; targets start as co" in outcome.out

    def validated(run, step):
        wanted = "validation", str(step)
        return [r["return"] for r in rows(run / "evaluations.csv") if (r["stream"], r["step"]) == wanted]

    assert validated(tmp_path / "run", 0) == validated(finished, load(last)["step"]) != validated(finished, 0)
    assert rows(tmp_path / "run" / "metrics.csv")[0]["updates"] == rows(finished / "metrics.csv")[0]["updates"]


def test_a_run_from_old_weights_without_a_checkpoint_begins_with_them_again(
    assert_equal_runs, hymarl, settings, finished, tmp_path
):
    old = *settings, *SHORT, f"init_from={finished}"
    run, outcome = begin(hymarl, old, tmp_path, CHANCE_SIGNAL="SIGINT", CHANCE_AT="1 2")
    assert (outcome.code, (run / "checkpoints").exists()) == (130, False)
    assert hymarl(tmp_path, *old, "hydra.run.dir=whole").code == 0
    assert hymarl(tmp_path, "resume=run", TRUST).code == 0
    assert_equal_runs(run, tmp_path / "whole")


def test_init_from_leaves_out_a_mixer_that_does_not_fit(hymarl, settings, finished, tmp_path):
    fixed = [setting for setting in settings if not setting.startswith("mixer.")]
    file = finished / "checkpoints" / "best.pt"
    other = *SHORT, "mixer=vdn", "hydra.run.dir=run", "logger=[console]"
    outcome = hymarl(tmp_path, *fixed, *other, f"init_from={file}")
    assert outcome.code == 0
    assert "left out: mixer, which does not fit, optimizer, " in outcome.out
    outcome = hymarl(tmp_path, *settings, f"init_from={finished}", "network.rnn_dim=4", "hydra.run.dir=other")
    assert outcome.code == 2
    assert outcome.err.startswith(
        f"init_from={finished} does not fit this run's networks: network.rnn_dim is 8 there and 4 here; the weight "
    )
    assert not (tmp_path / "other").exists()


def test_init_from_refuses_values_in_other_units(hymarl, settings, finished, tmp_path):
    outcome = hymarl(tmp_path, *settings, f"init_from={finished}", "learner.normalize_values=true", "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (
        2,
        f"init_from={finished}: its networks learned values as they are, and this run's are to learn the other; set "
        f"learner.normalize_values=false\n",
    )


def test_init_from_refuses_weights_that_are_not_finite(hymarl, settings, finished, tmp_path):
    weights = load(finished / "checkpoints" / "best.pt")
    name, tensor = next(iter(weights["controller"].items()))
    tensor.view(-1)[0] = float("nan")
    save(tmp_path / "nan.pt", weights)
    outcome = hymarl(tmp_path, *settings, "init_from=nan.pt", "hydra.run.dir=run")
    sentence = f"init_from=nan.pt: the weight {name} holds numbers that are not finite\n"
    assert (outcome.code, outcome.err) == (2, sentence)
    assert not (tmp_path / "run").exists()


def test_a_device_that_cannot_be_used_is_refused_also_when_evaluating(hymarl, copy, tmp_path):
    for arguments in (["evaluate=run", TRUST], [*TINY, "policy=random"]):
        outcome = hymarl(tmp_path, *arguments, "device=nonsense")
        assert outcome.code == 2
        assert outcome.err.startswith("device=nonsense is no device; ")
        assert outcome.err.count("\n") == 1


def test_a_policy_is_evaluated_as_at_the_end_of_its_run_which_leaves_nothing_to_resume(hymarl, copy):
    outcome = hymarl(copy.parent, "evaluate=run", TRUST)
    assert (outcome.code, outcome.err) == (0, "")
    (again,) = (copy / "evaluations").iterdir()
    assert f"results: {again.relative_to(copy.parent)}\n" in outcome.out
    assert (again / "comparison.csv").read_bytes() == (copy / "comparison.csv").read_bytes()
    assert (again / "comparison.txt").read_text() in outcome.out
    best = copy / "checkpoints" / "best.pt"
    said = [line.split(maxsplit=1) for line in outcome.out.splitlines()[:3]]
    assert said == [
        ["policy", f"learned, {best.relative_to(copy.parent)}, step {load(best)['step']:,}"],
        ["environment", "chance"],
        ["agents", "2"],
    ]
    assert_not_resumed(hymarl, again)


@pytest.mark.parametrize(
    ("key", "references", "policies"),
    [("eval.episodes", "true", ["learned", "random"]), ("eval.test_episodes", "false", ["learned"])],
)
def test_a_policy_is_evaluated_on_as_many_episodes_as_asked_for(hymarl, finished, copy, key, references, policies):
    asked = f"{key}=9", f"eval.references={references}", "runner.n_envs=2", "hydra.run.dir=more"
    assert hymarl(copy.parent, "evaluate=run", TRUST, *asked).code == 0
    more, before = rows(copy.parent / "more" / "comparison.csv"), rows(finished / "comparison.csv")
    assert [(row["policy"], row["episode"]) for row in more] == [(p, str(n)) for p in policies for n in range(9)]
    learned = [[row for row in table if row["policy"] == "learned"] for table in (more, before)]
    assert learned[0][:4] == learned[1]  # however many are played beside them


def test_a_policy_is_not_evaluated_where_it_does_not_fit(hymarl, copy):
    for arguments, sentence in (
        (
            ["agents=3"],
            "the weights were trained for 2 agents, which they tell apart, and do not fit 3; they fit any number if ",
        ),
        (
            ["env=two_step"],
            "the weights were trained for 2 agents, 4 observations and 3 actions and do not fit 2 agents, 3",
        ),
        (  # loggers are not used
            ["algo=vdn", "optimizer.lr=1", "logger=[console]"],
            "evaluate measures the policy that a run has learned; leave out algo, logger, optim",
        ),
    ):
        outcome = hymarl(copy.parent, "evaluate=run", TRUST, "eval.references=false", *arguments)
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert outcome.err.startswith(sentence)
    assert not (copy / "evaluations").exists()


def test_a_loaded_policy_acts_as_the_run_does(extension, component, finished):
    from hymarl.components.rng import Stream
    from hymarl.runners.episode import EpisodeRunner

    policy = LearnedPolicy.load(finished)
    runner = EpisodeRunner(lambda n: extension_env(n), 0, Stream.TEST, max_failures=0)
    batch, statistics = runner.play(policy, np.arange(4))
    assert statistics.returns.tolist() == [float(row["return"]) for row in rows(finished / "comparison.csv")[:4]]
    state = None
    for t in range(int(batch.lengths[0])):
        actions, state = policy.act(batch.obs[0, t].numpy(), batch.avail[0, t].numpy(), state)
        assert actions.tolist() == batch.actions[0, t].tolist()


def extension_env(n_envs):
    from extension.chance import Chance

    return Chance(None, n_envs, limit=6, breaks_at=None)


BALANCING = (
    *("env=loadbalance", "env.cpus=[1,2]", "env.episode_limit=5", "env.warmup=0.5", "logger=[]", "runner.n_envs=2"),
    *("train.total_steps=30", "replay.batch_episodes=2", "replay.buffer_episodes=4", "eval.episodes=1"),
)


def test_an_entity_network_is_evaluated_with_more_agents(hymarl, tmp_path):
    network = "network=entity", "network.hidden_dim=8", "controller.agent_id=false", "agents=2"
    train = *network, "eval.test_episodes=2", "eval.references=false", "hydra.run.dir=run"
    assert hymarl(tmp_path, *BALANCING, *train).code == 0
    more = "agents=3", "eval.episodes=3", "eval.references=true", "hydra.run.dir=more"
    outcome = hymarl(tmp_path, "evaluate=run", TRUST, *more)
    assert (outcome.code, outcome.err) == (0, "")
    played = [row["policy"] for row in rows(tmp_path / "more" / "comparison.csv")]
    policies = list(dict.fromkeys(played))
    assert policies[0] == "learned"
    assert "sed" in policies
    assert played == [policy for policy in policies for _ in range(3)]
    assert [re.search(r"^agents: (\d)", text(tmp_path / n, "config.yaml"), re.M)[1] for n in ("run", "more")] == [
        "2",
        "3",
    ]


def test_a_scripted_policy_runs_without_training_and_leaves_nothing_to_resume(hymarl, tmp_path):
    outcome = hymarl(tmp_path, *BALANCING, "policy=lsq", "eval.episodes=3", "eval.references=false")
    assert (outcome.code, outcome.err) == (0, "")
    (run,) = (tmp_path / "results" / "loadbalance" / "lsq").iterdir()
    assert_not_resumed(hymarl, run)
    assert {path.name for path in run.iterdir()} == {".hydra", "config.yaml", "comparison.csv", "comparison.txt"}
    assert [row["policy"] for row in rows(run / "comparison.csv")] == ["lsq"] * 3


@pytest.mark.slow
def test_scripted_policies_are_compared_also_where_workers_play(hymarl, tmp_path):
    network = "network=entity", "network.hidden_dim=8", "controller.agent_id=false", "eval.test_episodes=2"
    for n in (0, 1):
        arguments = *BALANCING, *network, f"runner.workers={n}", f"hydra.run.dir=run{n}"
        outcome = hymarl(tmp_path, *arguments)
        assert (outcome.code, outcome.err) == (0, "")
    for name in ("metrics.csv", "evaluations.csv", "comparison.csv"):
        assert (tmp_path / "run0" / name).read_bytes() == (tmp_path / "run1" / name).read_bytes()


# Many at once


@pytest.mark.parametrize("seeds", [[1], pytest.param([1, 2], marks=pytest.mark.slow)])
def test_jobs_of_a_sweep_share_nothing(hymarl, tmp_path, seeds):
    sweep = "-m", "mixer=qmix,vdn", f"seed={','.join(map(str, seeds))}", "hydra.sweep.dir=sweep"
    outcome = hymarl(tmp_path, *sweep, *TINY, "logger=[sacred,wandb]")
    assert (outcome.code, outcome.err) == (0, "")
    wanted = [(mixer, str(seed)) for mixer in ("qmix", "vdn") for seed in seeds]
    jobs = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert len(jobs) == len(wanted)
    assert all(re.fullmatch(r"[\w.+-]+", job.name) for job in jobs)  # needs no quotes in resume=
    assert [re.search(r"mixer (\w+).*seed +(\d)", text(job), re.DOTALL).groups() for job in jobs] == wanted
    assert {status(job)["status"] for job in jobs} == {"finished"}
    assert {len(list((job / "wandb").glob("offline-run-*"))) for job in jobs} == {1}
    assert not (tmp_path / "wandb").exists()
    sacred = tmp_path / "results" / "sacred"
    ids = [re.search(r"sacred (\d+)", text(job, "logger_ids.txt"))[1] for job in jobs]
    assert sorted(ids) == sorted(path.name for path in sacred.iterdir() if path.name.isdigit())
    infos = [json.loads(text(sacred / number, "info.json"))["run_directory"] for number in ids]
    assert [Path(directory).name for directory in infos] == [job.name for job in jobs]
    assert hymarl(tmp_path, *TINY, "mixer=vdn", f"seed={seeds[-1]}", "hydra.run.dir=alone").code == 0
    assert (jobs[-1] / "metrics.csv").read_bytes() == (tmp_path / "alone" / "metrics.csv").read_bytes()


def test_a_job_that_fails_does_not_stop_the_others(hymarl, settings, tmp_path):
    jobs = "-m", "env.breaks_at=10,null", "env.limit=2", "hydra.sweep.dir=sweep"
    outcome = hymarl(tmp_path, *jobs, *settings, *SHORT, "hydra.sweep.subdir=${hydra:job.num}")
    assert outcome.code == 1
    assert outcome.err.startswith("job env.breaks_at=10: Traceback (most recent call last)")
    assert "RuntimeError: out of luck" in outcome.err
    assert [status(tmp_path / "sweep" / number)["status"] for number in "01"] == ["failed", "finished"]


def test_a_job_that_is_refused_does_not_stop_the_others(hymarl, tmp_path):
    jobs = "-m", "learner.gamma=2,0.9", "hydra.sweep.dir=sweep", "hydra.sweep.subdir=${hydra:job.num}"
    outcome = hymarl(tmp_path, *jobs, *TINY)
    assert (outcome.code, outcome.err) == (1, "job learner.gamma=2: learner=q: gamma must be at most 1, got 2.0\n")
    assert sorted(path.name for path in (tmp_path / "sweep").iterdir()) == ["1"]
    assert status(tmp_path / "sweep" / "1")["status"] == "finished"


def test_worker_processes_change_nothing_even_when_one_is_killed(hymarl, extension, tmp_path):
    game = "env=pettingzoo", "env.entry_point=extension.games:climbing", "runner.n_envs=2", "train.total_steps=32"
    assert hymarl(tmp_path, *TINY, *game, "hydra.run.dir=alone").code == 0
    dies = "runner.workers=2", "+env.kwargs.dies_at=9", f"+env.kwargs.grave='{tmp_path}/grave'"
    outcome = hymarl(tmp_path, *TINY, *game, *dies, "hydra.run.dir=workers", "logger=[console]")
    assert (outcome.code, outcome.err) == (0, "")
    assert (tmp_path / "grave").exists()
    for name in ("metrics.csv", "evaluations.csv"):
        assert (tmp_path / "workers" / name).read_bytes() == (tmp_path / "alone" / name).read_bytes()
    warned = [line for line in text(tmp_path / "workers").splitlines() if line.startswith("warning: environment ")]
    assert warned
    assert all("was ended by SIGKILL" in line and "given the joint action [" in line for line in warned)
    assert warned[0] in outcome.out

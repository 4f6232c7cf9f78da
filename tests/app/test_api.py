"""What notebooks and scripts call, as the documentation shows it."""

import ast
import os
import pydoc
import re
import subprocess
import sys
import threading
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from hydra.core.singleton import Singleton

import hymarl as api
from hymarl.app.hydra_state import set_aside
from hymarl.components.terminal import program_name
from hymarl.policies.base import Policy

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(encoding="utf-8"), re.DOTALL)
SMALLER = {"steps=20000": "steps=80", "steps=30000": "steps=100"}
TINY = ("env=two_step", "logger=[]", "network.rnn_dim=4", "eval.episodes=2", "eval.test_episodes=3", "threads=1")
SHORT = (*TINY, "replay.batch_episodes=4", "train.total_steps=64", "train.log_interval_steps=16")


def python(code: str, folder: Path, **environment: str) -> str:
    """What a process prints that runs these lines."""
    command = [sys.executable, "-c", code]
    ran = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=120, check=True, env=os.environ | environment
    )
    return ran.stdout


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def found_plugins():
    """Hydra finds its plugins, once in a process."""
    api.compose(*TINY)


@pytest.fixture(autouse=True)
def nothing_is_left_behind(request, in_a_folder_of_its_own, found_plugins):
    """Hydra, torch's threads, variables and the current folder are afterwards as they were; not after `hymarl`."""
    if "hymarl" in request.fixturenames:
        yield
        return

    def state():
        variables = {name: value for name, value in os.environ.items() if name != "PYTEST_CURRENT_TEST"}
        return dict(Singleton._instances), torch.get_num_threads(), variables, os.getcwd()

    before = state()
    yield
    assert state() == before


@pytest.fixture(scope="module")
def short():
    return api.compose(*SHORT)


@pytest.fixture(scope="module")
def finished(short, tmp_path_factory):
    return api.train(short, tmp_path_factory.mktemp("runs") / "run")


# What is exported


def test_importing_it_costs_nothing(tmp_path):
    code = """
        import sys
        import hymarl
        loaded = {name.partition(".")[0] for name in sys.modules}
        print(sorted(loaded & {"torch", "hydra", "numba", "numpy", "omegaconf"}))
        assert set(hymarl.__all__) <= set(dir(hymarl))
        from hymarl import ConfigError, register
        print("torch" in sys.modules)
    """
    assert python(re.sub(r"\n {8}", "\n", code), tmp_path).split("\n")[:2] == ["[]", "False"]


def test_the_exported_names_are_those_that_a_type_checker_sees():
    tree = ast.parse(Path(api.__file__).read_text(encoding="utf-8"))
    typed = next(node for node in tree.body if isinstance(node, ast.If))
    seen = {alias.name: node.module for node in typed.body for alias in node.names}
    assert dict(api._MODULES) == seen
    assert sorted(seen) == api.__all__
    undocumented = {name for name in api.__all__ if not getattr(api, name).__doc__}
    assert undocumented == {"Callback"}  # an alias, which can have none at run time
    with pytest.raises(AttributeError, match="has no attribute 'trian'"):
        api.trian  # noqa: B018


def test_help_shows_what_is_exported():
    shown = pydoc.plain(pydoc.render_doc(api))
    for name in api.__all__:
        assert re.search(rf"\b{name}\b", shown)
    assert "saved, not tested, and can be resumed" in shown
    for kind in (Policy, api.LearnedPolicy):
        assert re.search(r"avail: .* = None, state: .* = None", pydoc.plain(pydoc.render_doc(kind.act)))


# As it is documented


def test_the_documentation(tmp_path):
    program = "\n".join(BLOCKS)
    for large, small in SMALLER.items():
        assert program.count(large) == 1
        program = program.replace(large, small)
    names = {}
    exec(compile(program, "docs/python.md", "exec", dont_inherit=True), names)
    assert names["run"].status == "finished"
    assert names["run"].step >= 100
    assert [folder.name for folder in tmp_path.glob("results/two_step/*")] == ["vdn"]
    assert names["actions"].shape == (2,)
    assert not names["active"].any()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_documentation_has_the_right_types(tmp_path):
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "hymarl").symlink_to(ROOT / "src")
    (tmp_path / "script.py").write_text(
        "\n".join(BLOCKS).replace("returns = []", "returns: list[tuple[int, float]] = []")
    )
    (tmp_path / "wrong.py").write_text("import hymarl\nhymarl.trian\nhymarl.load_policy(1)\n")

    def mypy(file):
        command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--config-file=", file]
        environment = os.environ | {"MYPYPATH": str(tmp_path / "site")}
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=environment).stdout

    assert "Success" in mypy("script.py"), mypy("script.py")
    found = mypy("wrong.py")
    assert all(f"wrong.py:{line}: error" in found for line in (2, 3)), found


# Composing


@pytest.mark.parametrize(
    "overrides",
    [
        ("mixer=vdnn",),
        ("lr=0.1",),
        ("learner.gamma=2",),
        ("seed",),
        ("env=[two_step]",),
        ("~mixer",),
        ("hydra.searchpath=[nowhere]",),
    ],
)
def test_a_mistake_is_answered_as_on_the_command_line(hymarl, tmp_path, overrides):
    with pytest.raises(api.ConfigError) as raised:
        api.compose(*overrides)
    sentence = str(raised.value).replace(program_name(), "python main.py")  # as the fixture starts it
    assert hymarl(tmp_path, *overrides).err == f"{sentence}\n"


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("resume=run", "resume= is for the command line; here it is hymarl.resume"),
        ("hydra.run.dir=x", "hydra.run.dir= is for the command line"),
        ("mixer=qmix,vdn", "mixer=qmix,vdn: a configuration is one run"),
    ],
)
def test_what_belongs_to_the_command_line_is_refused(override, sentence):
    with pytest.raises(api.ConfigError, match=sentence):
        api.compose(override)


def test_it_composes_what_the_command_line_composes(finished):
    saved = (finished.directory / "config.yaml").read_text(encoding="utf-8")
    assert "total_steps: 64" in saved
    again = api.compose(*SHORT)
    assert again == finished.config
    assert api.compose(*SHORT, "mixer=vdn").algo == "vdn"


def test_a_program_may_use_hydra_for_itself(tmp_path):
    folder = tmp_path / "conf"
    folder.mkdir()
    (folder / "config.yaml").write_text("mine: 1\n")
    with set_aside():
        hydra.initialize_config_dir(str(folder), version_base="1.2")
        own = GlobalHydra.instance().hydra
        api.evaluate(api.compose("policy=random", "env=matrix_game", *TINY[1:]))
        api.make_env("two_step").close()
        assert GlobalHydra.instance().hydra is own
        assert hydra.compose("config").mine == 1


def test_options_of_the_users_own(tmp_path):
    folder = tmp_path / "my_conf" / "env"
    folder.mkdir(parents=True)
    shipped = (ROOT / "conf" / "env" / "two_step.yaml").read_text(encoding="utf-8")
    (folder / "my_game.yaml").write_text(shipped)
    config = api.compose("env=my_game", "policy=random", *TINY[1:], searchpath=["my_conf"])
    assert api.evaluate(config).policies == ("random",)
    assert api.make_env("my_game", searchpath=[tmp_path / "my_conf"]).spec.n_agents == 2
    with pytest.raises(api.ConfigError, match="env=my_game: there is no such option"):
        api.make_env("my_game")


# Training


def test_training_does_what_the_command_line_does(hymarl, tmp_path, finished):
    done = hymarl(tmp_path, *SHORT, "hydra.run.dir=typed")
    assert done.code == 0, done.err
    for name in ("metrics.csv", "evaluations.csv", "comparison.csv", "config.yaml"):
        assert (finished.directory / name).read_bytes() == (tmp_path / "typed" / name).read_bytes()
    typed = (tmp_path / "typed" / "comparison.txt").read_text().rstrip("\n")
    assert typed == f"two_step, qmix, mixer qmix, 2 agents, seed 1\n\n{finished.comparison.text()}"


def test_callbacks_get_everything_once_it_is_written_and_stopping_at_the_end_stops_nothing(short, tmp_path):
    events = []

    def watch(event):
        events.append(event)
        if isinstance(event, api.Record) and event.table == "metrics":
            lines = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
            assert lines[-1].startswith(f"{event.step},")
        if isinstance(event, api.Checkpoint) and event.resumable:
            assert (tmp_path / "run" / "checkpoints" / f"weights_{event.step:012d}.pt").exists()
        return event.step >= 64

    run = api.train(short, "run", callbacks=[watch])
    assert {type(event) for event in events} == {api.Record, api.Evaluation, api.Checkpoint}
    assert (run.status, run.directory) == ("finished", tmp_path / "run")
    assert events[-1] == api.Checkpoint(run.step, events[-1].best, resumable=True)
    assert run.comparison.n_episodes == 3


@pytest.mark.parametrize("more", [(), ("runner.overlap=true",)])
def test_a_run_that_a_callback_stopped_is_resumed_exactly_and_nothing_is_printed(finished, tmp_path, capfd, more):
    whole = api.train(api.compose(*SHORT, *more), "whole") if more else finished
    run = api.train(whole.config, "stopped", callbacks=[lambda event: event.step >= 32, lambda _: None])
    assert run.status == "interrupted"
    assert 32 <= run.step < 64
    with pytest.raises(api.ConfigError, match="was not tested now: it was interrupted"):
        run.comparison  # noqa: B018
    again = api.resume("stopped")
    assert again.status == "finished"
    for name in ("metrics.csv", "evaluations.csv", "comparison.csv"):
        assert (whole.directory / name).read_bytes() == (again.directory / name).read_bytes()
    assert capfd.readouterr().out == ""


def test_an_error_in_a_callback_ends_the_run(short, tmp_path):
    def fail(event):
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        api.train(short, "run", callbacks=[fail])
    assert '"failed"' in (tmp_path / "run" / "status.json").read_text()


def test_training_in_another_thread_and_in_the_directory_of_the_command_line(tmp_path):
    results = []
    thread = threading.Thread(target=lambda: results.append(api.train(api.compose(*SHORT, "mixer=vdn"))))
    thread.start()
    thread.join(120)
    assert results[0].status == "finished"
    assert results[0].directory.parent == tmp_path / "results" / "two_step" / "vdn"


def test_a_refused_run_leaves_no_directory(short, finished, tmp_path):
    with pytest.raises(api.ConfigError, match=r"init_from=.* does not fit"):
        api.train(api.compose(*SHORT, "network.rnn_dim=8", f"init_from={finished.directory}"), "deep/new")
    with pytest.raises(api.ConfigError, match="holds a run already"):
        api.train(short, finished.directory)
    with pytest.raises(api.ConfigError, match="policy=random does not learn"):
        api.train(api.compose(*SHORT, "policy=random"))
    assert not list(tmp_path.iterdir())


def test_only_some_things_change_when_resuming(finished):
    with pytest.raises(api.ConfigError, match=r"leave out mixer, or start a new run"):
        api.resume(finished.directory, "mixer=vdn")
    again = api.resume(finished.directory)
    assert again.status == "finished"
    with pytest.raises(api.ConfigError, match="was not tested now: it had ended before"):
        again.comparison  # noqa: B018


# Evaluating and acting


def test_evaluating(finished, tmp_path, capfd):
    tested = finished.comparison
    weights = finished.directory / "checkpoints" / "best.pt"
    assert str(api.evaluate(str(weights))) == str(tested)
    assert not any(tmp_path.iterdir())
    (tmp_path / "copy.pt").write_bytes(weights.read_bytes())
    assert str(api.evaluate("copy.pt", "env=two_step", "eval.test_episodes=3")) == str(tested)
    with pytest.raises(api.ConfigError, match="say what its policy is to play"):
        api.evaluate("copy.pt")
    with pytest.raises(api.ConfigError, match="leave out mixer"):
        api.evaluate(finished.directory, "mixer=vdn")
    with pytest.raises(api.ConfigError, match="a configuration has no weights"):
        api.evaluate(finished.config)
    first = api.evaluate(finished.directory, "eval.episodes=2", directory="written")
    assert all((first.episodes(name) == tested.episodes(name)[:2]).all() for name in tested.policies)
    assert len((tmp_path / "written" / "comparison.csv").read_text().splitlines()) == 1 + 2 * 2
    assert capfd.readouterr().out == ""


def test_a_comparison_in_numbers(finished):
    comparison = finished.comparison
    assert comparison.policies == ("learned", "random")
    returns = comparison.episodes("learned")
    assert returns.shape == comparison.episodes("learned", "length").shape == (3,)
    mean, half_width = comparison.mean("learned")
    summary = comparison.evaluation("learned").summary()
    assert (mean, half_width) == (summary["return_mean"], summary["return_ci95"])
    assert mean == returns.mean()
    assert repr(comparison) == "Comparison(learned, random; 3 episodes)"


def test_a_policy_acts_on_lists(finished):
    policy = api.load_policy(finished.directory)
    obs = np.random.default_rng(0).random((3, 2, 3))
    actions, state = policy.act(obs.tolist(), np.ones((3, 2, 2)).tolist())
    expected, _ = policy.act(obs.astype(np.float32))
    assert (actions == expected).all()
    one, _ = policy.act(obs[0].tolist(), [[False, True], [True, False]])
    assert one.tolist() == [1, 0]
    assert repr(policy) == repr(finished.policy())
    assert re.fullmatch(r"LearnedPolicy\(2 agents, 3 observations, 2 actions; [\d,]+ weights, Greedy\)", repr(policy))
    with pytest.raises(ValueError, match=r"observations must have the shape \[B, 2, 3\] or \[2, 3\], got \[5\]"):
        policy.act([1, 2, 3, 4, 5])
    assert state.t == 1


@pytest.mark.parametrize("option", ["lb_herd", "predator_prey"])
def test_an_environment_is_made_also_if_it_suggests_a_network(option):
    assert api.make_env(option, agents=3).spec.n_agents == 3


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"option": "two_stp"}, "env=two_stp: there is no such option"),
        ({"option": "two_step", "stps": 3}, "env=two_step: unknown key 'stps'; did you mean 'steps'"),
        ({"option": "two_step", "agents": 5}, "env=two_step: agents=5"),
        ({"option": "two_step", "n_envs": 0}, "n_envs=0: there must be at least one"),
    ],
)
def test_an_environment_that_cannot_be_made(arguments, sentence):
    with pytest.raises(api.ConfigError, match=re.escape(sentence)):
        api.make_env(**arguments)

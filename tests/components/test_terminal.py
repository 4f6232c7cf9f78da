"""What terminals of all kinds are shown; how the program says it was started."""

import io
import os
import subprocess
import sys

import pytest

from hymarl.components.terminal import program_name, substitute_what_cannot_be_shown

TEXT = "1 ± 2 …\N{SNOWMAN}"


@pytest.mark.parametrize(
    ("encoding", "shown"),
    [("ascii", "1 +- 2 ...?"), ("latin-1", "1 ± 2 ...?"), ("utf-8", TEXT)],
)
@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_what_a_terminal_cannot_show_is_replaced(monkeypatch, encoding, shown, name):
    stream = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, name, stream)
    substitute_what_cannot_be_shown()
    print(TEXT, file=stream, flush=True)
    assert stream.buffer.getvalue() == (shown + os.linesep).encode(encoding)


def test_a_stream_that_is_no_terminal_is_left_alone(monkeypatch):
    for stream in (io.StringIO(), None):
        monkeypatch.setattr(sys, "stdout", stream)
        substitute_what_cannot_be_shown()
        assert sys.stdout is stream


@pytest.mark.parametrize(
    ("started", "name"),
    [
        ("main.py", "python main.py"),
        ("../clone/main.py", "python ../clone/main.py"),
        ("/somewhere/bin/hymarl", "hymarl"),
        ("/somewhere/hymarl/__main__.py", "python -m hymarl"),
        ("/somewhere/ipykernel_launcher.py", "hymarl"),
        ("my_experiment.py", "hymarl"),
        ("", "hymarl"),
    ],
)
def test_the_program_is_named_as_it_was_started(monkeypatch, started, name):
    monkeypatch.setattr(sys, "argv", [started, "seed=1"])
    assert program_name() == name


@pytest.mark.slow
@pytest.mark.parametrize(
    "environment",
    [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}],
)
def test_a_run_in_such_a_terminal_ends_well(tmp_path, environment):
    tiny = "env=two_step", "train.total_steps=16", "logger=[console,sacred,tensorboard]", "eval.test_episodes=2"
    done = subprocess.run(
        [sys.executable, "-m", "hymarl", *tiny, "hydra.run.dir=run"],
        env=os.environ | environment,
        cwd=tmp_path,
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    out = done.stdout.decode("ascii")
    assert "switched off" not in out
    assert "mean +- 95 % interval over 2 test episodes" in out
    assert "mean ± 95 % interval over 2 test episodes" in (tmp_path / "run" / "train.log").read_text("utf-8")

"""`docs/environments.md` is followed to the letter: its files are written, its commands typed, its outputs seen."""

import re
import shlex
import shutil
import sys
from pathlib import Path

import pytest

from hymarl.envs.contract.checker import check_environment
from hymarl.registry import build, check_settings, find

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "environments.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"(?:`(?P<file>[\w/.]+)`:\n\n)?```(?P<language>\w+)\n(?P<text>.*?)```", re.DOTALL)


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A directory with what the walk-through takes for granted."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("mine", "examples"):
            del sys.modules[name]


def test_the_walk_through_does_what_it_says(hymarl, desk):
    seen, done = "", []
    for block in BLOCK.finditer(TEXT):
        text = block["text"]
        match block["language"]:
            case "python" | "yaml":
                path = desk / block["file"]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            case "sh":
                for line in text.splitlines():
                    program, script, *arguments = shlex.split(line)
                    assert (program, script) == ("python", "main.py")
                    outcome = hymarl(desk, *arguments)
                    assert (outcome.code, outcome.err) == (0, ""), line
                    seen = outcome.out
            case "text":
                assert text.strip() in seen
            case language:
                raise AssertionError(language)
        done.append(block["language"])
    assert done == ["python", "yaml", "sh", "text", "sh", "sh", "text"]
    assert list(desk.glob("results/rendezvous/vdn/*/plots/learning_curve.png"))


def test_the_template_keeps_the_contract(desk):
    values = check_settings(find("env", "examples.corridor"), {"length": 5, "steps": 9}, "corridor")
    for agents in (None, 3):
        check_environment(build("env", "examples.corridor", values, agents, 4))


def test_the_template_is_short():
    assert len((ROOT / "examples" / "corridor.py").read_text(encoding="utf-8").splitlines()) <= 48


def test_the_table_names_nothing_but_options():
    options = {path.stem for path in (ROOT / "conf" / "env").glob("*.yaml")}
    table = re.findall(r"^\| (`.*?) \|", TEXT.partition("| `env=` |")[2], flags=re.MULTILINE)
    named = {name for cell in table for name in re.findall(r"`(\w+)`", cell)}
    assert len(named) > 20
    assert named <= options

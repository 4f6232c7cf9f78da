"""Deleting an environment deletes its folder, its YAML files, its policies, what plays it really, and nothing else."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hymarl import registry

ROOT = Path(__file__).resolve().parents[2]
WORDS = re.compile(r"loadbalance|load.balanc|\blb_|\bdispatch\b|\brandom_levels\b", re.IGNORECASE)

DEFAULT = "- env: loadbalance "  # a line of config.yaml: what plays unless another environment is chosen
PROGRAM = """
import sys
import hymarl
from hymarl import registry
from hymarl.main import main

assert hymarl.__file__.startswith(sys.argv[1]), hymarl.__file__
for group in registry.PACKAGES:
    print('names', group, *registry.names(group))
for arguments in sys.argv[2:]:
    sys.argv[1:] = arguments.split()
    main()
"""
TRAIN = (
    "env=two_step logger=[] network=mlp train.total_steps=8 replay.batch_episodes=2 replay.buffer_episodes=4 "
    "eval.episodes=1 eval.test_episodes=1 hydra.run.dir=run"  # nothing that would be compiled anew for the copy
)
EVALUATE = "evaluate=run hydra.run.dir=again"


@pytest.fixture
def package(tmp_path):
    """The package as it would be installed without load balancing."""
    folder = tmp_path / "hymarl"
    temporary = "*.pyc.*", "*.tmp.*"  # other processes may write them; what is compiled is copied, which saves time
    shutil.copytree(ROOT / "src", folder, ignore=shutil.ignore_patterns("*.egg-info", *temporary))
    shutil.copytree(ROOT / "conf", folder / "conf", ignore=shutil.ignore_patterns("__pycache__"))
    for part in ("envs/loadbalance", "agent", "testbed"):
        shutil.rmtree(folder / part)
    for policy in ("dispatch", "latency", "pretrained", "random_levels"):
        (folder / "policies" / f"{policy}.py").unlink()
    published = (folder / "reproduce" / "published").glob("*.yaml")
    for file in (*(folder / "conf").glob("*/*.yaml"), *published):
        if WORDS.search(file.stem) or WORDS.search(file.read_text(encoding="utf-8")):
            file.unlink()
    config = folder / "conf" / "config.yaml"
    text = config.read_text(encoding="utf-8")
    assert text.count(DEFAULT) == 1
    config.write_text(text.replace(DEFAULT, "- env: two_step "), encoding="utf-8")
    return folder


def test_nothing_else_knows_load_balancing(package):
    files = [path for path in package.rglob("*") if path.suffix in (".py", ".yaml")]
    assert len(files) > 150
    assert not [path.name for path in files if WORDS.search(path.read_text(encoding="utf-8"))]


def test_the_rest_still_trains_and_evaluates(package):
    environment = os.environ | {"PYTHONPATH": str(package.parent)}
    command = [sys.executable, "-c", PROGRAM, str(package), TRAIN, EVALUATE]
    done = subprocess.run(command, cwd=package.parent, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("names ")]
    names = {group: found for _, group, *found in lines}
    assert names.keys() == registry.PACKAGES.keys()
    for group, found in names.items():
        gone = {"env": {"loadbalance"}, "policy": {"dispatch", "latency", "pretrained", "random_levels"}}.get(
            group, set()
        )
        assert {*registry.names(group)} - {*found} == gone
    for run in ("run", "again"):
        assert (package.parent / run / "comparison.csv").is_file()

"""What every option of ``algo`` owes: the same bits again, also when it was killed, and a policy that can be used."""

import re
import signal
from pathlib import Path

import numpy as np
import pytest

from hymarl.app.options import options
from hymarl.policies.base import Policy

# No interval divides another or the length of a collection; what only some options have is said of those.
SETTINGS = (
    *("env=chance", "logger=[]", "eval.episodes=2", "eval.test_episodes=2", "eval.references=false", "network=mlp"),
    *("train.total_steps=130", "train.log_interval_steps=20", "train.eval_interval_steps=60"),
    *("train.checkpoint_interval_steps=23", "++when_chosen.network.mlp.hidden_dims=[8]"),
    *("++when_chosen.runner.parallel.n_envs=3", "++when_chosen.replay.uniform.batch_episodes=4"),
    *("++when_chosen.replay.uniform.buffer_episodes=15", "++when_chosen.replay.uniform.updates_per_episode=0.7"),
)
TRUST = "trust=[extension]"  # runs name the extension's game
FAST = ("cw_qmix", "mappo")
WITH_NOISE = (
    *("algo=qmix network.noisy=true", "algo=ow_qmix network.noisy=true", "algo=pqn_vdn network.noisy=true"),
    *("algo=qmix network.noisy=true runner.lag=1", "algo=mappo policy=parameter_noise policy.distance=0.1"),
    *("algo=qmix policy=parameter_noise controller=independent", "algo=qmix policy=parameter_noise runner.lag=2"),
)


@pytest.mark.parametrize(
    "algo",
    [
        *(
            f"algo={name}" if name in FAST else pytest.param(f"algo={name}", marks=pytest.mark.slow)
            for name in options("algo")
        ),
        *(pytest.param(changes, marks=pytest.mark.slow) for changes in WITH_NOISE),
    ],
)
def test_an_algorithm_that_was_killed_is_resumed_exactly_and_evaluated(
    assert_equal_runs, hymarl, extension, monkeypatch, tmp_path, algo
):
    monkeypatch.syspath_prepend(Path(__file__).parent)
    import processes

    settings = f"hydra.searchpath=['file://{extension}/conf']", *SETTINGS, *algo.split()
    outcome = hymarl(tmp_path, *settings, "hydra.run.dir=whole")
    assert (outcome.code, outcome.err) == (0, "")
    process = processes.start(
        tmp_path, [*settings, "hydra.run.dir=killed"], {"CHANCE_SIGNAL": "SIGKILL", "CHANCE_AT": "40"}
    )
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "output.txt").read_text()
    outcome = hymarl(tmp_path, "resume=killed", TRUST)
    assert (outcome.code, outcome.err) == (0, "")
    assert_equal_runs(tmp_path / "killed", tmp_path / "whole")
    assert hymarl(tmp_path, "evaluate=whole", TRUST).code == 0
    policy = Policy.load(tmp_path / "whole", trust=["extension"])
    actions, _ = policy.act(np.zeros((policy.spec.n_agents, policy.spec.obs_dim), np.float32))
    assert actions.shape == (policy.spec.n_agents,)


def test_every_algorithm_is_documented(configured, monkeypatch):
    """In the table of `docs/algorithms.md`, with the parts that it chooses, and in that of what goes together."""
    docs = Path(__file__).resolve().parents[1] / "docs"
    monkeypatch.syspath_prepend(docs)
    import capabilities

    page = (docs / "algorithms.md").read_text(encoding="utf-8")
    lines = [line for line in page.splitlines() if line.startswith(("| `", "| [`"))]
    told = {name: line for line in reversed(lines) for name in re.findall(r"`(\w+)`", line.split("|")[1])}  # the first
    configs = {algo: configured(f"algo={algo}") for algo in options("algo")}
    for algo, config in configs.items():
        assert algo in told, f"docs/algorithms.md has no row for {algo}"
        assert f"`{config.components['learner'].option}`" in told[algo]
        mixer = config.components.get("mixer")
        assert f"`{mixer.option if mixer else None}`" in told[algo] or (mixer is None and "(none)" in told[algo])
    assert capabilities.filled(page, configs) == page, "run python docs/capabilities.py"

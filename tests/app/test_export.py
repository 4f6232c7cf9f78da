"""``export=RUN``: files that act without HyMARL, and what they say about the run."""

import builtins
import json
import math

import numpy as np
import pytest
import torch

from hymarl.agent.command import chosen
from hymarl.app.assembly import describe_policy, environment_factory
from hymarl.app.saved import to_yaml
from hymarl.components.files import save
from hymarl.envs.loadbalance.live import Live
from hymarl.envs.loadbalance.traces import DYNAMIC, Trace, write_trace
from hymarl.portable import PortablePolicy
from hymarl.registry import ConfigError


@pytest.fixture
def untrained(configured, tmp_path):
    """The files of a run that an export reads, with initial weights: ``untrained("env=two_step")``."""

    def write(*overrides):
        config = configured(*overrides)
        env = environment_factory(config)(1)
        env.close()
        description, run = describe_policy(config, env.spec), tmp_path / "run"
        torch.manual_seed(0)
        weights = {"controller": description.controller().state_dict(), "mixer": {}, "step": 40}
        save(run / "checkpoints" / "best.pt", {**weights, "policy": description.to_plain()})
        save(run / "checkpoints" / "weights_000000000080.pt", {**weights, "policy": description.to_plain(), "step": 80})
        (run / "config.yaml").write_text(to_yaml(config))
        return run

    return write


def test_a_policy_is_written_with_what_it_takes_to_use_it(hymarl, untrained, tmp_path):
    trace = tmp_path / "requests.csv"
    write_trace(Trace(np.arange(50) / 10, np.full(50, 0.25), np.full(50, DYNAMIC)), trace)
    run = untrained("env=loadbalance", "agents=2", f"env.trace={trace}", "env.bg_dwell=[inf,3]", "seed=7")
    seen = hymarl(tmp_path, "export=run", "hydra.run.dir=mine")
    assert (seen.code, seen.err) == (0, "")
    assert "acts for  any number of agents, 48 observations, 4 actions\n" in seen.out
    assert "NumPy  1,024 observations, the same actions, largest difference of a score " in seen.out
    assert seen.out.endswith("exported: mine\n")
    policy = PortablePolicy.load(tmp_path / "mine")
    about = policy.about
    assert about["interface"]["observation"]["mean_job_size"] == pytest.approx(0.25, rel=1e-5)
    assert about["environment"]["settings"]["trace"] == "requests.csv"
    assert about["environment"]["settings"]["bg_dwell"] == ["inf", 3.0]
    choices = {"algo": "qmix", "learner": "q", "mixer": "qmix", "env": "loadbalance"}
    assert about["run"] == {"weights": "best.pt", "step": 40, **choices, "seed": 7, "joint": False}
    assert about["compared"]["policy.npz"]["largest_difference"] < 1e-5
    assert str(tmp_path) not in (tmp_path / "mine" / "policy.json").read_text()
    actions, _ = policy.act([[0.5] * 48], [[False, False, True, False]])
    assert actions.tolist() == [2]
    other = "env.cpus=[1,1,1]", "env.trace=null", "env.size_mean=0.05"
    assert hymarl(tmp_path, "export=run", *other, "hydra.run.dir=other").code == 0
    elsewhere = PortablePolicy.load(tmp_path / "other")
    assert (elsewhere.n_actions, elsewhere.about["interface"]["observation"]["mean_job_size"]) == (3, 0.05)
    assert (elsewhere.about["environment"]["settings"]["cpus"], elsewhere.about["run"]) == ([1, 1, 1], about["run"])
    again = hymarl(tmp_path, "export=run", "hydra.run.dir=mine")
    assert (again.code, again.err) == (2, "mine holds an exported policy already; choose another directory\n")
    last = hymarl(tmp_path, "export=run", "eval.checkpoint=last")
    assert "policy  run/checkpoints/weights_000000000080.pt, step 80\n" in last.out
    (folder,) = (run / "exports").iterdir()
    assert {file.name for file in folder.iterdir()} >= {"policy.json", "policy.npz"}


def test_without_its_packages_the_model_is_left_out(hymarl, untrained, tmp_path, monkeypatch):
    there = builtins.__import__

    def missing(name, *args, **kwargs):
        if name.startswith("onnx"):
            raise ImportError(name)
        return there(name, *args, **kwargs)

    untrained("env=two_step", "network=mlp")
    monkeypatch.setattr(builtins, "__import__", missing)
    seen = hymarl(tmp_path, "export=run", "hydra.run.dir=mine")
    assert (seen.code, seen.err) == (0, "")
    assert "ONNX  left out, as it takes more packages: pip install 'hymarl[export]'\n" in seen.out
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"policy.json", "policy.npz"}


def test_with_them_the_model_says_what_it_is(hymarl, untrained, tmp_path):
    pytest.importorskip("onnxruntime", reason="the packages of hymarl[export] are missing")
    onnx = pytest.importorskip("onnx", reason="the packages of hymarl[export] are missing")
    untrained("env=two_step")
    seen = hymarl(tmp_path, "export=run", "hydra.run.dir=mine")
    assert "ONNX  1,024 observations, the same actions, largest difference of a score " in seen.out
    model = onnx.load(tmp_path / "mine" / "policy.onnx")
    assert [x.name for x in model.graph.input] == ["obs", "avail", "last_actions", "hidden"]
    assert [x.name for x in model.graph.output] == ["actions", "scores", "next_hidden"]
    assert json.loads(model.metadata_props[0].value)["run"]["env"] == "two_step"


@pytest.mark.parametrize(
    ("overrides", "asked", "sentence"),
    [
        (["env=two_step", "algo=maven"], ["export=run"], "with network=rnn draws a latent variable for each episode\n"),
        (
            ["env=two_step"],
            ["export=run", "seed=3"],
            "export writes the policy that a run has learned; leave out seed\n",
        ),
        (["env=two_step"], ["export=nowhere"], "nowhere is not a run directory: it does not exist\n"),
    ],
    ids=["latent", "seed", "nowhere"],
)
def test_what_cannot_be_exported_gets_a_sentence_and_leaves_nothing(
    hymarl, untrained, tmp_path, overrides, asked, sentence
):
    run = untrained(*overrides)
    seen = hymarl(tmp_path, *asked)
    assert (seen.code, seen.out, seen.err.count("\n")) == (2, "", 1)
    assert seen.err.endswith(sentence)
    assert not (run / "exports").exists()


def test_one_agent_for_all_is_exported_and_so_are_weights_that_had_noise(hymarl, untrained, tmp_path):
    untrained("env=two_step", "joint=true", "algo=ps_dqn", "policy=parameter_noise")
    seen = hymarl(tmp_path, "export=run", "hydra.run.dir=mine")
    assert (seen.code, seen.err) == (0, "")
    policy = PortablePolicy.load(tmp_path / "mine")
    assert policy.about["run"]["joint"] is True
    assert (policy.about["sizes"]["agents"], policy.n_actions, policy.obs_dim) == (1, 4, 6)


def test_an_agent_beside_a_load_balancer_takes_it_with_its_own_settings(hymarl, untrained, tmp_path):
    own = "env.base=latency", "env.dt=0.5", "env.bg_dwell=[inf,3]", "env.features=all"
    untrained("env=lb_haproxy", *own)
    assert hymarl(tmp_path, "export=run", "hydra.run.dir=mine").code == 0
    policy, settings = chosen(str(tmp_path / "mine"), None)
    assert (settings.base, settings.dt, settings.bg_dwell, settings.rule) == ("latency", 0.5, [math.inf, 3], None)
    live = Live(settings, 1, 0)
    seen = live.observe(0.0, np.zeros((1, 8), np.int64), np.zeros(1, np.int64))
    actions, _ = policy.act(*seen)
    assert live.decide(actions).shape == (1, 8)
    with pytest.raises(ConfigError, match="--env lb_herd: an exported policy has its own environment"):
        chosen(str(tmp_path / "mine"), "lb_herd")
    untrained("env=two_step")
    assert hymarl(tmp_path, "export=run", "hydra.run.dir=other").code == 0
    with pytest.raises(ConfigError, match="other: this policy is not one of load balancing"):
        chosen(str(tmp_path / "other"), None)

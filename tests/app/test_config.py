"""What a configuration means."""

import csv
import json
import math
from dataclasses import replace
from importlib import resources

import pytest
from omegaconf import OmegaConf

from hymarl.app.config import change, option
from hymarl.app.options import chosen_by, options
from hymarl.app.saved import load_saved, to_yaml
from hymarl.registry import PACKAGES, ConfigError

TINY = (
    *("env=two_step", "train.total_steps=32", "train.log_interval_steps=16"),
    *("eval.episodes=2", "eval.test_episodes=2", "eval.references=false", "threads=1"),
)


def settings(config, group):
    return config.components[group].settings


@pytest.fixture(scope="module")
def pymarl2(configured):
    """An algorithm with values of its own."""
    return configured("env=two_step", "algo=qmix_pymarl2", "seed=5", "eval.episodes=3", "logger=[]")


@pytest.fixture(scope="module")
def console(configured):
    """A configuration with one logger."""
    return configured("env=two_step", "logger=[console]")


def test_the_command_line_beats_an_algorithm_in_values_and_choices(configured, pymarl2):
    algorithm = pymarl2
    assert (settings(algorithm, "learner")["td_lambda"], settings(algorithm, "optimizer")["lr"]) == (0.6, 0.001)
    assert (settings(algorithm, "replay")["batch_episodes"], algorithm.dropped) == (128, ())
    said = configured("env=two_step", "algo=qmix_pymarl2", "learner.td_lambda=0.3", "replay.batch_episodes=7")
    assert settings(said, "learner") == {**settings(algorithm, "learner"), "td_lambda": 0.3}
    assert settings(said, "replay") == {**settings(algorithm, "replay"), "batch_episodes": 7}
    other = configured("env=two_step", "algo=qmix_pymarl2", "mixer=vdn", "runner=episode")
    assert (settings(other, "mixer"), other.components["mixer"].option) == ({}, "vdn")
    assert settings(other, "learner") == settings(algorithm, "learner")
    keys = list(settings(algorithm, "mixer"))
    assert other.dropped == ("runner.n_envs (of runner=parallel)", *(f"mixer.{k} (of mixer=qmix)" for k in keys))


def test_an_experiment_beats_its_algorithm_and_the_command_line_beats_both(configured, pymarl2, tmp_path):
    text = """# @package _global_
defaults: [override /algo: qmix_pymarl2]
when_chosen: {replay: {uniform: {batch_episodes: 9}}, optimizer: {adam: {lr: 0.2}, rmsprop: {lr: 0.3}}}
"""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    mine = f"hydra.searchpath=['file://{tmp_path}']", "env=two_step", "experiment=mine"
    assert settings(pymarl2, "optimizer")["lr"] == 0.001
    config = configured(*mine)
    assert (config.algo, settings(config, "replay")["batch_episodes"], settings(config, "optimizer")["lr"]) == (
        "qmix_pymarl2",
        9,
        0.2,
    )
    assert settings(config, "learner")["td_lambda"] == 0.6  # what the experiment does not say is the algorithm's
    assert config.dropped == ("optimizer.lr (of optimizer=rmsprop)",)
    assert settings(configured(*mine, "optimizer=rmsprop"), "optimizer")["lr"] == 0.3
    said = configured(*mine, "optimizer.lr=0.4", "algo=vdn")
    assert (settings(said, "optimizer")["lr"], settings(said, "mixer")) == (0.4, {})


def test_a_setting_may_be_said_to_equal_another_and_is_saved_as_its_value(configured, console, tmp_path):
    config = configured("env=two_step", "selector.anneal_steps=${train.total_steps}", "train.total_steps=123")
    assert settings(config, "selector")["anneal_steps"] == 123
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    assert settings(load_saved(tmp_path, console), "selector")["anneal_steps"] == 123


def test_a_saved_configuration_is_changed_only_where_the_command_line_says_so(configured, pymarl2):
    saved = pymarl2
    said = ("env.steps=1", "agents=2", "eval.test_episodes=9", "train.total_steps=11", "logger=[console]", "threads=2")
    new = change(saved, configured("env=two_step", *said), said)
    assert settings(new, "env") == {**settings(saved, "env"), "steps": 1}
    assert (new.agents, new.threads, new.seed, new.algo) == (2, 2, 5, "qmix_pymarl2")
    assert (new.eval.episodes, new.eval.test_episodes) == (3, 9)
    assert new.train == replace(saved.train, total_steps=11)
    assert list(new.loggers) == ["console"]
    unchanged = [group for group in saved.components if group != "env"]
    assert all(new.components[group] == saved.components[group] for group in unchanged)


def test_a_saved_choice_is_replaced_by_another(configured, console):
    saved = console
    said = ("env=matrix_game", "env.steps=4", "runner=episode")
    new = change(saved, configured(*said), said)
    assert (new.components["env"].option, settings(new, "env")["steps"]) == ("matrix_game", 4)
    assert new.components["runner"].option == "episode"
    with pytest.raises(ConfigError, match=r"env\.rho: the run has env=two_step; say env=two_step or choose another"):
        change(saved, configured("env.rho=0.5"), ("env.rho=0.5",))


def test_a_setting_of_one_logger_leaves_the_others_as_they_were(configured, console):
    saved = console
    said = ("logger.console.progress=none",)
    new = change(saved, configured(*said), said)
    assert list(new.loggers) == ["console"]
    assert new.loggers["console"].settings == {**saved.loggers["console"].settings, "progress": "none"}
    said = ("logger=[tensorboard]", "logger.tensorboard.flush_s=1.0")
    new = change(saved, configured(*said), said)
    assert {name: dict(component.settings) for name, component in new.loggers.items()} == {
        "tensorboard": {"flush_s": 1.0}
    }


def test_every_option_of_a_group_can_be_read_alone():
    assert (option("policy", "sed").name, dict(option("policy", "sed").settings)) == ("dispatch", {"rule": "sed"})
    with pytest.raises(ConfigError, match="policy=sedd: there is no such option; did you mean 'sed'"):
        option("policy", "sedd")


# Algorithms run


def slow_without_new_parts():
    """The algorithms; slow are those whose every part is also chosen by one before them."""
    seen = set()
    for algo in sorted(options("algo")):
        parts = set(chosen_by(algo).items())
        yield pytest.param(algo, marks=[pytest.mark.slow] if parts <= seen else [])
        seen |= parts


@pytest.mark.parametrize("algo", [*slow_without_new_parts()])
def test_every_algorithm_trains_a_few_episodes_and_is_stored_under_its_name(hymarl, tmp_path, algo):
    small = "++when_chosen.replay.uniform.batch_episodes=4", "++when_chosen.replay.uniform.buffer_episodes=16"
    outcome = hymarl(tmp_path, *TINY, *small, "logger=[]", f"algo={algo}")
    assert outcome.code == 0, outcome.err
    (run,) = (tmp_path / "results" / "two_step" / algo).iterdir()
    assert (outcome.out, outcome.err) == (f"results: {run.relative_to(tmp_path)}\n", "")
    assert OmegaConf.load(run / "config.yaml").algo == algo
    with (run / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert int(rows[-1]["step"]) >= 32
    assert int(rows[-1]["updates"]) > 0
    assert all(math.isfinite(float(rows[-1][name])) for name in ("return_mean", "loss", "grad_norm"))


def test_the_header_says_what_does_not_apply(hymarl, tmp_path):
    outcome = hymarl(tmp_path, *TINY, "algo=qmix_pymarl2", "mixer=vdn", "hydra.run.dir=run", "logger=[console]")
    assert outcome.code == 0, outcome.err
    said = [line.split(maxsplit=2) for line in outcome.out.splitlines() if "values dropped" in line]
    assert said
    assert said[0][2].startswith("mixer.embed_dim (of mixer=qmix), mixer.hypernet_layers (of mixer=qmix), ")
    header = json.loads((tmp_path / "run" / "protocol.json").read_text())["header"]
    assert header["values_dropped"] == said[0][2]
    assert header["algorithm"] == "vdn (learner q, mixer vdn, network rnn)"


def test_groups_without_files_are_unknown():
    assert {*PACKAGES} <= {folder.name for folder in resources.files("hymarl.conf").iterdir()}

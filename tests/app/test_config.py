"""What a mistake on the command line or in a YAML file gets, and what a configuration means."""

import csv
import json
import math
import resource
import subprocess
import sys
from importlib import resources

import pytest
from hydra import compose, initialize_config_module
from omegaconf import open_dict

from hymarl.app.config import change, load_saved, option, read, to_yaml
from hymarl.app.directories import register_resolvers
from hymarl.registry import PACKAGES, ConfigError

TINY = (
    *("env=two_step", "logger=[]", "train.total_steps=48", "train.batch_episodes=4", "train.buffer_episodes=16"),
    *("train.log_interval_steps=16", "eval.episodes=2", "eval.test_episodes=2"),
)
MIXERS = "choose one of: none, qmix, vdn"
TRAIN = (
    "choose one of: batch_episodes, buffer_episodes, checkpoint_interval_steps, eval_interval_steps, "
    "keep_checkpoints, log_interval_steps, total_steps, updates_per_episode"
)
QMIX = "did you mean 'embed_dim'? choose one of: embed_dim, hypernet_dim, hypernet_layers, positive"
ROOT = "choose one of: agents, algo, check, controller, device, env, eval, evaluate, experiment, "

# What is typed after `python main.py`, and the answer; an answer that ends in … is longer.
MISTAKES = [
    # wrong option, misspelt group
    ("mixer=qmxi", f"mixer=qmxi: there is no such option; did you mean 'qmix'? {MIXERS}"),
    ("experiment=xyz", "experiment=xyz: there is no such option; choose one of: goal_swap, lb_base, …"),
    ("mixr=qmix", f"unknown key or group 'mixr'; did you mean 'mixer'? {ROOT}…"),
    ("+mixr=qmix", f"unknown key or group 'mixr'; did you mean 'mixer'? {ROOT}…"),
    # unknown key
    ("+seeed=1", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("+mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("train.total_step=3", f"train: unknown key 'total_step'; did you mean 'total_steps'? {TRAIN}"),
    ("eval.episode=3", "eval: unknown key 'episode'; did you mean 'episodes'? choose one of: checkpoint, …"),
    ("env=pettingzoo env.kwargs.x=3", "env.kwargs is empty: add 'x' to it with +env.kwargs.x=…"),
    # wrong type, missing value, wrong choice
    ("seed=abc", "the command line: seed has the wrong type: Value 'abc' of type 'str' could not be converted to …"),
    ("train.total_steps=???", "train: no value for total_steps; …"),
    ("env=pettingzoo", "env=pettingzoo: no value for entry_point; …"),
    ("mixer.positive=absolute", "mixer=qmix: positive=absolute is not a choice; did you mean 'abs'? choose one of: …"),
    # out of range
    ("train.total_steps=0", "train: total_steps must be at least 1, got 0"),
    ("train.updates_per_episode=inf", "train: updates_per_episode must be finite, got inf"),
    ("train.buffer_episodes=3", "train: batch_episodes=4 must not be above buffer_episodes=3, or learning would …"),
    ("train.buffer_episodes=1000000000000", "train: there is no memory for 1000000000000 episodes of replay, …"),
    ("eval.episodes=0", "eval: episodes must be at least 1 and at most 1,000,000, got 0"),
    ("seed=-1", "the command line: seed must be at least 0, got -1"),
    ("threads=0", "the command line: threads must be at least 1 and at most 256, got 0"),
    ("agents=100000", "the command line: agents must be at least 1 and at most 10,000, got 100000"),
    ("optimizer.lr=inf", "optimizer=adam: lr must be above 0 and at most 1, got inf"),
    ("network.hidden_dims=[[8]]", "network=rnn: hidden_dims[0] must be a whole number, got [8]"),
    ("network.rnn_dim=200000", "network=rnn: the network would take … GB of memory, of which"),
    ("device=nonsense", "device=nonsense cannot be used: Expected one of cpu, cuda, …"),
    ("learner.gamma=2", "learner=q: gamma and td_lambda must be in [0, 1], got 2.0 and 0.0"),
    ("runner.workers=9", "runner=parallel: workers must be between 0 and n_envs=8, got 9"),
    ("network.hidden_dims=[8,-3]", "network=rnn: hidden_dims[1] must be at least 1 and at most 1,000,000, got -3"),
    # not together
    ("agents=8", "env=two_step: agents=8, but the payoffs are for 2 agents (they nest 2 times)"),
    ("env.individual_rewards=true", "mixer=qmix learns one joint value from a common reward, but this environment …"),
    ("network=entity", "network=entity fits any number of agents, so it cannot take the agent's id; set controller…"),
    ("network=entity controller.agent_id=false", "network=entity needs an observation that lists entities, which …"),
    ("policy=sed", "policy=sed places flows in a load-balancing environment, which this is not; choose env=loadb…"),
    # not an override, or not of a group
    ("mixer", "cannot read 'mixer': an override reads key=value"),
    ("init_from=a=b", "cannot read 'init_from=a=b': a value with unusual characters needs quotes inside the shell's…"),
    ("~train", "train: this must be a section with keys of its own, got None"),
    # presets
    ("+preset.mixer.qmixx.embed_dim=3", f"preset.mixer: unknown key 'qmixx'; did you mean 'qmix'? {MIXERS}"),
    ("+preset.mixer.qmix.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    # not a run
    ("resume=nowhere", "nowhere is not a run directory: it has no config.yaml"),
    ("evaluate=nowhere", "nowhere is not a run directory: it has no config.yaml"),
    ("init_from=nowhere", "nowhere holds no checkpoints; give a run directory or a .pt file of its checkpoints/"),
]
# The same kinds of mistakes in other places.
MORE_MISTAKES = [
    ("algo=qmixx", "algo=qmixx: there is no such option; did you mean 'qmix'? choose one of: iql, qmix, …"),
    ("logger=consol", "logger=consol: there is no such option; did you mean 'console'? choose one of: console, …"),
    ("logger=[consol]", "logger=consol: there is no such option; did you mean 'console'? choose one of: console, …"),
    ("env=two/step", "env=two/step: there is no such option; did you mean 'two_step'? choose one of: climbing, …"),
    ("seeed=1", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("++mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("mixer=vdn mixer.embed_dim=3", "mixer=vdn: unknown key 'embed_dim'; there is nothing to choose from"),
    ("+train.total_step=3", f"train: unknown key 'total_step'; did you mean 'total_steps'? {TRAIN}"),
    ("logger=console logger.console.shows=[]", "logger=console: unknown key 'shows'; did you mean 'show'? …"),
    ("env=lbf env.kwargs=3", "env=lbf: kwargs has the wrong type: Cannot … (expected dict[str, Any] | None)"),
    ("mixer.embed_dim=1.5", "mixer=qmix: embed_dim has the wrong type: Value '1.5' of type 'float' could not be …"),
    ("optimizer.betas=3", "optimizer=adam: betas has the wrong type: … (expected list[float])"),
    ("learner.double_q=maybe", "learner=q: double_q has the wrong type: Value 'maybe' is not a valid bool …"),
    ("train.total_steps=null", "train: total_steps has the wrong type: Incompatible value 'None' … (expected int)"),
    ("eval.checkpoint=first", "eval: checkpoint=first is not a choice; choose one of: best, last"),
    ("mixer.embed_dim=${nope}", "Interpolation key 'nope' not found"),
    ("train.keep_checkpoints=0", "train: keep_checkpoints must be at least 1, got 0"),
    ("train.updates_per_episode=-1", "train: updates_per_episode must be a number from 0 on, got -1.0"),
    ("eval.test_episodes=0", "eval: test_episodes must be at least 1 and at most 1,000,000, got 0"),
    ("eval.seed=-1", "eval: seed must be at least 0, got -1"),
    ("device=meta", "device=meta cannot be used: …"),
    ("learner.grad_clip=-1", "learner=q: grad_clip must be positive, or null for none; got -1.0"),
    ("learner.huber_delta=0", "learner=q: huber_delta must be positive, or null for squared errors; got 0.0"),
    ("runner.n_envs=0", "runner=parallel: n_envs must be at least 1, got 0"),
    ("mixer.embed_dim=0", "mixer=qmix: embed_dim must be at least 1 and at most 1,000,000, got 0"),
    ("mixer.embed_dim=1000000 mixer.hypernet_dim=1000000", "mixer=qmix: the mixer would take … GB of memory, of which"),
    ("env=loadbalance network.hidden_dim=0", "network=entity: hidden_dim must be at least 1 and at most 1,000,000, …"),
    ("controller.sharing=grouped", "controller=mac: groups goes together with sharing=grouped: give both or neither"),
    ("mixer=null", "an option is chosen by its name, as in mixer=none or logger=[console]; null and numbers are …"),
    ("env=[two_step]", "env: choose one option by its name"),
    ("eval=3", "eval: this must be a section with keys of its own, got 3"),
    ("seed=1,2", "Ambiguous value for argument 'seed=1,2' …"),
    ("+preset.mixr.qmix.embed_dim=3", "preset: unknown key 'mixr'; did you mean 'mixer'? choose one of: …"),
    ("+preset.mixer.qmix=3", "preset.mixer.qmix: values are written as preset.<group>.<option>.<key>, got 3"),
    ("resume=", ". is not a run directory: it has no config.yaml"),
]


def assert_refused(outcome, sentence, directory):
    start, _, end = sentence.partition("…") if "…" in sentence else (sentence + "\n", "", "")
    assert outcome.code == 2, outcome.err
    assert outcome.err.startswith(start), outcome.err
    assert end.lstrip() in outcome.err
    assert outcome.err.count("\n") == 1
    assert outcome.out == ""
    assert not any(directory.iterdir())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        *(pytest.param(*mistake, id=mistake[0]) for mistake in MISTAKES),
        *(pytest.param(*mistake, id=mistake[0], marks=pytest.mark.slow) for mistake in MORE_MISTAKES),
    ],
)
def test_a_mistake_is_answered_in_one_sentence_and_leaves_nothing(hymarl, tmp_path, arguments, sentence):
    assert_refused(hymarl(tmp_path, *TINY, *arguments.split(" ")), sentence, tmp_path)


# Lines of a YAML file of the user's own and what they get.
WRONG_FILES = [
    (
        *("env", "defaults: [two_step, _self_]\nstepz: 3"),
        *("env=mine: unknown key 'stepz'; did you mean 'steps'? choose one of: individual_rewards, next_state, …",),
    ),
    (
        "mixer",
        "name: qmix\nembed_dim: 8\npositive: abs\nhypernet_layers: 1",
        "mixer=mine: no value for hypernet_dim; …",
    ),
    ("mixer", "embed_dim: 8", "mixer=mine: its YAML file needs a line 'name: <registered name>'"),
    ("mixer", "name: qmx", f"mixer: there is no 'qmx'; did you mean 'qmix'? {MIXERS}"),
    ("mixer", "name: elsewhere.nothing", "mixer: there is no module 'elsewhere.nothing' to import; …"),
    ("mixer", "name: json.decoder", "mixer: json.decoder must have exactly one class marked @register('mixer'), it …"),
    ("mixer", "- name", "mixer: this must be a section with keys of its own, got ['name']"),
    ("mixer", "name: [", "while parsing a flow …"),
    ("algo", "# @package _global_\npreset: {learner: {q: {gama: 1}}}", "learner=q: unknown key 'gama'; did you mean …"),
    ("algo", "# @package _global_\ntrain: {steps: 3}", "train: unknown key 'steps'; did you mean 'total_steps'? …"),
    ("algo", "# @package _global_\nseeed: 3", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("algo", "# @package _global_\ndefaults: [{override /mixer: qmxi}]", "mixer=qmxi: there is no such option; …"),
]


@pytest.mark.parametrize(("group", "text", "sentence"), WRONG_FILES)
def test_a_mistake_in_a_file_is_answered_in_one_sentence(hymarl, tmp_path, group, text, sentence):
    (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    (tmp_path / "here").mkdir()
    outcome = hymarl(tmp_path / "here", f"hydra.searchpath=['file://{tmp_path}/conf']", *TINY, f"{group}=mine")
    assert_refused(outcome, sentence, tmp_path / "here")


@pytest.mark.parametrize("arguments", [["mixer=qmxi"], ["mixer=vdn", "+mixer.embed_dim=3"]])
def test_the_traceback_of_a_mistake_can_be_asked_for(hymarl, tmp_path, arguments):
    outcome = hymarl(tmp_path, *TINY, *arguments, HYDRA_FULL_ERROR="1")
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.err
    assert not any(tmp_path.iterdir())
    assert "Traceback" not in hymarl(tmp_path, *TINY, *arguments).err  # it was for that call only


def cpu_seconds(*command):
    """Of a process, with its exit code and what it wrote."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, done


@pytest.fixture(scope="module")
def importing_torch():
    """CPU seconds: what a slow or busy machine is measured by."""
    return cpu_seconds("-c", "import torch")[0]


def test_a_mistake_costs_little_beside_importing_torch(tmp_path, importing_torch):
    directory = f"hydra.run.dir={tmp_path}/run"
    cost, done = cpu_seconds("-m", "hymarl", directory, "network.rnn_dim=abc", "network=rnn")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("network=rnn: rnn_dim has the wrong type")
    assert not any(tmp_path.iterdir())
    assert cost < 3 * importing_torch  # 1.5 to 1.8 times as much was seen


def test_help_and_misspelt_options_import_nothing_heavy(importing_torch):
    code = """
import sys
from hymarl.main import main
for argument in ("--help", "mixer=qmxi", "mixer.embed_dimm=3"):
    sys.argv = ["main.py", argument]
    try:
        main()
    except SystemExit as end:
        print("\\nended with", end.code, {"torch", "numba", "matplotlib", "wandb", "sacred", "pandas"} & {*sys.modules})
"""
    cost, done = cpu_seconds("-c", code)
    lines = done.stdout.splitlines()
    assert [line for line in lines if line.startswith("ended with")] == [f"ended with {n} set()" for n in (0, 2, 2)]
    assert "mixer: none, qmix, vdn" in lines
    assert cost < 1.5 * importing_torch  # 0.5 to 0.8 times as much was seen, for all three


# What a configuration means


@pytest.fixture(scope="session")
def configured():
    """The checked configuration of a command line, and what of it was said there."""
    register_resolvers()

    def compose_and_read(*overrides):
        with initialize_config_module("hymarl.conf", version_base="1.3"):
            cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
            choices = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg["hydra"]
            return read(cfg, choices, overrides)

    return compose_and_read


def settings(config, group):
    return config.components[group].settings


def test_the_command_line_beats_a_preset_in_values_and_choices(configured):
    preset = configured("env=two_step", "algo=qmix_pymarl2")
    assert (settings(preset, "learner")["td_lambda"], settings(preset, "optimizer")["lr"]) == (0.6, 0.001)
    assert (preset.train["batch_episodes"], preset.dropped) == (128, ())
    said = configured("env=two_step", "algo=qmix_pymarl2", "learner.td_lambda=0.3", "train.batch_episodes=7")
    assert settings(said, "learner") == {**settings(preset, "learner"), "td_lambda": 0.3}
    assert said.train == {**preset.train, "batch_episodes": 7}
    other = configured("env=two_step", "algo=qmix_pymarl2", "mixer=vdn", "runner=episode")
    assert (settings(other, "mixer"), other.components["mixer"].option) == ({}, "vdn")
    assert settings(other, "learner") == settings(preset, "learner")
    keys = list(settings(preset, "mixer"))
    assert other.dropped == ("runner.n_envs (of runner=parallel)", *(f"mixer.{k} (of mixer=qmix)" for k in keys))


def test_an_experiment_beats_its_algorithm_and_the_command_line_beats_both(configured, tmp_path):
    text = """# @package _global_
defaults: [override /algo: qmix_pymarl2]
preset: {optimizer: {adam: {lr: 0.2}, rmsprop: {lr: 0.3}}}
train: {batch_episodes: 9}"""
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "mine.yaml").write_text(text)
    mine = f"hydra.searchpath=['file://{tmp_path}']", "env=two_step", "experiment=mine"
    assert settings(configured("env=two_step", "algo=qmix_pymarl2"), "optimizer")["lr"] == 0.001
    config = configured(*mine)
    assert (config.algo, config.train["batch_episodes"], settings(config, "optimizer")["lr"]) == (
        "qmix_pymarl2",
        9,
        0.2,
    )
    assert settings(config, "learner")["td_lambda"] == 0.6  # what the experiment does not say is the algorithm's
    assert config.dropped == ("optimizer.lr (of optimizer=rmsprop)",)
    assert settings(configured(*mine, "optimizer=rmsprop"), "optimizer")["lr"] == 0.3
    assert settings(configured(*mine, "optimizer.lr=0.4"), "optimizer")["lr"] == 0.4
    assert settings(configured(*mine, "algo=vdn"), "mixer") == {}


def files(group):
    return sorted(f.name.removesuffix(".yaml") for f in (resources.files("hymarl.conf") / group).iterdir())


@pytest.mark.parametrize(
    "overrides", [[f"experiment={e}"] for e in files("experiment")] + [["algo=qmix_epymarl"]], ids=str
)
def test_a_saved_configuration_is_read_back_as_it_was(configured, tmp_path, overrides):
    config = configured(*overrides, "seed=7", "optimizer.eps=1.0e-8", "logger=[console]", "eval.references=false")
    assert (config.seed, config.eval.references, list(config.loggers)) == (7, False, ["console"])
    (tmp_path / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    saved = load_saved(tmp_path)
    assert saved.plain() == config.plain()
    assert saved.components == config.components


def test_values_may_refer_to_one_another(configured):
    config = configured("env=two_step", "selector.anneal_steps=${train.total_steps}", "train.total_steps=123")
    assert settings(config, "selector")["anneal_steps"] == 123


@pytest.mark.parametrize("text", ["x: 1", "- 1", "a: [", "algo: qmix", ""])
def test_a_file_that_is_no_saved_configuration_is_refused(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"config\.yaml is not the configuration of a run"):
        load_saved(tmp_path)


def test_a_saved_configuration_is_changed_only_where_the_command_line_says_so(configured):
    saved = configured("env=two_step", "algo=qmix_pymarl2", "seed=5", "eval.episodes=3", "logger=[]")
    said = ("env.steps=1", "agents=2", "eval.test_episodes=9", "train.total_steps=11", "logger=[console]", "threads=2")
    new = change(saved, configured("env=two_step", *said), said)
    assert settings(new, "env") == {**settings(saved, "env"), "steps": 1}
    assert (new.agents, new.threads, new.seed, new.algo) == (2, 2, 5, "qmix_pymarl2")
    assert (new.eval.episodes, new.eval.test_episodes) == (3, 9)
    assert new.train == {**saved.train, "total_steps": 11}
    assert list(new.loggers) == ["console"]
    unchanged = [group for group in saved.components if group != "env"]
    assert all(new.components[group] == saved.components[group] for group in unchanged)


def test_a_saved_choice_is_replaced_by_another(configured):
    saved = configured("env=two_step", "logger=[]")
    said = ("env=matrix_game", "env.steps=4", "runner=episode")
    new = change(saved, configured(*said), said)
    assert (new.components["env"].option, settings(new, "env")["steps"]) == ("matrix_game", 4)
    assert new.components["runner"].option == "episode"
    with pytest.raises(ConfigError, match=r"env\.rho: the run has env=two_step; say env=two_step or choose another"):
        change(saved, configured("env.rho=0.5"), ("env.rho=0.5",))


def test_a_setting_of_one_logger_leaves_the_others_as_they_were(configured):
    saved = configured("env=two_step", "logger=[console]")
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


# Presets run


@pytest.mark.parametrize("algo", files("algo"))
def test_every_algorithm_trains_a_few_episodes(hymarl, tmp_path, algo):
    outcome = hymarl(tmp_path, *TINY, f"algo={algo}", "hydra.run.dir=run")
    assert outcome.code == 0, outcome.err
    assert (outcome.out, outcome.err) == ("", "")
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["16", "32", "48"]
    assert int(rows[-1]["updates"]) > 0
    assert all(math.isfinite(float(rows[-1][name])) for name in ("return_mean", "loss", "grad_norm", "q_taken_mean"))


def test_the_header_says_what_a_preset_could_not_apply(hymarl, tmp_path):
    outcome = hymarl(tmp_path, *TINY, "algo=qmix_pymarl2", "mixer=vdn", "hydra.run.dir=run", "logger=[console]")
    assert outcome.code == 0, outcome.err
    said = [line.split(maxsplit=2) for line in outcome.out.splitlines() if "dropped presets" in line]
    assert said
    assert said[0][2].startswith("mixer.embed_dim (of mixer=qmix), mixer.hypernet_layers (of mixer=qmix), ")
    header = json.loads((tmp_path / "run" / "protocol.json").read_text())["header"]
    assert header["dropped_presets"] == said[0][2]
    assert header["algorithm"] == "qmix_pymarl2 (learner q, mixer vdn, network rnn)"


def test_groups_without_files_are_unknown():
    assert {*PACKAGES} <= {folder.name for folder in resources.files("hymarl.conf").iterdir()}

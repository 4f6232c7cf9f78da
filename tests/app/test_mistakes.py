"""What a mistake on the command line or in a YAML file gets."""

import re
import subprocess
import sys
from importlib import resources

import pytest
from hydra import compose, initialize_config_module

from hymarl.app.config import known_at_the_top, option
from hymarl.app.names import unknown_key
from hymarl.app.options import WITHOUT_SECTION
from hymarl.registry import PACKAGES, ConfigError, find, parameters
from hymarl.training.settings import TrainingSettings

TINY = (
    *("env=two_step", "logger=[]", "train.total_steps=48", "replay.batch_episodes=4", "replay.buffer_episodes=16"),
    *("train.log_interval_steps=16", "eval.episodes=2", "eval.test_episodes=2"),
)


def options(group):
    """What can be chosen of a group, in alphabetical order."""
    return sorted(file.name.removesuffix(".yaml") for file in (resources.files("hymarl.conf") / group).iterdir())


def choices(group):
    """The end of a sentence about an option that does not exist."""
    return "choose one of: " + ", ".join(options(group))


TRAIN = "choose one of: " + ", ".join(sorted(parameters(TrainingSettings)))
QMIX = "did you mean 'embed_dim'? choose one of: " + ", ".join(sorted(parameters(find("mixer", "qmix"))))
SOME = {group: next(name for name in options(group) if name != "none") for group in PACKAGES}
"""An option of each group, as messages give one."""
NO_OVERRIDE = "an override reads key=value; python main.py --help says what can be typed"
ROOT = "choose one of: agents, algo, check, controller, "

# What is typed after `python main.py`, and the answer; an answer that ends in … is longer.
MISTAKES = [
    # wrong option, misspelt group
    ("mixer=qmxi", f"mixer=qmxi: there is no such option; did you mean 'qmix'? {choices('mixer')}"),
    ("experiment=xyz", f"experiment=xyz: there is no such option; {choices('experiment')}"),
    ("mixr=qmix", f"unknown key or group 'mixr'; did you mean 'mixer'? {ROOT}…"),
    # unknown key
    ("mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("env=pettingzoo env.kwargs.x=3", "env.kwargs is empty: add 'x' to it with +env.kwargs.x=…"),
    # wrong type, missing value, wrong choice
    ("seed=abc", "the command line: seed has the wrong type: Value 'abc' of type 'str' could not be converted to …"),
    ("train.total_steps=???", "train: no value for total_steps; …"),
    ("env=pettingzoo", "env=pettingzoo: no value for entry_point; give one: env.entry_point=…"),
    ("mixer.positive=absolute", "mixer=qmix: positive=absolute is not a choice; did you mean 'abs'? choose one of: …"),
    # out of range
    ("train.total_steps=0", "train: total_steps must be at least 1, got 0"),
    ("replay.buffer_episodes=3", "replay=uniform: batch_episodes=4 must not be above buffer_episodes=3, or learn…"),
    (
        "env=loadbalance replay.buffer_episodes=1000000000",
        "replay=uniform: replay of 1000000000 episodes would take … GB of memory, of which ",
    ),
    ("device=gpu", "device=gpu is no device; choose cpu, cuda or cuda:1"),
    ("network.hidden_dims=[8,-3]", "network=rnn: hidden_dims[1] must be at least 1, got -3"),
    # not together
    ("agents=8", "env=two_step: agents=8, but the payoffs are for 2 agents (they nest 2 times)"),
    ("env.individual_rewards=true", "mixer=qmix learns one joint value from a common reward, but this environment …"),
    ("network=entity", "network=entity fits any number of agents, so it cannot take the agent's id; set controller…"),
    ("network=entity controller.agent_id=false", "network=entity needs an observation that lists entities, which …"),
    ("policy=sed", "policy=sed is played by the environment itself, by its settings rule and random_levels, …"),
    ("policy=parameter_noise selector=greedy", "policy=parameter_noise: without a distance its target is that of an …"),
    # not an override, or not of a group
    ("mixer", f"cannot read 'mixer': {NO_OVERRIDE}"),
    ("env==two_step", "cannot read 'env==two_step': an override has one =, as in env=two_step"),
    ("init_from=a=b", "cannot read 'init_from=a=b': a value with unusual characters needs quotes inside the shell's…"),
    ("~train", "train: this must be a section with keys of its own, got None"),
    # values that apply while an option is chosen
    (
        "+when_chosen.mixer.qmixx.embed_dim=3",
        "when_chosen.mixer: unknown key 'qmixx'; did you mean 'qmix'? choose one of: any, …",
    ),
    (
        "when_chosen.mixer.qmix.embed_dim=3",
        "when_chosen.mixer.qmix.embed_dim: there is no such value yet; add it with +when_chosen.mixer.qmix.embed_dim=…"
        ", or give the setting itself: mixer.embed_dim=",
    ),
    ("when_chosen.mixr.qmix.embed_dim=3", "when_chosen: unknown key 'mixr'; did you mean 'mixer'? choose one of: …"),
    # loggers are chosen before they have settings
    (
        "logger=[console] logger.wandb.project=x",
        "logger.wandb: wandb is not chosen; choose it with logger=[console,wandb]",
    ),
    (
        "logger=[console] logger.level=DEBUG",
        "logger: there is no 'level', settings belong to one logger: logger.console.…; choose one of: console",
    ),
    (
        "logger=[console] logger.console=false",
        "logger.console=false: loggers are chosen by their names, as in logger=[console]",
    ),
    # not a run
    ("resume=nowhere", "nowhere is not a run directory: it does not exist"),
    ("resume=true", "resume=true: give the directory of a run: resume=results/…"),
    ("resume=", "resume is empty; give the directory of a run: resume=results/…"),
    ("init_from=", "the command line: init_from is empty; give a path, or null"),
    # options and modules are names
    (
        "algo=[qmix,vdn]",
        f"algo=[qmix,vdn]: one option is chosen by its name, as in algo={min(options('algo'))}; one run for each is …",
    ),
    ("env=../../conf/env/two_step", "env=../../conf/env/two_step: there is no such option; did you mean 'two_step'? …"),
    ("-m mixer=vdn,../mixer/qmix", f"mixer=../mixer/qmix: there is no such option; {choices('mixer')}"),
    ("mixer=3", f"mixer=3: one option is chosen by its name, as in mixer={SOME['mixer']}; nothing is mixer=none"),
    ("mixer.name=../x", "mixer: '../x' is not the name of a module; write it with dots: my_package.my_module"),
    ("~mixer", "~mixer: a group cannot be left out; nothing is mixer=none"),
    ("~env.payoffs", "~env.payoffs: a setting cannot be left out; give it another value: env.payoffs=…"),
    # settings that are elsewhere, or have another name in PyMARL
    ("lr=0.001", "unknown key or group 'lr'; did you mean 'optimizer.lr'?"),
    ("env=sc2", "env=sc2: there is no such option; PyMARL's sc2 is env=smac here"),
    ("optimizer.learning_rate=1", "optimizer=adam: unknown key 'learning_rate'; it is 'optimizer.lr' here"),
    # of Hydra
    ("hydra.mode=nope", "hydra.mode=nope: Invalid value 'nope', expected one of [RUN, MULTIRUN]"),
    ("hydra.output_subdir=''", "hydra.output_subdir=: give the name of a folder, or null for none"),
    ("hydra.searchpath=[/nope]", "hydra.searchpath: there is no /nope"),
    (
        "hydra/launcher=rq -m seed=1,2",
        "hydra/launcher=rq needs another package: pip install hydra-rq-launcher",
    ),
    ("report.by=[mixer]", "report.by is about a report; say of which runs: report.runs=[results/…]"),
    ("-m report.runs=[a] seed=1,2", "report.runs: a report is not a job of a sweep; leave out -m"),
    ("dashboard.title=x", "dashboard.title is about a dashboard; say of which runs: dashboard.runs=[results/…]"),
    ("sweep.name=a", "sweep.name is about a sweep; add -m, and several values of a setting"),
    ("--nope", "unrecognized arguments: --nope; python main.py --help says what can be typed"),
    ("seed=-1 hydra.job.chdir=true", "the command line: seed must be at least 0, got -1"),
    ("init_from=nowhere", "nowhere does not exist; give a run directory or a .pt file of its checkpoints/"),
    ("optimizer.lr_of={mixr:0.1}", "learner=q: optimizer.lr_of: no network 'mixr' is trained; did you mean 'mixer'? …"),
    # Hydra's logging, which it sets up after it has made the job's folder
    ("+hydra.job_logging.root=-1", "hydra.job_logging: Unable to configure root logger"),
    ("hydra.verbose=3", "hydra.verbose: give true, false, the name of a logger, or a list of names"),
    (r"++hydra.verbose=\${seed}", "hydra.verbose: give true, false, the name of a logger, or a list of names"),
]
# The same kinds of mistakes in other places.
MORE_MISTAKES = [
    ("env.mixer=qmix", "env=two_step: unknown key 'mixer'; it stands at the top: mixer=…"),
    ("env=mpe env.N=1", "env=mpe: unknown key 'N'; an argument of … +env.kwargs.N=…"),
    ("env=smac env.map_name=3m", "env=smac: unknown key 'map_name'; did you mean 'env.kwargs.map_name'?"),
    ("learner.lr=0.001", "learner=q: unknown key 'lr'; did you mean 'optimizer.lr'?"),
    ("+seeed=1", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("+mixr=qmix", f"unknown key or group 'mixr'; did you mean 'mixer'? {ROOT}…"),
    ("+mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("train.total_step=3", f"train: unknown key 'total_step'; did you mean 'total_steps'? {TRAIN}"),
    ("eval.episode=3", "eval: unknown key 'episode'; did you mean 'episodes'? choose one of: checkpoint, …"),
    ("replay.updates_per_episode=inf", "replay=uniform: updates_per_episode must be finite, got inf"),
    ("eval.episodes=0", "eval: episodes must be at least 1, got 0"),
    ("threads=0", "the command line: threads must be at least 1, got 0"),
    ("learner.gamma=2", "learner=q: gamma must be at most 1, got 2.0"),
    ("runner.workers=9", "runner=parallel: workers must be at most n_envs=8, got 9"),
    ("+when_chosen.mixer.qmix.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("evaluate=nowhere", "nowhere is not a run directory: it does not exist"),
    ("mixer=qmix.yaml", f"mixer=qmix.yaml: there is no such option; did you mean 'qmix'? {choices('mixer')}"),
    ("mixer=QMIX", f"mixer=QMIX: there is no such option; did you mean 'qmix'? {choices('mixer')}"),
    ("+learner.lr=0.001", "learner=q: unknown key 'lr'; did you mean 'optimizer.lr'?"),
    ("env=mpe env.metrisc=1", "env=mpe: unknown key 'metrisc'; did you mean 'metrics'? choose one of: …"),
    ("+preset.mixer.qmix.embed_dim=3", "preset is called when_chosen now"),
    ("algo=qmixx", f"algo=qmixx: there is no such option; did you mean 'qmix'? {choices('algo')}"),
    ("logger=consol", f"logger=consol: there is no such option; did you mean 'console'? {choices('logger')}"),
    ("logger=[consol]", f"logger=consol: there is no such option; did you mean 'console'? {choices('logger')}"),
    ("env=two/step", "env=two/step: there is no such option; did you mean 'two_step'? There are …"),
    ("seeed=1", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("++mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("mixer=vdn mixer.embed_dim=3", "mixer=vdn has no settings, so no 'embed_dim'"),
    ("mixer=vdn mixer.gamma=1", "mixer=vdn has no settings, so no 'gamma'; did you mean 'learner.gamma'?"),
    ("+train.total_step=3", f"train: unknown key 'total_step'; did you mean 'total_steps'? {TRAIN}"),
    ("logger=console logger.console.shows=[]", "logger=console: unknown key 'shows'; did you mean 'show'? …"),
    ("env=lbf env.kwargs=3", "env=lbf: kwargs has the wrong type: Cannot … (expected dict[str, Any] | None)"),
    ("mixer.embed_dim=1.5", "mixer=qmix: embed_dim has the wrong type: Value '1.5' of type 'float' could not be …"),
    ("optimizer.betas=3", "optimizer=adam: betas has the wrong type: … (expected list[float])"),
    ("learner.double_q=maybe", "learner=q: double_q has the wrong type: Value 'maybe' is not a valid bool …"),
    ("train.total_steps=1e6", "train: total_steps has the wrong type: … (expected int); write 1000000"),
    ("render=mp4", "the command line: render=mp4 is not a choice; choose one of: gif, null, terminal"),
    ("train.total_steps=null", "train: total_steps has the wrong type: Incompatible value 'None' … (expected int)"),
    ("eval.checkpoint=first", "eval: checkpoint=first is not a choice; choose one of: best, last"),
    ("mixer.embed_dim=${nope}", "mixer.embed_dim: Interpolation key 'nope' not found"),
    ("train.keep_checkpoints=0", "train: keep_checkpoints must be at least 1, got 0"),
    ("replay.updates_per_episode=-1", "replay=uniform: updates_per_episode must be at least 0, got -1.0"),
    ("eval.test_episodes=0", "eval: test_episodes must be at least 1, got 0"),
    ("eval.seed=-1", "eval: seed must be at least 0, got -1"),
    ("device=meta", "device=meta cannot be used: …"),
    ("learner.grad_clip=-1", "learner=q: grad_clip must be above 0, got -1.0"),
    ("learner.huber_delta=0", "learner=q: huber_delta must be above 0, got 0.0"),
    ("runner.n_envs=0", "runner=parallel: n_envs must be at least 1, got 0"),
    ("mixer.embed_dim=0", "mixer=qmix: embed_dim must be at least 1, got 0"),
    ("mixer.hypernet_dim=0", "mixer=qmix: hypernet_dim must be at least 1, got 0"),
    ("network.rnn_dim=0", "network=rnn: rnn_dim must be at least 1, got 0"),
    ("env=loadbalance network.hidden_dim=0", "network=entity: hidden_dim must be at least 1, got 0"),
    ("network=mlp network.hidden_dims=[0]", "network=mlp: hidden_dims[0] must be at least 1, got 0"),
    ("controller.sharing=grouped", "controller=mac: groups goes together with sharing=grouped: give both or neither"),
    ("mixer=null", f"mixer=null: one option is chosen by its name, as in mixer={SOME['mixer']}; nothing is mixer=none"),
    ("experiment=null", "experiment=null: one option is chosen by its name, as in experiment=goal_swap; none is ~exp…"),
    ("logger=null", "logger=null: one option is chosen by its name, as in logger=[console]; none is logger=[]"),
    ("env=[two_step]", "env=[two_step]: one option is chosen by its name, as in env=climbing; …"),
    ("~env", "~env: a group cannot be left out"),
    ("mixer.name=.x", "mixer: '.x' is not the name of a module; write it with dots: my_package.my_module"),
    ("mixer.name=a/b", f"mixer: there is no 'a/b'; {choices('mixer')}"),
    ("train.steps=3", "train: unknown key 'steps'; did you mean 'total_steps' or 'env.steps'?"),
    ("env=smac env_args.map_name=3m", "unknown key or group 'env_args.map_name'; did you mean 'env.kwargs.map_name'?"),
    ("env=smac env.kwargs.map_nam=3m", "env.kwargs: unknown key 'map_nam'; did you mean 'map_name'? …"),
    ("env=loadbalance env.rhoo=1", "env=loadbalance: unknown key 'rhoo'; did you mean 'rho'? There are …"),
    ("env=loadbalance env.trace=", "env=loadbalance: trace is empty; give a path, or null"),
    ("env=loadbalance env.mixed_dwell={a:1}", "env.mixed_dwell={a:1}: Cannot merge section with list"),
    ("optimizer.eps='${'", "optimizer.eps='${': no viable alternative at input '${'"),
    ("+algo.x=3", "algo has no settings of its own; one is chosen by its name, as in algo=…"),
    ("preset.mixer.qmix.embed_dim=3", "preset is called when_chosen now"),
    ("+when_chosen.learner.any.gama=3", "when_chosen.learner.any: no learner has a setting 'gama'; did you mean 'gam…"),
    ("hydra=3", "hydra=3: settings of Hydra have longer names, as in hydra.run.dir=…"),
    ("hydra/launcher=3", "hydra/launcher=3: one option is chosen by its name; --hydra-help lists them"),
    ("check=${check}", "check=${check}: check refers to itself"),
    ("logger.wandb.project=x", "logger.wandb: wandb is not chosen; choose it with logger=[wandb]"),
    (
        "logger=[console] +logger.wandb.project=x",
        "logger.wandb: wandb is not chosen; choose it with logger=[console,wandb]",
    ),
    ("hydra/nope=x", "hydra/nope: Hydra has no such group; --hydra-help lists those it has"),
    ("hydra/sweeper=optuna", "hydra/sweeper=optuna needs another package: pip install hydra-optuna-sweeper"),
    ("hydra.job.env_copy=[NOPE_X]", "hydra.job.env_copy: there is no environment variable 'NOPE_X'"),
    ("=3", f"cannot read '=3': {NO_OVERRIDE}"),
    ("help", f"cannot read 'help': {NO_OVERRIDE}"),
    ("eval=3", "eval: this must be a section with keys of its own, got 3"),
    ("seed=1,2", "seed=1,2: several values are a sweep: -m seed=1,2"),
    ("seed=range(1,3)", "seed=range(1,3): several values are a sweep: -m seed=range(1,3)"),
    ("+when_chosen.mixr.qmix.embed_dim=3", "when_chosen: unknown key 'mixr'; did you mean 'mixer'? choose one of: …"),
    (
        "+when_chosen.mixer.qmix=3",
        "when_chosen.mixer.qmix: values are written as when_chosen.<group>.<option>.<key>, got 3",
    ),
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


@pytest.fixture(scope="module")
def composed():
    """What the command line of two_step composes to."""
    with initialize_config_module("hymarl.conf", version_base="1.3"):
        return compose("config", overrides=["env=two_step", "logger=[]"])


@pytest.mark.parametrize(
    ("typed", "answer"),
    [
        ("gamma", "did you mean 'learner.gamma'?"),
        ("total_steps", "did you mean 'train.total_steps'?"),
        ("steps", "did you mean 'train.total_steps' or 'env.steps'?"),
        ("t_max", "it is 'train.total_steps' here"),
        ("learning_rate", "it is 'optimizer.lr' here"),
        ("use_wandb", "it is 'logger=[wandb]' here"),
        ("wandb.project", "it is 'logger=[wandb]' here"),
    ],
)
def test_what_is_meant_by_a_name_of_another_place_or_program(composed, typed, answer):
    assert unknown_key(typed, known_at_the_top(), composed) == f"unknown key or group {typed!r}; {answer}"


@pytest.mark.parametrize(
    ("typed", "known", "answer"),
    [
        ("learner.lr", ["gamma"], ": unknown key 'lr'; did you mean 'optimizer.lr'?"),
        ("train.steps", ["total_steps"], ": unknown key 'steps'; did you mean 'total_steps' or 'env.steps'?"),
        ("optimizer.learning_rate", ["lr"], ": unknown key 'learning_rate'; it is 'optimizer.lr' here"),
        ("env.mixer", ["steps"], ": unknown key 'mixer'; it stands at the top: mixer=…"),
        (
            "env.N",
            ["kwargs", "metrics"],
            ": unknown key 'N'; an argument of its class is given as +env.kwargs.N=…; choose one of: kwargs, metrics",
        ),
        ("mixer.gamma", [], " has no settings, so no 'gamma'; did you mean 'learner.gamma'?"),
        ("mixer.none", [], " has no settings, so no 'none'"),
    ],
)
def test_what_is_meant_by_a_setting_of_another_section(composed, typed, known, answer):
    assert unknown_key(typed, known, composed, "this=that") == f"this=that{answer}"


# Lines of a YAML file of the user's own and what they get.
WRONG_FILES = [
    (
        *("env", "defaults: [two_step, _self_]\nstepz: 3"),
        *("env=mine: unknown key 'stepz'; did you mean 'steps'? choose one of: individual_rewards, next_state, …",),
    ),
    ("mixer", "name: qmx", f"mixer: there is no 'qmx'; did you mean 'qmix'? {choices('mixer')}"),
    ("mixer", "- name", "mixer: this must be a section with keys of its own, got ['name']"),
    ("mixer", "name: [", "mixer/mine.yaml cannot be read: while parsing a flow …"),
    (
        "mixer",
        "defaults: [mine]\nname: qmix",
        "mixer/mine.yaml cannot be read: it refers to itself, or is nested too …",
    ),
    (
        "mixer",
        "name: " + 600 * "[" + 600 * "]",
        "mixer/mine.yaml cannot be read: it refers to itself, or is nested …",
    ),
    ("mixer", "a: &a [*a]\nname: qmix", "mixer/mine.yaml cannot be read: it refers to itself, or is nested too deeply"),
    ("mixer", "null: qmix\nname: qmix", "mixer/mine.yaml cannot be read: Incompatible key type null"),
    ("mixer", "name: qmi\xff", "mixer/mine.yaml cannot be read: it is not UTF-8 text (byte 10)"),
    (
        "algo",
        "defaults: [qmix]",
        "algo=mine: its YAML file, or one that it includes, lacks this first line: # @package …",
    ),
    ("experiment", "train: {total_steps: 3}", "experiment=mine: its YAML file, or one that it includes, lacks this …"),
    ("experiment", "defaults: [override /env: two_step]", "experiment=mine: its YAML file, or one that it includes, …"),
    ("logger", "name: console", "logger=mine: its YAML file, or one that it includes, lacks this … logger.mine"),
    ("experiment", "# @package _global_\ndefaults: [override /mixer: ../mixer/vdn]", "mixer=../mixer/vdn: there is …"),
    ("algo", "# @package _global_\npreset: {learner: {q: {gamma: 1}}}", "preset is called when_chosen now"),
    (
        "algo",
        "# @package _global_\nwhen_chosen: {learner: {q: {gama: 1}}}",
        "learner=q: unknown key 'gama'; did you mean …",
    ),
    ("algo", "# @package _global_\ntrain: {steps: 3}", "train: unknown key 'steps'; did you mean 'total_steps' or …"),
    ("algo", "# @package _global_\nseeed: 3", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("algo", "# @package _global_\ndefaults: [{override /mixer: qmxi}]", "mixer=qmxi: there is no such option; …"),
]


@pytest.mark.parametrize(("group", "text", "sentence"), WRONG_FILES)
def test_a_mistake_in_a_file_is_answered_in_one_sentence(hymarl, tmp_path, group, text, sentence):
    (tmp_path / "conf" / group).mkdir(parents=True)
    (tmp_path / "conf" / group / "mine.yaml").write_bytes(text.encode("latin-1"))
    (tmp_path / "here").mkdir()
    outcome = hymarl(tmp_path / "here", f"hydra.searchpath=['file://{tmp_path}/conf']", *TINY, f"{group}=mine")
    assert_refused(outcome, sentence, tmp_path / "here")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: qmix\nembed_dim: 8\npositive: abs\nhypernet_layers: 1", "mixer=mine: no value for hypernet_dim; "),
        ("embed_dim: 8", "mixer=mine: its YAML file needs a line 'name: <registered name>'"),
        ("name: elsewhere.nothing", "mixer: there is no module 'elsewhere.nothing' to import; "),
        ("name: json.decoder", "mixer: json.decoder must have exactly one class marked @register('mixer'), it "),
    ],
)
def test_a_mistake_in_the_file_of_a_component(tmp_path, text, sentence):
    (tmp_path / "mixer").mkdir()
    (tmp_path / "mixer" / "mine.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        option("mixer", "mine", [str(tmp_path)])
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [["mixer=qmxi"], pytest.param(["mixer=vdn", "+mixer.embed_dim=3"], marks=pytest.mark.slow)]
)
def test_the_traceback_of_a_mistake_can_be_asked_for(hymarl, tmp_path, arguments):
    outcome = hymarl(tmp_path, *TINY, *arguments, HYDRA_FULL_ERROR="1")
    assert outcome.code == 2
    assert "Traceback (most recent call last)" in outcome.err
    assert not any(tmp_path.iterdir())
    assert "Traceback" not in hymarl(tmp_path, *TINY, *arguments).err  # it was for that call only


# What it costs, in CPU seconds: a slow or busy machine is measured by how long it imports torch

PROGRAM = """
import sys
from time import process_time
from hymarl.main import main

def call(*arguments):
    sys.argv = ["main.py", *arguments]
    try:
        main()
    except SystemExit as end:
        print("\\nended with", end.code, {"torch", "numba", "matplotlib", "wandb", "sacred", "pandas"} & {*sys.modules})

directory = sys.argv[1]
for argument in ("--help", "mixer=qmxi", "mixer.embed_dimm=3"):
    call(argument)
before = process_time()
import torch
after = process_time()
call(f"hydra.run.dir={directory}/run", "network.rnn_dim=abc", "network=rnn")
print("seconds", before, after - before, process_time() - after)
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """Lines that a process printed, its errors, what it left; seconds of help, of importing torch and of a mistake."""
    folder = tmp_path_factory.mktemp("program")
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    *lines, seconds = done.stdout.splitlines()
    return lines, done.stderr.splitlines(), [*folder.iterdir()], [float(number) for number in seconds.split()[1:]]


def test_a_mistake_costs_little_beside_importing_torch(program):
    lines, errors, left, (_, importing_torch, cost) = program
    assert lines[-1].startswith("ended with 2 ")
    assert lines[-3:-1] == ["ended with 2 set()", ""]  # of the call before, and nothing of this one
    assert errors[-1].startswith("network=rnn: rnn_dim has the wrong type")
    assert left == []
    assert cost < 1.2 * importing_torch  # 0.6 times as much was seen


def test_help_and_misspelt_options_import_nothing_heavy(program):
    lines, _, _, (cost, importing_torch, _) = program
    ends = [line for line in lines if line.startswith("ended with")]
    assert ends[:3] == [f"ended with {n} set()" for n in (0, 2, 2)]
    listed = {line.split(": ")[0] for line in lines if re.fullmatch(r"\w+: [\w, ]+", line)}
    assert listed == {*PACKAGES, *WITHOUT_SECTION}
    assert f"mixer: {', '.join(options('mixer'))}" in lines
    assert cost < 1.7 * importing_torch  # 0.9 to 1 times as much was seen, for all three and Hydra

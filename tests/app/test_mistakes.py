"""What a mistake on the command line or in a YAML file gets."""

import re
import resource
import subprocess
import sys
from importlib import resources

import pytest

from hymarl.registry import PACKAGES, find, parameters
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
    ("env=pettingzoo", "env=pettingzoo: no value for entry_point; give one: env.entry_point=…"),
    ("mixer.positive=absolute", "mixer=qmix: positive=absolute is not a choice; did you mean 'abs'? choose one of: …"),
    # out of range
    ("train.total_steps=0", "train: total_steps must be at least 1, got 0"),
    ("replay.updates_per_episode=inf", "replay=uniform: updates_per_episode must be finite, got inf"),
    ("replay.buffer_episodes=3", "replay=uniform: batch_episodes=4 must not be above buffer_episodes=3, or learn…"),
    (
        "env=loadbalance replay.buffer_episodes=1000000000",
        "replay=uniform: replay of 1000000000 episodes would take … GB of memory, of which ",
    ),
    ("eval.episodes=0", "eval: episodes must be at least 1, got 0"),
    ("seed=-1", "the command line: seed must be at least 0, got -1"),
    ("threads=0", "the command line: threads must be at least 1, got 0"),
    ("device=gpu", "device=gpu is no device; choose cpu, cuda or cuda:1"),
    ("learner.gamma=2", "learner=q: gamma must be at most 1, got 2.0"),
    ("runner.workers=9", "runner=parallel: workers must be at most n_envs=8, got 9"),
    ("network.hidden_dims=[8,-3]", "network=rnn: hidden_dims[1] must be at least 1, got -3"),
    # not together
    ("agents=8", "env=two_step: agents=8, but the payoffs are for 2 agents (they nest 2 times)"),
    ("env.individual_rewards=true", "mixer=qmix learns one joint value from a common reward, but this environment …"),
    ("network=entity", "network=entity fits any number of agents, so it cannot take the agent's id; set controller…"),
    ("network=entity controller.agent_id=false", "network=entity needs an observation that lists entities, which …"),
    ("policy=sed", "policy=sed is played by the environment itself, by its settings rule and random_levels, …"),
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
    ("+when_chosen.mixer.qmix.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
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
    ("evaluate=nowhere", "nowhere is not a run directory: it does not exist"),
    ("resume=true", "resume=true: give the directory of a run: resume=results/…"),
    ("resume=", "resume is empty; give the directory of a run: resume=results/…"),
    ("init_from=", "the command line: init_from is empty; give a path, or null"),
    # options and modules are names
    ("algo=[qmix,vdn]", "algo=[qmix,vdn]: one option is chosen by its name, as in algo=iql; one run for each is -m …"),
    ("mixer=qmix.yaml", f"mixer=qmix.yaml: there is no such option; did you mean 'qmix'? {choices('mixer')}"),
    ("env=../../conf/env/two_step", "env=../../conf/env/two_step: there is no such option; did you mean 'two_step'? …"),
    ("-m mixer=vdn,../mixer/qmix", f"mixer=../mixer/qmix: there is no such option; {choices('mixer')}"),
    ("mixer=QMIX", f"mixer=QMIX: there is no such option; did you mean 'qmix'? {choices('mixer')}"),
    ("mixer=3", f"mixer=3: one option is chosen by its name, as in mixer={SOME['mixer']}; nothing is mixer=none"),
    ("mixer.name=../x", "mixer: '../x' is not the name of a module; write it with dots: my_package.my_module"),
    ("~mixer", "~mixer: a group cannot be left out; nothing is mixer=none"),
    ("~env.payoffs", "~env.payoffs: a setting cannot be left out; give it another value: env.payoffs=…"),
    # settings that are elsewhere, or have another name in PyMARL
    ("lr=0.001", "unknown key or group 'lr'; did you mean 'optimizer.lr'?"),
    ("+gamma=0.5", "unknown key or group 'gamma'; did you mean 'learner.gamma'?"),
    ("learner.lr=0.001", "learner=q: unknown key 'lr'; did you mean 'optimizer.lr'?"),
    ("+learner.lr=0.001", "learner=q: unknown key 'lr'; did you mean 'optimizer.lr'?"),
    ("t_max=100", "unknown key or group 't_max'; it is 'train.total_steps' here"),
    ("env=sc2", "env=sc2: there is no such option; PyMARL's sc2 is env=smac here"),
    ("env=smac env.map_name=3m", "env=smac: unknown key 'map_name'; did you mean 'env.kwargs.map_name'?"),
    ("env=mpe env.metrisc=1", "env=mpe: unknown key 'metrisc'; did you mean 'metrics'? choose one of: …"),
    ("env=mpe env.N=1", "env=mpe: unknown key 'N'; an argument of … +env.kwargs.N=…"),
    ("+preset.mixer.qmix.embed_dim=3", "preset is called when_chosen now"),
    ("learning_rate=0.1", "unknown key or group 'learning_rate'; it is 'optimizer.lr' here"),
    ("optimizer.learning_rate=1", "optimizer=adam: unknown key 'learning_rate'; it is 'optimizer.lr' here"),
    ("steps=100", "unknown key or group 'steps'; did you mean 'train.total_steps' or 'env.steps'?"),
    ("use_wandb=true", "unknown key or group 'use_wandb'; it is 'logger=[wandb]' here"),
    ("wandb.project=x", "unknown key or group 'wandb.project'; it is 'logger=[wandb]' here"),
    ("env.mixer=qmix", "env=two_step: unknown key 'mixer'; it stands at the top: mixer=…"),
    # of Hydra
    ("hydra.mode=nope", "hydra.mode=nope: Invalid value 'nope', expected one of [RUN, MULTIRUN]"),
    ("hydra.output_subdir=''", "hydra.output_subdir=: give the name of a folder, or null for none"),
    ("hydra.searchpath=[/nope]", "hydra.searchpath: there is no /nope"),
    (
        "hydra/launcher=submitit_slurm -m seed=1,2",
        "hydra/launcher=submitit_slurm needs another package: pip install hydra-submitit-launcher",
    ),
    ("--nope", "unrecognized arguments: --nope; python main.py --help says what can be typed"),
    ("seed=-1 hydra.job.chdir=true", "the command line: seed must be at least 0, got -1"),
    ("init_from=nowhere", "nowhere does not exist; give a run directory or a .pt file of its checkpoints/"),
]
# The same kinds of mistakes in other places.
MORE_MISTAKES = [
    ("algo=qmixx", f"algo=qmixx: there is no such option; did you mean 'qmix'? {choices('algo')}"),
    ("logger=consol", f"logger=consol: there is no such option; did you mean 'console'? {choices('logger')}"),
    ("logger=[consol]", f"logger=consol: there is no such option; did you mean 'console'? {choices('logger')}"),
    ("env=two/step", "env=two/step: there is no such option; did you mean 'two_step'? There are …"),
    ("seeed=1", f"unknown key or group 'seeed'; did you mean 'seed'? {ROOT}…"),
    ("++mixer.embed_dimm=3", f"mixer=qmix: unknown key 'embed_dimm'; {QMIX}"),
    ("mixer=vdn mixer.embed_dim=3", "mixer=vdn has no settings"),
    ("mixer=vdn mixer.gamma=1", "mixer=vdn has no settings; did you mean 'learner.gamma'?"),
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
    ("mixer=null", "mixer=null: one option is chosen by its name, as in mixer=qmix; nothing is mixer=none"),
    ("experiment=null", "experiment=null: one option is chosen by its name, as in experiment=goal_swap; none is ~exp…"),
    ("logger=null", "logger=null: one option is chosen by its name, as in logger=[console]; none is logger=[]"),
    ("env=[two_step]", "env=[two_step]: one option is chosen by its name, as in env=climbing; …"),
    ("~env", "~env: a group cannot be left out"),
    ("mixer.name=.x", "mixer: '.x' is not the name of a module; write it with dots: my_package.my_module"),
    ("mixer.name=a/b", f"mixer: there is no 'a/b'; {choices('mixer')}"),
    ("total_steps=3", "unknown key or group 'total_steps'; did you mean 'train.total_steps'?"),
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
    ("mixer", "name: qmx", f"mixer: there is no 'qmx'; did you mean 'qmix'? {choices('mixer')}"),
    ("mixer", "name: elsewhere.nothing", "mixer: there is no module 'elsewhere.nothing' to import; …"),
    ("mixer", "name: json.decoder", "mixer: json.decoder must have exactly one class marked @register('mixer'), it …"),
    ("mixer", "- name", "mixer: this must be a section with keys of its own, got ['name']"),
    ("mixer", "name: [", "mixer/mine.yaml cannot be read: while parsing a flow …"),
    (
        "mixer",
        "defaults: [mine]\nname: qmix",
        "mixer/mine.yaml cannot be read: it refers to itself, or is nested too …",
    ),
    (
        "mixer",
        "name: " + 3000 * "[" + 3000 * "]",
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
    listed = {line.split(": ")[0] for line in lines if re.fullmatch(r"\w+: [\w, ]+", line)}
    assert listed == {*PACKAGES, "algo", "experiment"}
    assert f"mixer: {', '.join(options('mixer'))}" in lines
    assert cost < 1.5 * importing_torch  # 0.5 to 0.8 times as much was seen, for all three

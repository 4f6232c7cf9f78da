"""Training: a new run or the continuation of an earlier one, its test, its picture."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import torch

from ..components.files import find_weights, load, write_atomically
from ..components.loggers.base import LoggerSet, RunInfo
from ..components.memory import reuse_large_blocks
from ..components.rng import Stream
from ..components.terminal import program_name
from ..components.threads import Threads, decide
from ..policies.base import Policy
from ..registry import ConfigError
from ..reports.learning_curve import plot_learning_curve
from ..training.recorder import Recorder, restore, scalar_names
from ..training.run_directory import RunDirectory
from ..training.trainer import Trainer
from .assembly import build_runner, build_trainer, describe_policy
from .config import RunConfig, load_saved, to_yaml
from .evaluate import LEARNED, checkpoint_errors_are_mistakes, compare, load_policy
from .protocol import as_lines, continued, describe_run, latest_header
from .signals import stop_signal

_BATCH_EPISODES, _UPDATES_PER_EPISODE = "train.batch_episodes", "train.updates_per_episode"
"""The settings that messages about learning name."""


def train(config: RunConfig, path: Path, *, resume: bool = False, jobs: int = 1) -> None:
    """Train, test the policy beside the environment's scripted ones, and draw the learning curve.

    Args:
        config: what to run.
        path: the run's directory.
        resume: continue the run in the directory from its last checkpoint, or from the beginning if it has none.
        jobs: runs at the same time on this machine, this one included.

    Raises:
        ConfigError: something does not fit together; nothing was written.
        KeyboardInterrupt: asked to stop; everything was saved.
    """
    reuse_large_blocks()
    with closing(build_trainer(config)) as trainer:
        threads = decide(config.threads, jobs, trainer.runner.overlap)
        torch.set_num_threads(threads.torch)
        if threads.beside:
            trainer.learner.use_second_thread()
        with checkpoint_errors_are_mistakes():
            saved = restore(trainer, path) if resume else None
            beginning = [] if saved or not config.init_from else [_initialize(trainer, Path(config.init_from))]
        if resume:
            _refuse_to_go_back(config, path, trainer)
            step = trainer.progress.steps
            beginning.insert(0, f"resumed at step {step}" if saved else "no checkpoint yet: starting again")
        with _recording(config, path, trainer, resume) as recorder:
            _introduce(config, path, trainer, threads, recorder, resume)
            if resume:
                recorder.continue_from(saved)
            for text in beginning:
                recorder.say(text)
            _follow(config, trainer, recorder, path)
            _conclude(config, path, recorder)


def _refuse_to_go_back(config: RunConfig, path: Path, trainer: Trainer) -> None:
    """A run cannot be made shorter than it is already."""
    total, step = trainer.total_steps, trainer.progress.steps
    if total < step and total < load_saved(path).train["total_steps"]:
        raise ConfigError(
            f"train.total_steps={total} is less than the {step} steps that the run has made; leave it out, or raise it "
            f"to make the run longer"
        )


def _follow(config: RunConfig, trainer: Trainer, recorder: Recorder, path: Path) -> None:
    """Record the training to its end, or until asked to stop; say what did not happen."""
    total, step = trainer.total_steps, trainer.progress.steps
    if step >= total:
        recorder.say_or_print(
            f"nothing to train: train.total_steps={total} is reached, only the test follows; raise it to train on"
        )
    with stop_signal() as stopped:
        for event in trainer.run(stopped):
            recorder.take(event)
        if stopped():
            recorder.say_or_print(f"interrupted; continue with: {program_name()} resume={path}")
            raise KeyboardInterrupt
    if not trainer.learner.updates:
        recorder.say_or_print(_no_update(config, trainer.progress.episodes))


def _no_update(config: RunConfig, collected: int) -> str:
    """Why a run ended with the weights it began with."""
    batch, ratio = (config.train[key.partition(".")[2]] for key in (_BATCH_EPISODES, _UPDATES_PER_EPISODE))
    if collected < batch:
        return (
            f"no update was made: learning begins when {batch} episodes are stored, this run collected {collected}; "
            f"raise train.total_steps or lower {_BATCH_EPISODES}"
        )
    return (
        f"no update was made: {_UPDATES_PER_EPISODE}={ratio}, and learning began with episode {batch} of the "
        f"{collected} collected"
    )


@contextmanager
def _recording(config: RunConfig, path: Path, trainer: Trainer, resume: bool) -> Iterator[Recorder]:
    directory = RunDirectory(path)
    directory.status("running")
    write_atomically(path / "config.yaml", to_yaml(config).encode())
    env, algo = config.components["env"].option, config.algo
    mixer, agents = config.components["mixer"].option, trainer.runner.spec.n_agents
    same = {name: value for name, value in config.plain().items() if name not in ("seed", "loggers")}
    digest = hashlib.blake2b(json.dumps(same, sort_keys=True).encode(), digest_size=3).hexdigest()
    group = f"{env}-{algo}-{mixer}-{agents}agents-{digest}"  # the seeds of one configuration, and nothing else
    info = RunInfo(
        directory=path,
        name=f"{group}-seed{config.seed}",
        group=group,
        tags=(env, algo, mixer, f"{agents} agents"),
        config={**config.plain(), "agents": agents},  # those that play, asked for or not
        total_steps=trainer.total_steps,
        resumed=resume,
        step=trainer.progress.steps,
        columns=scalar_names(trainer),
    )

    def report(text: str) -> None:
        with (path / "train.log").open("a", encoding="utf-8") as log:
            log.write(text + "\n")
        with suppress(OSError):  # who read the output may have gone
            print(text)

    loggers = LoggerSet(info, {name: c.factory() for name, c in config.loggers.items()}, report)
    description = describe_policy(config, trainer.runner.spec).to_plain()
    with Recorder(directory, trainer, description, loggers) as recorder:
        yield recorder


def _introduce(
    config: RunConfig, path: Path, trainer: Trainer, threads: Threads, recorder: Recorder, resume: bool
) -> None:
    """The header."""
    protocol = describe_run(config, trainer, threads)
    if resume:
        protocol = continued(path / "protocol.json", protocol, trainer.progress.steps)
    RunDirectory(path).write_json("protocol", protocol)
    recorder.say(as_lines({**latest_header(protocol), "results": path}))


def _initialize(trainer: Trainer, source: Path) -> str:
    """Weights only; says what is left out."""
    saved, learner = load(find_weights(source)), trainer.learner
    difference = _difference(learner.controller, saved.get("controller", {}))
    if difference:
        raise ConfigError(f"init_from={source} does not fit this run's networks: {difference}")
    learner.controller.load_state_dict(saved["controller"])
    left_out = ["optimizer", "replay", "statistics", "counters"]
    if _difference(learner.mixer, saved.get("mixer", {})):
        left_out.insert(0, "mixer, which does not fit")
    else:
        learner.mixer.load_state_dict(saved["mixer"])
    learner.target.networks.load_state_dict(learner.networks.state_dict())
    return f"weights from {source}; left out: {', '.join(left_out)}; targets start as copies"


def _difference(module: torch.nn.Module, weights: dict[str, torch.Tensor]) -> str | None:
    """The first weight that one has and the other has not, or not in this shape."""
    wanted = {name: list(x.shape) for name, x in module.state_dict().items()}
    given = {name: list(x.shape) for name, x in weights.items()}
    for name in (*wanted, *given):
        if wanted.get(name) != given.get(name):
            return f"{name} has the shape {given.get(name, 'none')}, needed is {wanted.get(name, 'none')}"
    return None


def _conclude(config: RunConfig, path: Path, recorder: Recorder) -> None:
    """Test the chosen weights, compare, draw, say where everything is."""
    file = find_weights(path, config.eval.checkpoint)
    saved = load(file)
    runner = build_runner(config, Stream.TEST)
    try:
        policies: dict[str, Policy] = {LEARNED: load_policy(saved, runner.spec, config.device)}
        comparison = compare(config, runner, policies, saved["step"])
    finally:
        runner.close()
        for failure in runner.failures:
            recorder.say(f"warning: {failure}")
    recorder.evaluated(comparison.evaluation(LEARNED))
    comparison.write(path)
    references = {name: means for name, means in comparison.means().items() if name != LEARNED}
    picture = plot_learning_curve(
        path, references, reference_episodes=comparison.n_episodes, title=_title(config, runner.spec.n_agents)
    )
    recorder.say(f"\n{comparison.text()}\n{LEARNED}: {file.name}, of step {saved['step']:,}")
    recorder.say(f"\nlearning curve: {picture}")
    recorder.say_or_print(f"results: {path}")


def _title(config: RunConfig, n_agents: int) -> str:
    """What tells the pictures of several runs apart."""
    env, mixer = config.components["env"].option, config.components["mixer"].option
    return f"{env}, {config.algo}, mixer {mixer}, {n_agents} agents, seed {config.seed}"

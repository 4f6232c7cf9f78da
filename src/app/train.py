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
from ..components.threads import Threads, decide
from ..policies.base import Policy
from ..registry import ConfigError
from ..reports.learning_curve import plot_learning_curve
from ..training.recorder import Recorder, restore
from ..training.run_directory import RunDirectory
from ..training.trainer import Trainer
from .assembly import build_runner, build_trainer, describe_policy
from .command_line import program
from .config import RunConfig, load_saved, to_yaml
from .evaluate import LEARNED, checkpoint_errors_are_mistakes, compare, load_policy
from .protocol import describe_run
from .signals import stop_signal

_BESIDE = ("seed", "loggers", "applied", "dropped")
"""What may differ between the runs of one group."""


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
            if saved and _has_ended(trainer, path):
                return
            beginning = [] if saved or not config.init_from else [_initialize(trainer, Path(config.init_from))]
        if resume:
            step = trainer.progress.steps
            beginning.insert(0, f"resumed at step {step}" if saved else "no checkpoint yet: starting again")
        with _recording(config, path, trainer, resume) as recorder:
            _introduce(config, path, trainer, threads, recorder)
            if resume:
                recorder.continue_from(saved)
            for text in beginning:
                recorder.say(text)
            _follow(trainer, recorder, path)
            _conclude(config, path, recorder)


def _has_ended(trainer: Trainer, path: Path) -> bool:
    """Whether a run that was restored has nothing left to do, which is said.

    Raises:
        ConfigError: it is to be made shorter than it is.
    """
    reached, wanted = trainer.progress.steps, trainer.total_steps
    if reached > wanted and wanted < load_saved(path).train["total_steps"]:
        raise ConfigError(f"{path} has reached step {reached}; train.total_steps={wanted} must be larger than that")
    ended = reached >= wanted and json.loads((path / "status.json").read_text(encoding="utf-8"))["status"] == "finished"
    if ended:
        print(f"{path} is finished, there is nothing to do; to train on, raise train.total_steps above {reached}")
    return ended


def _follow(trainer: Trainer, recorder: Recorder, path: Path) -> None:
    """Record the training to its end, or until asked to stop."""
    with stop_signal() as stopped:
        for event in trainer.run(stopped):
            recorder.take(event)
        if stopped():
            recorder.say(f"interrupted; continue with: {program()} resume={path}")
            raise KeyboardInterrupt


@contextmanager
def _recording(config: RunConfig, path: Path, trainer: Trainer, resume: bool) -> Iterator[Recorder]:
    directory = RunDirectory(path)
    directory.status("running")
    write_atomically(path / "config.yaml", to_yaml(config).encode())
    env, algo = config.components["env"].option, config.algo
    mixer, agents = config.components["mixer"].option, trainer.runner.spec.n_agents
    same = {name: value for name, value in config.plain().items() if name not in _BESIDE}
    digest = hashlib.blake2b(json.dumps(same, sort_keys=True).encode(), digest_size=3).hexdigest()
    parts = tuple(dict.fromkeys((env, algo, mixer)))  # qmix is the name of an algorithm and of its mixer
    group = f"{'-'.join(parts)}-{agents}agents-{digest}"  # the seeds of one configuration, and nothing else
    info = RunInfo(
        directory=path,
        name=f"{group}-seed{config.seed}",
        group=group,
        tags=(*parts, f"{agents} agents"),
        config=config.plain(),
        total_steps=trainer.total_steps,
        resumed=resume,
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


def _introduce(config: RunConfig, path: Path, trainer: Trainer, threads: Threads, recorder: Recorder) -> None:
    """The header."""
    protocol = describe_run(config, trainer, threads)
    RunDirectory(path).write_json("protocol", protocol)
    recorder.say("\n".join(f"{name.replace('_', ' '):>20}  {value}" for name, value in protocol["header"].items()))


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
    saved = load(find_weights(path, config.eval.checkpoint))
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
    picture = plot_learning_curve(path, references)
    recorder.say(f"\n{comparison.text()}\n\nlearning curve: {picture}\nresults: {path}")

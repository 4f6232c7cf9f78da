"""The three things a run can do: train, continue an earlier training, or evaluate."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any

import torch

from ..components.episode import EpisodeBatch
from ..components.files import CheckpointError, find_weights, load, write_atomically
from ..components.loggers.base import LoggerSet, RunInfo
from ..components.memory import reuse_large_blocks
from ..components.rng import Stream
from ..components.spec import EnvSpec
from ..components.threads import Threads, available_cores, decide
from ..policies.base import Policy
from ..policies.description import PolicyDescription
from ..policies.learned import LearnedPolicy
from ..registry import ConfigError
from ..reports.comparison import Comparison
from ..reports.learning_curve import plot_learning_curve
from ..training.evaluation import evaluate
from ..training.recorder import Recorder, restore
from ..training.run_directory import RunDirectory
from ..training.trainer import Trainer
from .assembly import build_runner, build_trainer, describe_policy, scripted_policy
from .config import RunConfig, to_yaml
from .inspection import Medium, render

_LEARNED = "learned"
"""What the learned policy is called beside scripted ones."""


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
        with _checkpoint_errors_are_mistakes():
            saved = restore(trainer, path) if resume else None
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


def _follow(trainer: Trainer, recorder: Recorder, path: Path) -> None:
    """Record the training to its end, or until asked to stop."""
    with _stop_signal() as stopped:
        for event in trainer.run(stopped):
            recorder.take(event)
        if stopped():
            recorder.say(f"interrupted; continue with: python main.py resume={path}")
            raise KeyboardInterrupt


def evaluate_run(config: RunConfig, source: Path, path: Path, medium: Medium | None = None) -> None:
    """Evaluate the policy of an earlier run, possibly on another environment, beside the scripted ones.

    Args:
        config: what to play.
        source: directory of the run.
        path: where to write.
        medium: where to show the first episode; ``None``: nowhere.

    Raises:
        ConfigError: there is no policy, or it does not fit the environment.
    """
    torch.set_num_threads(decide(config.threads, 1, False).torch)
    with _checkpoint_errors_are_mistakes():
        saved = load(find_weights(source, config.eval.checkpoint))

    def make(spec: EnvSpec) -> Policy:
        return load_policy(saved, spec, config.device)

    _evaluate_only(config, path, _LEARNED, make, saved["step"], medium)


def evaluate_scripted(config: RunConfig, path: Path, medium: Medium | None = None) -> None:
    """Evaluate a scripted policy (``policy=sed``) beside those that the environment names; see `evaluate_run`."""
    name = config.components["policy"].option
    _evaluate_only(config, path, name, lambda spec: scripted_policy(name, spec), 0, medium)


def load_policy(saved: dict[str, Any], spec: EnvSpec, device: str) -> LearnedPolicy:
    """The greedy policy of a weights file for an environment of possibly other sizes.

    Raises:
        ConfigError: the weights do not fit the sizes.
    """
    description = PolicyDescription.from_plain(saved["policy"])
    controller = description.controller(spec)
    try:
        controller.load_state_dict(saved["controller"])
    except RuntimeError as error:
        old = description.spec
        raise ConfigError(
            f"the weights were trained for {old.n_agents} agents, {old.obs_dim} observations and {old.n_actions} "
            f"actions and do not fit {spec.n_agents}, {spec.obs_dim} and {spec.n_actions}; only network=entity moves "
            f"between sizes"
        ) from error
    return LearnedPolicy(spec, controller.eval().to(device))


def compare(config: RunConfig, runner: Any, policies: dict[str, Policy], step: int) -> Comparison:
    """Play the test episodes with each policy, and with the scripted ones the environment names."""
    spec: EnvSpec = runner.spec
    if config.eval.references:
        policies = policies | {name: scripted_policy(name, spec) for name in spec.references if name not in policies}
    evaluations = {
        name: evaluate(policy, runner, config.eval.test_episodes, step=step, stream="test")
        for name, policy in policies.items()
    }
    return Comparison(evaluations, spec.headline_metrics, spec.references[-1] if spec.references else None)


def _evaluate_only(
    config: RunConfig, path: Path, name: str, make: Callable[[EnvSpec], Policy], step: int, medium: Medium | None
) -> None:
    write_film = render(config, name, make, medium) if medium else None
    runner = build_runner(config, Stream.TEST)
    try:
        comparison = compare(config, runner, {name: make(runner.spec)}, step)
    finally:
        runner.close()
        for failure in runner.failures:
            print(f"warning: {failure}")
    directory = RunDirectory(path)
    write_atomically(path / "config.yaml", to_yaml(config).encode())
    comparison.write(directory.path)
    if write_film:
        print(write_film(directory.path))
    print(comparison.text(), f"results: {path}", sep="\n")


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
    protocol = _protocol(config, trainer, threads)
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


@contextmanager
def _checkpoint_errors_are_mistakes() -> Iterator[None]:
    try:
        yield
    except CheckpointError as error:
        raise ConfigError(str(error)) from error


def _conclude(config: RunConfig, path: Path, recorder: Recorder) -> None:
    """Test the chosen weights, compare, draw, say where everything is."""
    saved = load(find_weights(path, config.eval.checkpoint))
    runner = build_runner(config, Stream.TEST)
    try:
        policies: dict[str, Policy] = {_LEARNED: load_policy(saved, runner.spec, config.device)}
        comparison = compare(config, runner, policies, saved["step"])
    finally:
        runner.close()
        for failure in runner.failures:
            recorder.say(f"warning: {failure}")
    recorder.evaluated(comparison.evaluation(_LEARNED))
    comparison.write(path)
    references = {name: means for name, means in comparison.means().items() if name != _LEARNED}
    picture = plot_learning_curve(path, references)
    recorder.say(f"\n{comparison.text()}\n\nlearning curve: {picture}\nresults: {path}")


def _protocol(config: RunConfig, trainer: Trainer, threads: Threads) -> dict[str, Any]:
    """What a reader needs to judge or repeat the run."""
    spec, parts, settings = trainer.runner.spec, config.components, trainer.learner
    episode_bytes = EpisodeBatch.bytes_per_episode(spec)
    header = {
        "algorithm": f"{config.algo} (learner {parts['learner'].option}, mixer {parts['mixer'].option}, "
        f"network {parts['network'].option})",
        "environment": f"{parts['env'].option} (hymarl {importlib.metadata.version('hymarl')})",
        "agents": spec.n_agents,
        "seed": f"{config.seed} (evaluation {config.eval.seed})",
        "parameters": sum(p.numel() for p in settings.networks.parameters()),
        "steps": f"{trainer.total_steps} in {trainer.runner.env.n_envs} environments, {trainer.runner.where}",
        "updates_per_episode": config.train["updates_per_episode"],
        "targets": settings.target.describe(),
        "replay_memory": f"{episode_bytes * config.train['buffer_episodes'] / 1e6:.0f} MB, as much on disk when full",
        "threads": f"{threads}, {available_cores()} cores",
        "preset_values": ", ".join(config.applied) or "none",
        "dropped_presets": ", ".join(config.dropped) or "none",
    }
    return {"header": header, "versions": _versions(), "git_revision": _revision()}


def _versions() -> dict[str, str]:
    packages = ("hymarl", "torch", "numpy", "numba", "hydra-core", "omegaconf")
    return {"python": platform.python_version(), **{name: importlib.metadata.version(name) for name in packages}}


def _revision() -> str | None:
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip() or None
    except OSError:  # there is no git
        return None


@contextmanager
def _stop_signal() -> Iterator[Callable[[], bool]]:
    """Inside, the first Ctrl-C asks to stop at the next good moment; the second interrupts at once."""
    asked = []

    def ask(number: int, frame: FrameType | None) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)

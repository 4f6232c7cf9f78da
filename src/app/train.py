"""Train a new run or resume an earlier one, then test the policy and plot the learning curve."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import torch

from ..components.devices import torch_threads
from ..components.files import WriteError, write_atomically, writing
from ..components.loggers.base import LoggerSet, Record, RunInfo
from ..components.memory import reuse_large_blocks
from ..components.terminal import program_name
from ..components.threads import Threads, decide
from ..policies.learned import LearnedPolicy
from ..policies.saved import difference, misfit, read_policy
from ..registry import ConfigError
from ..reports.comparison import Comparison
from ..reports.learning_curve import plot_learning_curve
from ..training.evaluation import Evaluation
from ..training.recorder import Recorder, restore, scalar_names
from ..training.run_directory import RunDirectory, owning, read_status
from ..training.trainer import Checkpoint, Trainer
from .assembly import build_trainer, describe_policy
from .check import check_metrics
from .config import SOMETIMES, RunConfig
from .evaluate import LEARNED, Player, compare, references
from .protocol import as_lines, continued, describe_run, latest_header, repository
from .render import render
from .runs import require_unused
from .saved import load_saved, to_yaml
from .signals import Stopped, stop_signal

_BESIDE = ("seed", "loggers", "applied", "dropped")
"""Parts of the configuration that may differ between runs that loggers show as one group."""

Callback = Callable[[Record | Evaluation | Checkpoint], object]
"""Called with every event of training, after it is written; training stops if it returns something true."""


def _print_now(text: str) -> None:
    print(text, flush=True)


def _say_nothing(text: str) -> None:
    """What is said is in ``train.log`` as well."""


@dataclass(frozen=True)
class Output:
    """Who is told what a run says, beside its loggers and ``train.log``.

    Attributes:
        show: receives important messages if no logger shows messages.
        warn: receives a sentence about each logger that failed.
        alone: whether standard output is this run's; if not, loggers write to ``train.log`` what they would show.
    """

    show: Callable[[str], None] = _print_now
    warn: Callable[[str], None] = print
    alone: bool = True


SHARED = Output(_say_nothing, _say_nothing, alone=False)
"""For runs that share standard output, such as the jobs of a sweep."""


@dataclass(frozen=True)
class Run:
    """The result of `train`.

    Attributes:
        directory: the run's directory.
        step: number of environment steps made.
        status: ``finished``, or ``interrupted`` if a callback stopped it; it can be resumed then.
        config: the run's configuration.
        tested: the `comparison`, None if it was not made.
    """

    directory: Path
    step: int
    status: Literal["finished", "interrupted"]
    config: RunConfig = field(repr=False)
    tested: Comparison | None = field(default=None, repr=False)

    @property
    def comparison(self) -> Comparison:
        """Results of the policy and of scripted ones in the test episodes, played at the end of training.

        Raises:
            ConfigError: they were not played, since training was interrupted or had finished before this call.
        """
        if self.tested is None:
            why = "it was interrupted" if self.status == "interrupted" else "it had ended before"
            raise ConfigError(f"{self.directory} was not tested now: {why}; evaluate it")
        return self.tested

    def policy(self, checkpoint: Literal["best", "last"] | None = None) -> LearnedPolicy:
        """The greedy policy.

        Args:
            checkpoint: which weights: the ``best`` by validation return, or the ``last``; None: ``eval.checkpoint``.
        """
        return LearnedPolicy.load(self.directory, checkpoint or self.config.eval.checkpoint, self.config.trust)


def train(
    config: RunConfig,
    path: Path,
    *,
    resume: bool = False,
    jobs: int = 1,
    film: bool = False,
    callbacks: Sequence[Callback] = (),
    output: Output = Output(),
) -> Run:
    """Train, test the policy and the scripted ones that the environment names, and plot the learning curve.

    Args:
        config: the run's configuration.
        path: the run's directory.
        resume: continue the run in the directory from its last checkpoint, or from the beginning if it has none.
        jobs: number of runs at the same time on this machine, this one included.
        film: whether to make a GIF of the tested policy's first test episode.
        callbacks: see `Callback`; they can stop the training after a collection, and everything is saved.
        output: who is told what, beside loggers and ``train.log``.

    Raises:
        ConfigError: something does not fit together, or the directory is in use; nothing was written.
        WriteError: a file could not be written; the run can be continued from its last checkpoint.
        Stopped: a signal asked to stop; everything was saved.
    """
    reuse_large_blocks()
    with closing(build_trainer(config)) as trainer:
        runner = trainer.collector.runner
        check_metrics(config, runner.spec)
        scripted = references(config, runner.spec)  # refuses what cannot be compared before the training
        threads = decide(config.threads, jobs, runner.lag > 0)
        if threads.second:
            trainer.learner.use_second_thread()
        with torch_threads(threads.torch), owning(path):
            saved = restore(trainer, path) if resume else None
            if not resume:
                require_unused(path)  # another process may have begun a run there meanwhile
            if saved and _has_ended(config, trainer, path):
                return Run(path, trainer.steps, "finished", config)
            beginning = [] if saved or not config.init_from else [_initialize(config, trainer)]
            if resume:
                beginning.insert(
                    0, f"resumed at step {trainer.steps}" if saved else "no checkpoint yet: starting again"
                )
            with _explaining_write_errors(path), _recording(config, path, trainer, resume, output) as recorder:
                _introduce(config, path, trainer, threads, recorder, resume)
                if resume:
                    recorder.continue_from(saved)
                for text in beginning:
                    recorder.say(text)
                if not _follow(config, trainer, recorder, path, callbacks):
                    recorder.ended("interrupted")
                    return Run(path, trainer.steps, "interrupted", config)
                tested = _conclude(config, path, recorder, scripted, runner.spec.n_agents, film)
    return Run(path, trainer.steps, "finished", config, tested)


def _has_ended(config: RunConfig, trainer: Trainer, path: Path) -> bool:
    """Whether a run that was restored has nothing left to do.

    Raises:
        ConfigError: ``train.total_steps`` was lowered to less than the step that the run has reached.
    """
    reached, wanted = trainer.steps, trainer.settings.total_steps
    if reached > wanted and wanted < load_saved(path, config).train.total_steps:
        raise ConfigError(f"{path} has reached step {reached}; train.total_steps={wanted} must be larger than that")
    return reached >= wanted and read_status(path) == "finished"


def _follow(config: RunConfig, trainer: Trainer, recorder: Recorder, path: Path, callbacks: Sequence[Callback]) -> bool:
    """Train and record all events, to the end or until asked to stop; say so if there was no training or no update.

    Returns:
        Whether training reached its end.

    Raises:
        Stopped: a signal asked to stop.
    """
    total = trainer.settings.total_steps
    if trainer.steps >= total:
        recorder.say_or_show(
            f"nothing to train: train.total_steps={total} is reached, only the test follows; raise it to train on"
        )
    with stop_signal() as stopped:
        for event in trainer.run(stopped):
            recorder.take(event)
            answers = [callback(event) for callback in callbacks]
            stopped.by_callback |= any(answers)
        if stopped.number is not None or (stopped.by_callback and trainer.steps < total):
            trust = f" trust=[{','.join(config.trust)}]" if config.trust else ""
            recorder.say_or_show(f"interrupted; continue with: {program_name()} resume={path}{trust}")
            if stopped.number is not None:
                raise Stopped(stopped.number)
            return False
    if not trainer.learner.updates:
        recorder.say_or_show(f"no update was made: {trainer.replay.why_none_was_due()}")
    return True


@contextmanager
def _explaining_write_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except WriteError as error:
        if not (path / "config.yaml").exists():
            raise
        raise WriteError(f"{error}; when it can be written again, continue with resume={path}") from error


@contextmanager
def _recording(
    config: RunConfig,
    path: Path,
    trainer: Trainer,
    resume: bool,
    output: Output,
) -> Iterator[Recorder]:
    directory = RunDirectory(path)
    if resume:
        directory.remove_leftovers()
    directory.status("running")
    write_atomically(path / "config.yaml", to_yaml(config).encode())
    info = replace(_describe(config, path, trainer, resume), alone=output.alone)

    def report(text: str) -> None:
        with suppress(OSError), (path / "train.log").open("a", encoding="utf-8") as log:  # the disk may be full
            log.write(text + "\n")
        with suppress(OSError):  # the output may be closed
            output.warn(text)

    loggers = LoggerSet(info, {name: c.factory() for name, c in config.loggers.items()}, report)
    description = describe_policy(config, trainer.collector.runner.spec).to_plain()
    with Recorder(directory, trainer, description, loggers, output.show) as recorder:
        yield recorder


def _describe(config: RunConfig, path: Path, trainer: Trainer, resume: bool) -> RunInfo:
    """What loggers may know of the run."""
    spec, options = trainer.collector.runner.spec, {group: c.option for group, c in config.components.items()}
    named = (options["env"], config.algo, *([options["mixer"]] if "mixer" in options else []))
    parts = tuple(dict.fromkeys(named))  # qmix is the name of an algorithm and of its mixer
    players = "joint" if config.joint else f"{spec.n_agents}agents"
    group = f"{'-'.join(parts)}-{players}-{config.digest(_BESIDE)[:6]}"  # the same for all seeds of one configuration
    # The number that plays; config.agents may be None, and the environment of one agent for all knows no other number.
    agents = config.agents if config.joint else spec.n_agents
    return RunInfo(
        directory=path,
        name=f"{group}-seed{config.seed}",
        group=group,
        tags=(*parts, _team(config, spec.n_agents)),
        labels={**dict.fromkeys(SOMETIMES), **options, "algo": config.algo, "agents": agents, "seed": config.seed},
        config={**config.plain(), "agents": agents},
        total_steps=config.train.total_steps,
        resumed=resume,
        step=trainer.steps,
        columns=scalar_names(trainer),
        headline=("return_mean", *spec.headline_metrics),
        repository=repository(),
    )


def _introduce(
    config: RunConfig, path: Path, trainer: Trainer, threads: Threads, recorder: Recorder, resume: bool
) -> None:
    """Write the protocol, and print its header."""
    protocol = describe_run(config, trainer, threads)
    if resume:
        protocol = continued(path / "protocol.json", protocol, trainer.steps)
    RunDirectory(path).write_json("protocol", protocol)
    recorder.say(as_lines({**latest_header(protocol), "results": path}))


def _initialize(config: RunConfig, trainer: Trainer) -> str:
    """Load the weights that ``init_from`` names, and return a sentence that says what was left out."""
    source, learner = config.init_from, trainer.learner
    saved = read_policy(Path(str(source)))
    wrong = misfit(saved, learner.networks["controller"], describe_policy(config, trainer.collector.runner.spec))
    if wrong:
        raise ConfigError(f"init_from={source} does not fit this run's networks: {wrong}")
    _require_same_units(str(source), saved.networks, list(learner.networks))
    left_out = ["optimizer", "replay", "statistics", "counters"]
    for name, network in learner.networks.items():
        weights = saved.networks.get(name, {})
        if difference(network, weights):
            left_out.insert(0, f"{name}, which does not fit")
            continue
        for key, weight in weights.items():
            if not torch.isfinite(weight).all():
                raise ConfigError(f"init_from={source}: the weight {key} holds numbers that are not finite")
        network.load_state_dict(dict(weights))
    said = f"weights from {source}", f"left out: {', '.join(left_out)}", *learner.weights_replaced()
    return "; ".join(said)


def _require_same_units(source: str, there: Collection[str], here: Collection[str]) -> None:
    """Refuse weights of networks that give values in other units: relative ones to a run without, or the reverse.

    Raises:
        ConfigError: one sentence that says what to set.
    """
    same_kind = ("critic" in there) == ("critic" in here)  # else no network that gives values is taken over
    if same_kind and ("value_scaler" in there) != ("value_scaler" in here):
        normalized = "value_scaler" in there
        learned = "normalized values" if normalized else "values as they are"
        raise ConfigError(
            f"init_from={source}: its networks learned {learned}, and this run's are to learn the other; set "
            f"learner.normalize_values={str(normalized).lower()}"
        )


def _conclude(
    config: RunConfig, path: Path, recorder: Recorder, scripted: dict[str, Player], n_agents: int, film: bool
) -> Comparison:
    """Test the chosen weights, compare them with scripted policies, plot the learning curve, tell the loggers."""
    saved = read_policy(path, config.eval.checkpoint)
    learned = Player(config, lambda spec: saved.policy(spec, config.device, config.trust))
    comparison = compare(config, {LEARNED: learned}, lambda _: scripted, saved.step, recorder.say)
    recorder.evaluated(comparison.evaluation(LEARNED))
    levels = {name: means for name, means in comparison.means().items() if name != LEARNED}
    title = _title(config, n_agents)
    files = {"config": path / "config.yaml", "comparison": path / "comparison.txt"}
    with writing(path):
        comparison.write(path, title)
        files["learning_curve"] = plot_learning_curve(
            path, levels, reference_episodes=comparison.n_episodes, title=title
        )
        if film:
            files |= _film(learned, path, recorder)
    recorder.say(f"\n{comparison.text()}\n{LEARNED}: {saved.path.name}, of step {saved.step:,}")
    recorder.say(f"\nlearning curve: {files['learning_curve']}")
    recorder.concluded(comparison.numbers(), comparison.text(), files)
    recorder.say_or_show(f"results: {path}")
    return comparison


def _film(learned: Player, path: Path, recorder: Recorder) -> dict[str, Path]:
    """Make the film; if the environment cannot be shown, say so: it is no reason to lose a run."""
    try:
        recorder.say(render(learned.config, LEARNED, learned.make, "gif")(path))
    except ConfigError as error:
        recorder.say_or_show(f"no film: {error}")
    made = next(path.glob("*.gif"), None)
    return {"film": made} if made else {}


def _title(config: RunConfig, n_agents: int) -> str:
    """The title of the learning curve, by which runs can be told apart."""
    env, mixer = config.components["env"].option, config.components.get("mixer")
    mixed = [f"mixer {mixer.option}"] if mixer else []
    return ", ".join([env, config.algo, *mixed, _team(config, n_agents), f"seed {config.seed}"])


def _team(config: RunConfig, n_agents: int) -> str:
    return "one agent for all" if config.joint else f"{n_agents} agents"

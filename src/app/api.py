"""The Python interface (``import hymarl``) for notebooks and scripts; the command line runs the same code.

Every call restores the state of the process: Hydra, torch's number of threads, signal handlers and the current folder.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

from ..components.compiled import announced_compilation
from ..components.threads import restrained_processes
from ..envs.adapters.joint_agent import make_joint
from ..envs.contract.vector_env import VectorEnv
from ..policies.learned import LearnedPolicy
from ..portable import PortablePolicy
from ..registry import ConfigError, expect
from ..reports.comparison import Comparison
from .changes import episodes_to_test, evaluated, exported, resumed
from .composing import changed_option
from .composing import compose as _compose
from .config import RunConfig
from .directories import new_directory
from .evaluate import Subject, learned, measure, scripted
from .export import export as _export
from .runs import require_run, require_unused
from .train import Callback, Output, Run
from .train import train as _train

_LOG = logging.getLogger("hymarl")


def compose(*overrides: str, searchpath: Iterable[str | Path] = ()) -> RunConfig:
    """A checked configuration, from overrides as on the command line.

    ``compose("env=two_step", "mixer=vdn", "train.total_steps=2000")``

    Args:
        overrides: as on the command line, each a string of its own.
        searchpath: folders with option files of your own, in groups as in the package's ``conf/``.

    Raises:
        ConfigError: a mistake; the message is that of the command line.
    """
    config = _compose(overrides, [*searchpath])
    return config if config.learns else episodes_to_test(config, overrides)


def train(config: RunConfig, directory: str | Path | None = None, *, callbacks: Sequence[Callback] = ()) -> Run:
    """Train, then test the policy and the scripted ones that the environment names.

    Args:
        config: from `compose`.
        directory: a new one for the run's files; None: ``results/<env>/<algo>/<date>-<time>-<id>`` in the current
            folder.
        callbacks: each is called with every `Record`, `Evaluation` and `Checkpoint` of the training, once it is
            written. If one returns something true, training stops after the collection, as with Ctrl-C: the run is
            saved, not tested, and can be resumed.

    Raises:
        ConfigError: something does not fit together, or the directory is in use; nothing was written.
        KeyboardInterrupt: Ctrl-C or another signal; the run was saved and can be resumed.
    """
    if not config.learns:
        option = config.components["policy"].option
        raise ConfigError(f"policy={option} does not learn; measure it with hymarl.evaluate(config)")
    path = Path(directory or new_directory(config.components["env"].option, config.algo)).expanduser().absolute()
    require_unused(path)
    with _as_it_was():
        return _train(config, path, callbacks=callbacks, output=Output(_LOG.info, _LOG.warning))


def resume(
    directory: str | Path,
    *overrides: str,
    callbacks: Sequence[Callback] = (),
    searchpath: Iterable[str | Path] = (),
) -> Run:
    """Continue a run; it ends with the same results, to the bit, as if it had never been stopped.

    Args:
        directory: the run's directory.
        overrides: only of ``train.total_steps``, ``logger`` or ``trust``; everything else stays as it was.
        callbacks: see `train`.
        searchpath: see `compose`.

    Raises:
        ConfigError: the run cannot be continued, or not with these overrides.
        KeyboardInterrupt: Ctrl-C or another signal; the run was saved and can be resumed.
    """
    source = Path(directory).expanduser().absolute()
    require_run(source)
    config = resumed(source, compose(*overrides, searchpath=searchpath), overrides)
    with _as_it_was():
        return _train(config, source, resume=True, callbacks=callbacks, output=Output(_LOG.info, _LOG.warning))


def evaluate(
    what: str | Path | RunConfig,
    *overrides: str,
    directory: str | Path | None = None,
    searchpath: Iterable[str | Path] = (),
) -> Comparison:
    """Play the test episodes with a policy, and with the scripted ones that the environment names.

    Args:
        what: the directory of a run; a weights file (if it is not in a run's ``checkpoints/``, override ``env=…``); or
            a configuration with a scripted policy, ``compose("policy=random", "env=two_step")``.
        overrides: only of ``env``, ``agents``, ``runner``, ``eval``, ``device``, ``threads`` or ``trust``.
        directory: a new one, for the table and the numbers of all episodes; None: nothing is written.
        searchpath: see `compose`.

    Raises:
        ConfigError: there is no policy, or it does not fit the environment.
    """
    path = None if directory is None else Path(directory).expanduser().absolute()
    if path:
        require_unused(path)
    config, subject = (
        _scripted(what, overrides) if isinstance(what, RunConfig) else _learned(what, overrides, searchpath)
    )
    with _as_it_was():
        return measure(config, subject, path, warn=_LOG.warning).comparison


def export(
    what: str | Path, directory: str | Path, *overrides: str, searchpath: Iterable[str | Path] = ()
) -> PortablePolicy:
    """Write a policy as arrays and JSON for `hymarl.portable`, and as an ONNX model if ``hymarl[export]`` is installed.

    Both are compared with the original on a thousand random observations; what was found goes to the logger ``hymarl``.

    Args:
        what: the directory of a run, or a weights file.
        directory: a new one, for the files.
        overrides: only of ``eval.checkpoint``, ``trust`` or ``env``: for an environment other than the run's.
        searchpath: see `compose`.

    Returns:
        The policy, as read back from the files.

    Raises:
        ConfigError: there is no policy, it cannot be exported, or the directory holds an exported one already.
    """
    given = Path(what).expanduser().absolute()
    run = given.parent.parent if given.is_file() else given
    today, known = compose(*overrides, searchpath=searchpath), not given.is_file() or (run / "config.yaml").is_file()
    trained, wanted = exported(run, today, overrides) if known else (None, today)
    with _as_it_was():
        return _export(given, Path(directory).expanduser().absolute(), trained, wanted, _LOG.info)


def load_policy(
    path: str | Path,
    checkpoint: Literal["best", "last"] = "best",
    trust: Iterable[str] = (),
    agents: int | None = None,
) -> LearnedPolicy:
    """The greedy policy of a run directory or a weights file, without learner or configuration.

    Args:
        path: a run directory, or one ``.pt`` file of its ``checkpoints/``.
        checkpoint: in a run directory: ``best`` (by validation return) or ``last``.
        trust: packages other than HyMARL whose modules may be imported if the file names them.
        agents: number of agents to act for, such as 1 in a process of its own; None: as many as were trained.

    Raises:
        ConfigError: there are no weights, the file names a module that is not trusted, or the agents are told apart
            and so cannot be another number.
    """
    return LearnedPolicy.load(path, checkpoint, [*trust], agents)


def make_env(
    option: str,
    n_envs: int = 1,
    agents: int | None = None,
    *,
    joint: bool = False,
    searchpath: Iterable[str | Path] = (),
    **settings: Any,
) -> VectorEnv:
    """A `VectorEnv`: several environments of one kind, which are stepped together.

    ``make_env("foraging25", n_envs=4, agents=3)``

    Args:
        option: as in ``env=<option>``.
        n_envs: number of environments.
        agents: number of agents in each; None: the environment's own number.
        joint: whether one agent sees what all see and chooses for all, as policies of runs with ``joint=true`` need it.
        searchpath: see `compose`.
        settings: replace those of the option's file.

    Raises:
        ConfigError: there is no such option or setting, or a value is not allowed.
    """
    if n_envs < 1:
        raise ConfigError(f"n_envs={n_envs}: there must be at least one")
    make = partial(changed_option("env", option, [*searchpath], settings).factory(), agents)
    return make_joint(make, n_envs) if joint else expect(VectorEnv, make(n_envs), f"env={option}")


def _scripted(config: RunConfig, overrides: Sequence[str]) -> tuple[RunConfig, Subject]:
    if config.learns:
        option = config.components["policy"].option
        raise ConfigError(
            f"policy={option}: a configuration has no weights; give the directory of a run, or compose another policy"
        )
    if overrides:
        raise ConfigError(f"compose the configuration with {', '.join(overrides)}")
    return config, scripted(config)


def _learned(what: str | Path, overrides: Sequence[str], searchpath: Iterable[str | Path]) -> tuple[RunConfig, Subject]:
    given = Path(what).expanduser().absolute()
    today = compose(*overrides, searchpath=searchpath)
    run = given.parent.parent if given.is_file() else given
    if given.is_file() and not (run / "config.yaml").is_file():
        if not any(override.partition("=")[0] in ("env", "experiment") for override in overrides):
            raise ConfigError(f"{given} is in no run directory; say what its policy is to play, such as env=two_step")
        config = episodes_to_test(today, overrides)
    else:
        require_run(run)
        config = evaluated(run, today, overrides)
    return config, learned(config, given)


@contextmanager
def _as_it_was() -> Iterator[None]:
    """Wraps everything that plays episodes; restores the current folder, which an environment may change."""
    here = os.getcwd()
    try:
        with announced_compilation(), restrained_processes():
            yield
    finally:
        os.chdir(here)

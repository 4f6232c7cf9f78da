"""The entry point: compose a configuration, check it, run it, and answer mistakes in one sentence."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":  # `python src/main.py`, as in PyMARL: run main.py of the folder above instead
    program = os.path.relpath(os.path.join(os.path.dirname(__file__), "..", "main.py"))
    os.execv(sys.executable, [sys.executable, program, *sys.argv[1:]])

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from .app.command_line import make_here_importable, prepare
from .app.directories import discard_what_never_began, register_resolvers, tidied_up
from .app.hydra_state import missing_folders_are_errors, without_copies_of_the_store
from .app.jobs import interrupted, leave_signals_to_sweep
from .app.mistakes import JobFailed, describe, explain, let_hydra_raise, show
from .app.signals import interruptible
from .components.terminal import substitute_what_cannot_be_shown
from .components.threads import restrain_libraries


@hydra.main(version_base="1.3", config_path="pkg://hymarl.conf", config_name="config")
def _job(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    leave_signals_to_sweep(job)
    try:
        with tidied_up(job.runtime.output_dir, job.output_subdir, job.runtime.cwd):
            from .app.launch import launch  # imports torch, which --help does not need

            launch(cfg, job)
    except Exception as error:
        if job.mode is RunMode.RUN:
            sys.exit(show(error, explain(error)))
        raise JobFailed(*describe(error, explain(error))) from None  # the other jobs go on
    except KeyboardInterrupt as end:
        raise interrupted(job, end) from None


def main() -> None:
    """Run the command line; with ``HYDRA_FULL_ERROR=1``, mistakes in the configuration get a traceback, too."""
    substitute_what_cannot_be_shown()
    restrain_libraries()
    let_hydra_raise()
    register_resolvers()
    make_here_importable()
    try:
        sys.argv[1:] = prepare(sys.argv[1:])
        with interruptible(), missing_folders_are_errors(), without_copies_of_the_store():
            _job()
    except (KeyboardInterrupt, JobFailed) as end:  # both have said everything
        sys.exit(end.args[0] if end.args else 130)
    except Exception as error:
        discard_what_never_began(error)
        sys.exit(show(error, explain(error, composing=True, overrides=[w for w in sys.argv[1:] if "=" in w])))

"""The entry point: compose a configuration, check it, run it, and answer mistakes in one sentence."""

from __future__ import annotations

import os
import sys
import traceback

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from .app.config import explain
from .app.directories import discard_if_unused, register_resolvers
from .components.terminal import substitute_what_cannot_be_shown
from .components.threads import restrain_libraries

_HYDRA_RAISES, _TRACEBACK = "HYDRA_FULL_ERROR", "HYMARL_TRACEBACK"  # the first: Hydra hands its errors on to us


class JobFailed(Exception):
    """A job of a sweep ended with an error that was shown; the argument is the exit code."""


@hydra.main(version_base="1.3", config_path="pkg://hymarl.conf", config_name="config")
def _job(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    try:
        from .app.launch import launch  # imports torch, which --help does not need

        launch(cfg, job)
    except Exception as error:
        sentence = explain(error)
        discard_if_unused(job.runtime.output_dir, job.output_subdir, mistake=sentence is not None)
        if job.mode is RunMode.RUN:
            sys.exit(_show(error, sentence))
        raise JobFailed(_show(error, sentence, f"job {job.job.num}: ")) from None  # the other jobs go on


def _show(error: Exception, sentence: str | None, prefix: str = "") -> int:
    """Print the sentence about a mistake, or else the traceback; returns the exit code."""
    brief = sentence and os.environ[_TRACEBACK] != "1"
    print(prefix, sentence if brief else "".join(traceback.format_exception(error)), sep="", file=sys.stderr)
    return 2 if sentence else 1


def main() -> None:
    """Run the command line; ``HYDRA_FULL_ERROR=1`` shows tracebacks of mistakes too."""
    substitute_what_cannot_be_shown()
    restrain_libraries()
    os.environ.setdefault(_TRACEBACK, os.environ.get(_HYDRA_RAISES, "0"))
    os.environ[_HYDRA_RAISES] = "1"
    register_resolvers()
    try:
        _job()
    except (KeyboardInterrupt, JobFailed) as end:
        sys.exit(end.args[0] if isinstance(end, JobFailed) else 130)
    except Exception as error:
        sys.exit(_show(error, explain(error, composing=True)))

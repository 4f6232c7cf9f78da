"""The entry point: compose a configuration, check it, run it, and answer mistakes in one sentence."""

from __future__ import annotations

import os
import sys

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from .config import discard_if_unused, explain, register_resolvers

_HYDRA_RAISES = "HYDRA_FULL_ERROR"  # set to 1, Hydra hands its errors on instead of printing them
_TRACEBACK = "HYMARL_TRACEBACK"


@hydra.main(version_base="1.3", config_path="pkg://hymarl.conf", config_name="config")
def _job(cfg: DictConfig) -> None:
    job = HydraConfig.get()
    try:
        from .launch import launch  # imports torch, which --help does not need

        launch(cfg, job)
    except Exception as error:
        discard_if_unused(job.runtime.output_dir)
        if job.mode is RunMode.RUN:
            _leave(error)
        print(f"job {job.job.num} failed: {explain(error) or repr(error)}", file=sys.stderr)
        raise  # the other jobs of the sweep go on


def _leave(error: Exception) -> None:
    """End the process: a mistake in the configuration gets one sentence and exit code 2, anything else a traceback."""
    sentence = explain(error)
    if sentence is None or _TRACEBACK in os.environ:
        raise error
    print(sentence, file=sys.stderr)
    sys.exit(2)


def main() -> None:
    """Run the command line; ``HYDRA_FULL_ERROR=1`` shows tracebacks of mistakes too."""
    if os.environ.get(_HYDRA_RAISES) == "1":
        os.environ[_TRACEBACK] = "1"
    os.environ[_HYDRA_RAISES] = "1"
    register_resolvers()
    try:
        _job()
    except KeyboardInterrupt:
        sys.exit(130)
    except Exception as error:
        _leave(error)


if __name__ == "__main__":
    main()

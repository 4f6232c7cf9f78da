"""Child processes that never outlive the one that started them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

_SET_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of <linux/prctl.h>
_PATIENCE_S = 5.0


def start(command: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process that the kernel kills when this one ends, however it ends; to be called by the main thread.

    It belongs to a session of its own, so that Ctrl-C in a terminal asks this process alone, which then stops it.

    Args:
        command: the program and its arguments.
        log: file to which it writes what it prints.
    """
    libc, parent = ctypes.CDLL(None, use_errno=True), os.getpid()

    def prepare() -> None:
        libc.prctl(_SET_DEATH_SIGNAL, signal.SIGKILL)
        if os.getppid() != parent:  # it died before
            os._exit(1)

    with log.open("ab") as out:
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True, preexec_fn=prepare
        )


def start_module(module: str, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
    """`start` for a module of this package, by its name after ``hymarl.``, with this interpreter and search path."""
    package = __package__.rpartition(".")[0]
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; sys.argv[0] = {module!r}; "
        f"import importlib; sys.exit(importlib.import_module({f'{package}.{module}'!r}).main(sys.argv[1:]))"
    )
    return start([sys.executable, "-c", program, *arguments], log)


def stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
    """Ask processes to end, the last that was started first, and kill those that do not."""
    for process in reversed(processes):
        if process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                process.terminate()
    for process in processes:
        try:
            process.wait(_PATIENCE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""What one worker process does: it plays a `VectorEnv` over some rows, on command, in shared memory.

The worker and its owner exchange single bytes over a pipe; actions, masks, seeds and time steps lie in a `Block`. The
owner's side is `hymarl.envs.workers.pool`. This module must not import torch.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import multiprocessing
import os
import pickle
import select
import signal
import sys
import threading
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection
from multiprocessing.shared_memory import SharedMemory
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...components.spec import EnvSpec, TimeStep
from ...registry import ConfigError
from ..adapters.single import describe
from ..contract.vector_env import EpisodeFailure, VectorEnv

RESET, STEP, CLOSE = b"r", b"s", b"c"
"""Commands."""
DONE, FAILED_ROWS, FAILED = b"d", b"f", b"e"
"""First byte of an answer: all went well; some rows failed (their pickled list follows); all is lost (text follows)."""

_LONGEST_WATCH_S = 0.005
_ALIGNMENT = 64
_PR_SET_PDEATHSIG = 1


class Block:
    """Shared memory for the rows of one worker, as arrays.

    Attributes:
        actions: ``[n, A]`` int64.
        where: ``[n]`` bool, the rows to reset or to step.
        seeds: ``[n]`` uint64.
        time_step: what the environment returned.
    """

    def __init__(self, spec: EnvSpec, n_rows: int, name: str | None = None) -> None:
        inputs = (np.zeros((n_rows, spec.n_agents), np.int64), np.zeros(n_rows, np.bool_), np.zeros(n_rows, np.uint64))
        wanted = [*inputs, *TimeStep.zeros(spec, n_rows)]
        sizes = [-(-array.nbytes // _ALIGNMENT) * _ALIGNMENT for array in wanted]
        starts = np.cumsum([0, *sizes[:-1]]).tolist()
        self._memory = SharedMemory(name, create=name is None, size=sum(sizes))
        self.name = self._memory.name
        self.actions, self.where, self.seeds, *rest = (
            np.ndarray(array.shape, array.dtype, self._memory.buf, start)
            for array, start in zip(wanted, starts, strict=True)
        )
        self.time_step = TimeStep(*rest)

    def unlink(self) -> None:
        """Take the name away: the memory lives on as long as a process has it open, and can no longer leak."""
        self._memory.unlink()

    def close(self) -> None:
        """Give the memory back; the arrays are gone."""
        del self.actions, self.where, self.seeds, self.time_step
        self._memory.close()


def serve(commands: Connection, stderr: Connection, make_env: bytes, n_rows: int, owner_is_main_thread: bool) -> None:
    """Main function of a worker process: make the environment, obey commands, leave when the owner is gone.

    Args:
        commands: the worker's end of the command pipe.
        stderr: receives what is written to standard error, tracebacks of crashes included.
        make_env: pickled function from a number of rows to a `VectorEnv`.
        n_rows: number of rows.
        owner_is_main_thread: whether the thread that started this process lives as long as its process.
    """
    os.dup2(stderr.fileno(), 2)
    stderr.close()
    _prepare_process(owner_is_main_thread)
    try:
        env: VectorEnv = pickle.loads(make_env)(n_rows)
    except Exception as error:
        text = str(error) if isinstance(error, ConfigError) else describe(error)
        commands.send((isinstance(error, ConfigError), text))
        return
    try:
        commands.send(env.spec)
        block = Block(env.spec, n_rows, name=commands.recv())
        commands.send_bytes(DONE)
        with contextlib.closing(block):
            _obey(env, block, commands)
    except (EOFError, BrokenPipeError, ConnectionResetError):
        pass  # the owner is gone
    finally:
        env.close()
        for process in multiprocessing.active_children():  # which the end of this process would wait for
            process.terminate()


def _obey(env: VectorEnv, block: Block, commands: Connection) -> None:
    watch, worked_s = _Watch(commands), 0.0
    while (command := watch.receive(worked_s)) != CLOSE:
        began = time.perf_counter()
        try:
            answer = DONE
            # Copies: an environment may keep or change its arguments, the block belongs to the owner.
            if command == RESET:
                time_step = env.reset(block.seeds.copy(), block.where.copy())
            else:
                time_step = env.step(block.actions.copy(), block.where.copy())
        except EpisodeFailure as failure:
            time_step = failure.time_step
            answer = FAILED_ROWS + pickle.dumps(failure.failures)
        except Exception as error:
            commands.send_bytes(FAILED + describe(error).encode(errors="replace"))
            continue
        answer = _write(time_step, block.time_step) or answer
        worked_s = time.perf_counter() - began
        commands.send_bytes(answer)


class _Watch:
    """Waits for commands: first awake, ready to give its core to others, then asleep.

    To wake a sleeping process, and on a virtual machine its core, takes as long as some steps of an environment.

    Args:
        commands: where they come from.
    """

    def __init__(self, commands: Connection) -> None:
        self._commands = commands
        self._poll = select.poll()
        self._poll.register(commands, select.POLLIN)

    def receive(self, worked_s: float) -> bytes:
        """The next command.

        Args:
            worked_s: how long the last one took; so long, and at most some milliseconds, it stays awake.
        """
        until = time.perf_counter() + min(worked_s, _LONGEST_WATCH_S)
        while not self._poll.poll(0) and time.perf_counter() < until:
            os.sched_yield()
        return self._commands.recv_bytes()


def _write(time_step: TimeStep, shared: TimeStep) -> bytes:
    """Copy to shared memory; the answer that tells what is wrong with the arrays, if anything is."""
    arrays: Iterable[NDArray[Any]] = time_step
    targets: Iterable[NDArray[Any]] = shared
    for name, array, target in zip(TimeStep._fields, arrays, targets, strict=True):
        if array.shape != target.shape:
            return FAILED + f"{name} has the shape {array.shape}, expected {target.shape}".encode()
        target[...] = array
    return b""


def _prepare_process(owner_is_main_thread: bool) -> None:
    """Leave Ctrl-C to the owner, say on standard error where a crash or hang is, and never outlive the owner."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.enable()
    faulthandler.register(signal.SIGUSR1, all_threads=False)
    os.setpgid(0, 0)  # processes that the environment starts can be ended with the worker
    # The owner's end is to end this process as a daemonic one, which could not have children; here it may have some.
    multiprocessing.current_process().daemon = False
    if sys.platform == "linux":
        _start_guard()
        if owner_is_main_thread:  # the signal is sent at the end of the owner's *thread*
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_die_with_owner, daemon=True).start()


def _start_guard() -> None:
    """Fork a process that outlives this one for a moment, however it ends, and ends all that the environment started.

    A worker that is killed together with its owner cannot do that itself.
    """
    worker, prctl = os.getpid(), ctypes.CDLL(None).prctl
    told = {signal.SIGUSR1}
    before = signal.pthread_sigmask(signal.SIG_BLOCK, told)
    if os.fork() == 0:
        try:
            prctl(_PR_SET_PDEATHSIG, signal.SIGUSR1)
            for file in os.listdir("/proc/self/fd"):  # while it has the pipes, their other ends do not notice a death
                with contextlib.suppress(OSError):
                    os.close(int(file))
            if os.getppid() == worker:
                signal.sigwait(told)
            os.killpg(worker, signal.SIGKILL)  # itself too
        finally:
            os._exit(1)
    signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_owner() -> None:
    owner = multiprocessing.parent_process()
    assert owner is not None
    owner.join()
    os.killpg(0, signal.SIGKILL)

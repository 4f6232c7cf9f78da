"""Environments in worker processes over shared memory; the worker's side is `hymarl.envs.workers.worker_process`."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from multiprocessing import connection
from multiprocessing.connection import Connection
from types import ModuleType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ...components.rng import UInt64Array
from ...components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ...registry import ConfigError
from ..contract.vector_env import EpisodeFailure, RowFailure, VectorEnv
from . import worker_process as protocol

START_ALLOWANCE_S = 60.0
"""How much longer than a step the start of a worker may take: imports, compilation, starting a game."""

_CLOSE_S = 5.0
_STDERR_BYTES = 2000
T = TypeVar("T")
_SPAWN = multiprocessing.get_context("spawn")


class WorkerLost(Exception):
    """A worker process died, hangs, or cannot go on; the message says which and why."""


class WorkerEnvs:
    """A `VectorEnv` whose rows are split over worker processes, each of which plays any `VectorEnv` over its rows.

    Results do not depend on the number of workers. A worker that dies, gives no answer in time or raises is killed and
    started anew; the episodes that it was playing are reported as `EpisodeFailure`, the other workers' rows have been
    stepped. No process and no shared memory is left when the owner closes it, drops its last
    reference to it, ends or is killed.

    Args:
        make_env: picklable; called in each worker with its number of rows.
        n_envs: B.
        n_workers: number of processes, at most one per row.
        timeout_s: seconds that one reset or step of all rows may take; a start may take `START_ALLOWANCE_S` longer.

    Raises:
        ConfigError: the environment refused its settings.
        RuntimeError: an environment could not be made for another reason.
    """

    def __init__(self, make_env: Callable[[int], VectorEnv], n_envs: int, n_workers: int, *, timeout_s: float) -> None:
        if n_envs < 1 or n_workers < 1 or timeout_s <= 0:
            raise ValueError(
                f"n_envs={n_envs} and n_workers={n_workers} must be at least 1, timeout_s={timeout_s} positive"
            )
        self.n_envs = n_envs
        self._timeout_s = timeout_s
        edges = np.linspace(0, n_envs, min(n_workers, n_envs) + 1).astype(int).tolist()
        factory = pickle.dumps(make_env)
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _close_all, self._workers, os.getpid())
        for start, stop in itertools.pairwise(edges):
            self._workers.append(_Worker(factory, slice(start, stop), START_ALLOWANCE_S + timeout_s))
        self.spec = self._connect()
        self._out = TimeStep.zeros(self.spec, n_envs)
        self._seeds = np.zeros(n_envs, np.uint64)
        self._running = np.zeros(n_envs, np.bool_)

    @property
    def worker_pids(self) -> list[int]:
        """Process numbers of the workers, in the order of their rows."""
        return [worker.pid for worker in self._workers]

    def reset(self, seeds: UInt64Array, where: BoolArray) -> TimeStep:
        """Start new episodes in the rows ``where`` is true."""
        self._seeds[where] = seeds[where]
        self._running |= where
        return self._call(protocol.RESET, where, None)

    def step(self, actions: IntArray, active: BoolArray) -> TimeStep:
        """Execute one joint action in each active row."""
        return self._call(protocol.STEP, active, actions)

    def close(self) -> None:
        """End the workers; waits some seconds for them, then kills them."""
        self._finalizer()

    def _connect(self) -> EnvSpec:
        try:
            specs = [worker.connect() for worker in self._workers]
        except (WorkerLost, ConfigError) as error:
            self.close()
            if isinstance(error, ConfigError):
                raise
            raise RuntimeError(f"the environment could not be made in a worker process: {error}") from error
        if any(spec != specs[0] for spec in specs):
            self.close()
            raise RuntimeError(f"the workers' environments differ: {specs}")
        return specs[0]

    def _call(self, command: bytes, where: BoolArray, actions: IntArray | None) -> TimeStep:
        asked: list[_Worker] = []
        failures: list[RowFailure] = []
        for worker in self._workers:
            rows = worker.rows
            try:
                if where[rows].any():
                    worker.ask(command, self._seeds[rows], where[rows], None if actions is None else actions[rows])
                    asked.append(worker)
                else:
                    _clear(self._out, rows)
            except WorkerLost as loss:
                failures += self._lose(worker, loss, where, actions)
        deadline = time.monotonic() + self._timeout_s
        for worker in asked:
            try:
                failures += self._collect(worker, deadline)
            except WorkerLost as loss:
                failures += self._lose(worker, loss, where, actions)
        self._running &= ~(self._out.terminated | self._out.truncated)
        if failures:
            raise EpisodeFailure(sorted(failures, key=lambda failure: failure.row), self._out)
        return self._out

    def _collect(self, worker: _Worker, deadline: float) -> list[RowFailure]:
        failures = worker.answer(deadline, self._timeout_s)
        arrays: Iterable[NDArray[Any]] = self._out
        for array, shared in zip(arrays, worker.time_step, strict=True):
            array[worker.rows] = shared
        failures = [replace(failure, row=failure.row + worker.rows.start) for failure in failures]
        self._running[[failure.row for failure in failures]] = False
        return failures

    def _lose(self, worker: _Worker, loss: WorkerLost, where: BoolArray, actions: IntArray | None) -> list[RowFailure]:
        """Start the worker anew; every episode that it was playing has failed, also those not in this call."""
        worker.restart()
        _clear(self._out, worker.rows)
        lost = np.arange(self.n_envs)[worker.rows][(where | self._running)[worker.rows]].tolist()
        self._running[worker.rows] = False
        given = {b: tuple(actions[b].tolist()) for b in lost if where[b]} if actions is not None else {}
        return [RowFailure(b, int(self._seeds[b]), given.get(b), str(loss)) for b in lost]


class _Worker:
    """The owner's handle on one worker process.

    Attributes:
        rows: which rows of the whole it plays.
    """

    def __init__(self, make_env: bytes, rows: slice, start_timeout_s: float) -> None:
        self.rows = rows
        self._make_env = make_env
        self._start_timeout_s = start_timeout_s
        self._block: protocol.Block | None = None
        self._spec: EnvSpec | None = None
        self._start()

    @property
    def pid(self) -> int:
        """Process number."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def time_step(self) -> TimeStep:
        """The answer to the last command, in shared memory."""
        assert self._block is not None
        return self._block.time_step

    def _start(self) -> None:
        own_commands, commands = _SPAWN.Pipe()
        reader, stderr = _SPAWN.Pipe(duplex=False)
        in_main_thread = threading.current_thread() is threading.main_thread()
        n_rows = self.rows.stop - self.rows.start
        args = (commands, stderr, self._make_env, n_rows, in_main_thread)
        process = _SPAWN.Process(target=protocol.serve, args=args, daemon=True, name="hymarl-env")
        with _main_module_hidden(unless=b"__main__" in self._make_env), _interrupts_blocked():
            process.start()
        # With these copies closed, the death of the worker is the end of its pipes.
        commands.close()
        stderr.close()
        self._process, self._commands, self._stderr = process, own_commands, _Tail(reader)
        self._waiting = self._dismissed = self._collected = False

    def connect(self) -> EnvSpec:
        """Wait until the worker has made its environment; at once if it has.

        Raises:
            WorkerLost: it could not.
            ConfigError: the environment refused its settings.
        """
        if self._spec is not None:
            return self._spec
        deadline = time.monotonic() + self._start_timeout_s
        self._await(deadline, self._start_timeout_s)
        answer = self._receive(self._commands.recv)
        if not isinstance(answer, EnvSpec):
            is_config_error, text = answer
            raise ConfigError(text) if is_config_error else WorkerLost(text)
        self._block = protocol.Block(answer, self.rows.stop - self.rows.start)
        try:
            self._commands.send(self._block.name)
            self._await(deadline, self._start_timeout_s)
            self._receive(self._commands.recv_bytes)
        except OSError as error:
            raise WorkerLost(self._obituary()) from error
        finally:
            self._block.unlink()
        self._spec = answer
        return answer

    def ask(self, command: bytes, seeds: UInt64Array, where: BoolArray, actions: IntArray | None) -> None:
        """Send a command; `answer` must follow."""
        if self._waiting:
            raise WorkerLost("an earlier call was interrupted before the worker had answered")
        try:
            self.connect()
        except ConfigError as error:
            raise WorkerLost(str(error)) from error
        assert self._block is not None
        self._block.seeds[:], self._block.where[:] = seeds, where
        if actions is not None:
            self._block.actions[:] = actions
        try:
            self._commands.send_bytes(command)
        except OSError as error:
            raise WorkerLost(self._obituary()) from error
        self._waiting = True

    def answer(self, deadline: float, timeout_s: float) -> list[RowFailure]:
        """Wait for the end of the last command; the rows that failed, if any, with the worker's row numbers."""
        self._await(deadline, timeout_s)
        answer = self._receive(self._commands.recv_bytes)
        self._waiting = False
        if answer[:1] == protocol.FAILED:
            raise WorkerLost(answer[1:].decode())
        failures: list[RowFailure] = pickle.loads(answer[1:]) if answer[:1] == protocol.FAILED_ROWS else []
        return failures

    def restart(self) -> None:
        """Kill the process and start another; `connect` waits for it when it is needed."""
        self._end()
        self._start()

    def dismiss(self) -> None:
        """Ask the process to leave; `close` must follow."""
        if self._spec is not None and not self._waiting:
            with contextlib.suppress(OSError):
                self._commands.send_bytes(protocol.CLOSE)
                self._dismissed = True

    def close(self) -> None:
        """Wait for a dismissed process, kill it if it does not leave."""
        if self._dismissed:
            connection.wait([self._process.sentinel], _CLOSE_S)
        self._end()

    def _end(self) -> None:
        self._kill()
        self._commands.close()
        self._stderr.close()
        if self._block is not None:
            self._block.close()
        self._block = self._spec = None

    def _kill(self) -> None:
        """Kill the process with all that it has started, and collect it."""
        if self._collected:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):  # too young to lead a group, or all are gone
            os.killpg(self.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join()
        self._collected = True

    def _await(self, deadline: float, timeout_s: float) -> None:
        if self._commands.poll(max(0.0, deadline - time.monotonic())):
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGUSR1)  # makes it print where it hangs
        time.sleep(0.2)
        tail = self._stderr.text()
        self._kill()
        raise WorkerLost(f"worker process {self.pid} gave no answer within {timeout_s:g} s{tail}")

    def _receive(self, receive: Callable[[], T]) -> T:
        try:
            return receive()
        except (EOFError, OSError) as error:
            raise WorkerLost(self._obituary()) from error

    def _obituary(self) -> str:
        ended = connection.wait([self._process.sentinel], 1.0)
        self._kill()
        code = self._process.exitcode or 0
        how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        how = how if ended else "closed its pipe"
        return f"worker process {self.pid} {how}{self._stderr.text(wait_s=1.0)}"


class _Tail:
    """Passes a worker's standard error on and remembers its end."""

    def __init__(self, reader: Connection) -> None:
        self._reader = reader
        self._end = b""
        self._thread = threading.Thread(target=self._drain, daemon=True, name="hymarl-stderr")
        self._thread.start()

    def _drain(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._reader.fileno(), 4096):
                self._end = (self._end + data)[-_STDERR_BYTES:]
                os.write(2, data)

    def text(self, wait_s: float = 0.0) -> str:
        """The end of what was written, as the end of a message; ``wait_s`` for the end of the stream."""
        self._thread.join(wait_s)
        end = self._end.decode(errors="replace").strip()
        return f"; the end of its standard error: {end}" if end else ""

    def close(self) -> None:
        """Stop once the worker, and all who share its standard error, are gone."""
        self._thread.join(1.0)
        if not self._thread.is_alive():
            self._reader.close()


@contextlib.contextmanager
def _main_module_hidden(unless: bool) -> Iterator[None]:
    """Keep new processes from importing the script that runs, and with it torch, unless they need it."""
    main = sys.modules["__main__"]
    if not unless:
        sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main


@contextlib.contextmanager
def _interrupts_blocked() -> Iterator[None]:
    """New processes inherit the mask: Ctrl-C is the owner's from their first moment on."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _close_all(workers: list[_Worker], owner: int) -> None:
    if os.getpid() == owner:  # not in a fork of the owner
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.close()


def _clear(out: TimeStep, rows: slice) -> None:
    for array in out:
        array[rows] = 0

"""Worker processes: equal results for any number of them, and nothing lost or left behind when they fail."""

import contextlib
import copy
import os
import pickle
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hymarl.components import rng
from hymarl.components.rng import Stream
from hymarl.envs.contract.checker import check_environment
from hymarl.envs.contract.vector_env import EpisodeFailure
from hymarl.envs.workers.pool import WorkerEnvs
from hymarl.registry import ConfigError, build

HERE = Path(__file__).parents[1]
PETTINGZOO = {
    "install": None,
    "kwargs": {"raise_at": 2},
    "agents_kwarg": None,
    "episode_limit": None,
    "reward": "sum",
    "state": "own",
    "metrics": [],
    "global_random": True,
    "at_limit": "terminated",
    "others": None,
}

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks at /proc")


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.syspath_prepend(HERE)


@pytest.fixture
def start():
    """Makes worker environments that are closed after the test, which must leave nothing behind."""
    with contextlib.ExitStack() as stack:

        def make(n_envs, n_workers, make_env=None, timeout_s=20.0):
            from walk import Walk

            return stack.enter_context(
                contextlib.closing(WorkerEnvs(make_env or Walk, n_envs, n_workers, timeout_s=timeout_s))
            )

        yield make


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until_gone(*pids):
    deadline = time.monotonic() + 10
    while any(map(is_alive, pids)):
        assert time.monotonic() < deadline, "a process is still there"
        time.sleep(0.02)


def keys(n, episode=0):
    return rng.keys(1, Stream.TEST, np.arange(n) + episode * n)


def episode(env, where, first=0):
    """Time steps of one episode in the rows ``where``."""
    running = np.array(where, np.bool_)
    steps = [copy.deepcopy(env.reset(keys(env.n_envs, first), running))]
    while running.any():
        actions = np.zeros((env.n_envs, env.spec.n_agents), np.int64)
        steps.append(copy.deepcopy(env.step(actions, running.copy())))
        running &= ~(steps[-1].terminated | steps[-1].truncated)
    return steps


def assert_equal(ours, theirs, rows=slice(None)):
    assert len(ours) == len(theirs)
    for a, b in zip(ours, theirs, strict=True):
        for name, x, y in zip(a._fields, a, b, strict=True):
            assert np.array_equal(x[rows], y[rows]), name


def joint(env, **faults):
    actions = np.zeros((env.n_envs, 2), np.int64)
    for row, action in faults.items():
        actions[int(row[1:]), 1] = action
    return actions


@pytest.mark.parametrize("n_workers", [2, 9])
def test_any_number_of_workers_keeps_the_contract_and_gives_equal_results(n_workers, start):
    from walk import Walk

    env, plain = start(3, n_workers), Walk(3)
    assert len(env.worker_pids) == min(n_workers, 3)
    assert env.spec == plain.spec
    check_environment(env)
    for number, where in enumerate([[1, 1, 1], [0, 1, 1], [1, 0, 0]]):
        assert_equal(episode(env, where, number), episode(plain, where, number))


def test_workers_are_light_and_see_no_names_in_shared_memory(start):
    from walk import Walk

    env = start(1, 1, partial(Walk, helper="program"))
    assert not any(now.metrics[:, 2].any() for now in episode(env, [1]))  # torch is not imported
    for pid in env.worker_pids:
        blocks = [line for line in Path(f"/proc/{pid}/maps").read_text().splitlines() if "/dev/shm/" in line]
        assert blocks
        assert all(line.endswith("(deleted)") for line in blocks)  # cannot leak, whoever is killed


def test_failing_worker_loses_its_rows_and_is_started_anew_whatever_went_wrong(start):
    import walk

    env, plain = start(4, 2, timeout_s=2.0), walk.Walk(4)
    expected = episode(plain, [1] * 4)
    every = np.ones(4, np.bool_)
    for fault, reason in (
        ("KILL", "was ended by SIGKILL"),
        ("EXIT", "ended with exit code 3; the end of its standard error: the game server said no"),
        ("RAISE", "RuntimeError: a wheel came off ("),
        ("HANG", "gave no answer within 2 s; the end of its standard error: "),
    ):
        env.reset(keys(4), every)
        env.step(joint(env), every)
        before = env.worker_pids
        with pytest.raises(EpisodeFailure) as caught:
            env.step(joint(env, r2=getattr(walk, fault)), every)
        failures, now = caught.value.failures, caught.value.time_step
        assert [f.row for f in failures] == [2, 3]
        assert [f.actions for f in failures] == [(0, getattr(walk, fault)), (0, 0)]
        assert [f.seed for f in failures] == keys(4)[2:].tolist()
        assert all(reason in f.reason for f in failures), failures[0].reason
        assert fault != "HANG" or "_go_wrong" in failures[0].reason  # where it hangs
        assert_equal([now], [expected[2]], slice(0, 2))
        assert not any(array[2:].any() for array in now)
        # The others go on, and the lost episodes can be played again.
        now = env.step(joint(env), np.array([True, True, False, False]))
        assert_equal([now], [expected[3]], slice(0, 2))
        assert_equal(episode(env, [0, 0, 1, 1]), episode(plain, [0, 0, 1, 1]))
        assert env.worker_pids[0] == before[0]
        assert env.worker_pids[1] != before[1]
        assert not is_alive(before[1])


def test_worker_killed_between_calls(start):
    env = start(2, 1)
    every = np.ones(2, np.bool_)
    env.reset(keys(2), every)
    os.kill(env.worker_pids[0], signal.SIGKILL)
    wait_until_gone(env.worker_pids[0])
    with pytest.raises(EpisodeFailure, match="SIGKILL") as caught:
        env.step(joint(env), every)
    assert [f.row for f in caught.value.failures] == [0, 1]


def test_reset_that_loses_a_worker_reports_its_running_episodes_too(start):
    from walk import Walk

    env = start(3, 1)
    env.reset(keys(3), np.array([True, True, False]))
    os.kill(env.worker_pids[0], signal.SIGKILL)
    with pytest.raises(EpisodeFailure) as caught:
        env.reset(keys(3), np.array([True, False, False]))
    assert [(f.row, f.actions) for f in caught.value.failures] == [(0, None), (1, None)]
    assert_equal(episode(env, [1, 1, 1]), episode(Walk(3), [1, 1, 1]))
    os.kill(env.worker_pids[0], signal.SIGKILL)
    with pytest.raises(EpisodeFailure) as caught:
        env.reset(keys(3), np.array([True, False, False]))
    assert [f.row for f in caught.value.failures] == [0]  # the others were over


def test_failure_of_one_row_in_a_worker_leaves_its_other_rows(start):
    settings = {**PETTINGZOO, "entry_point": "parallel_games:Uneven"}
    env = start(4, 2, partial(build, "env", "pettingzoo", settings, None))
    every = np.ones(4, np.bool_)
    env.reset(keys(4), every)
    env.step(joint(env), np.array([False, False, True, False]))
    before = env.worker_pids
    with pytest.raises(EpisodeFailure, match="the board fell off the table") as caught:
        env.step(joint(env), every)
    assert [f.row for f in caught.value.failures] == [2]
    assert caught.value.time_step.reward.tolist() == [3, 3, 0, 3]
    assert env.worker_pids == before


def test_interrupted_call_is_not_answered_by_the_next_one(start):
    import walk

    env = start(2, 1)
    every = np.ones(2, np.bool_)
    env.reset(keys(2), every)

    def interrupt(*_):
        raise KeyboardInterrupt

    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(KeyboardInterrupt):
            env.step(joint(env, r0=walk.HANG), every)
    finally:
        signal.signal(signal.SIGALRM, old)
    with pytest.raises(EpisodeFailure, match="interrupted"):
        env.step(joint(env), every)
    assert_equal(episode(env, [1, 1]), episode(walk.Walk(2), [1, 1]))


def test_workers_ignore_the_interrupt_of_the_keyboard(start):
    env = start(2, 1)
    os.kill(env.worker_pids[0], signal.SIGINT)
    episode(env, [1, 1])
    os.kill(env.worker_pids[0], signal.SIGKILL)
    with pytest.raises(EpisodeFailure):
        episode(env, [1, 1])
    os.kill(env.worker_pids[0], signal.SIGINT)  # a process that has hardly begun
    episode(env, [1, 1])


@pytest.mark.parametrize("helper", ["program", "abandoned process"])  # of Python's; not ended when it is closed
def test_close_ends_processes_and_what_they_started(start, helper):
    from walk import KILL, Walk

    env = start(2, 2, partial(Walk, helper=helper))
    helpers = episode(env, [1, 1])[1].metrics[:, 1].astype(int).tolist()
    pids = env.worker_pids
    env.reset(keys(2), np.ones(2, np.bool_))
    with pytest.raises(EpisodeFailure):
        env.step(joint(env, r0=KILL), np.ones(2, np.bool_))
    wait_until_gone(helpers[0])  # the killed worker could not do that
    began = time.monotonic()
    env.close()
    env.close()
    wait_until_gone(*pids, *helpers)
    assert time.monotonic() - began < 4  # nobody was waited for in vain


def test_forgotten_environment_leaves_nothing():
    from walk import Walk

    env = WorkerEnvs(partial(Walk, helper="abandoned process"), 2, 1, timeout_s=20.0)
    helpers = episode(env, [1, 1])[1].metrics[:, 1].astype(int).tolist()
    pids = env.worker_pids
    del env
    wait_until_gone(*pids, *helpers)


def test_what_an_environment_started_ends_with_its_killed_worker(start):
    from walk import Walk

    env = start(2, 1, partial(Walk, helper="program"))
    helpers = episode(env, [1, 1])[1].metrics[:, 1].astype(int).tolist()
    os.kill(env.worker_pids[0], signal.SIGKILL)
    wait_until_gone(env.worker_pids[0], *helpers)  # before the owner has noticed


def test_environment_that_cannot_be_made_is_reported_in_its_own_words(start):
    from walk import Walk

    settings = {"payoffs": [[1]], "next_state": None, "steps": 0, "observe_step": True, "individual_rewards": False}
    with pytest.raises(ConfigError, match="env=matrix_game: steps must be at least 1, got 0"):
        start(2, 1, partial(build, "env", "matrix_game", settings, None))
    with pytest.raises(RuntimeError, match=r"TypeError: .*no_such_setting"):
        start(2, 1, partial(Walk, no_such_setting=1))


@pytest.mark.parametrize("values", [(0, 1, 1.0), (1, 0, 1.0), (1, 1, 0.0)])
def test_impossible_numbers(values):
    with pytest.raises(ValueError, match="must be at least 1"):
        WorkerEnvs(pickle.loads, values[0], values[1], timeout_s=values[2])


OWNER = """
import os
os.write(1, b"script read\\n")  # in one piece

import sys, time
import numpy as np
from hymarl.envs.workers.pool import WorkerEnvs
from functools import partial
from threading import Thread
from walk import FREEZE, HANG, Walk

def make_here(n_envs):
    return Walk(n_envs)

def start():
    env = WorkerEnvs({factory}, 2, 2, timeout_s=60)
    env.reset(np.arange(2, dtype=np.uint64), np.ones(2, bool))
    helpers = env.step(np.zeros((2, 2), int), np.ones(2, bool)).metrics[:, 1].astype(int)
    print(*env.worker_pids, *helpers[helpers > 0], flush=True)
    return env

def fault(number):
    start().step(np.array([[0, 0], [number, 0]]), np.ones(2, bool))

if __name__ == "__main__":
    {then}
"""


@pytest.fixture
def owner(tmp_path):
    """Runs a script that owns two workers; gives the process and the workers' process numbers."""
    running = []

    def run(then, factory="Walk"):
        script = tmp_path / "owner.py"
        script.write_text(OWNER.format(then=then, factory=factory))
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
        process = subprocess.Popen(
            [sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        )
        running.append(process)
        lines = [process.stdout.readline()]
        while lines[-1] == "script read\n":
            lines.append(process.stdout.readline())
        return process, [int(pid) for pid in lines[-1].split()], len(lines) - 1

    yield run
    for process in running:
        process.kill()
        process.communicate()


@pytest.mark.parametrize(
    "then",
    ["Thread(target=fault, args=[HANG]).start()", "fault(FREEZE)"],
    ids=["one idle, one hanging, started by a thread", "one idle, one frozen"],
)
def test_workers_die_with_their_owner(then, owner):
    process, pids, _ = owner(then, factory="partial(Walk, helper='abandoned process')")
    assert len(pids) == 4
    time.sleep(0.3)
    process.kill()
    process.wait()
    wait_until_gone(*pids)


def test_owner_may_end_without_closing(owner):
    process, pids, times_read = owner("env = start()", factory="partial(Walk, helper='abandoned process')")
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (0, "")
    wait_until_gone(*pids)
    assert times_read == 1  # workers do not import the script: it may import torch


def test_factory_of_the_script_itself_works(owner):
    process, pids, times_read = owner("start().close()", factory="make_here")
    _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors, times_read) == (0, "", 3)
    wait_until_gone(*pids)

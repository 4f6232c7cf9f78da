"""Environments go to worker processes where that is faster, and results do not depend on it."""

import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from hymarl.components.rng import Stream
from hymarl.envs.adapters.joint_agent import JointAgent, make_joint
from hymarl.envs.adapters.single import SingleEnvs
from hymarl.envs.workers.pool import WorkerEnvs
from hymarl.policies.random import RandomPolicy
from hymarl.runners import placement
from hymarl.runners.placement import place


@pytest.fixture
def cores(monkeypatch):
    return lambda n: monkeypatch.setattr(placement, "available_cores", lambda: n)


@pytest.fixture(autouse=True)
def importable(monkeypatch, request):
    monkeypatch.syspath_prepend(request.path.parent)


@pytest.fixture(autouse=True)
def clock(monkeypatch, importable):
    import slow_games

    monkeypatch.setattr(placement, "time", slow_games.CLOCK)


@pytest.fixture
def placed():
    """Where environments of this step time go, closed at the end."""
    envs = []

    def run(step_s, n_envs, workers=None, **changes):
        import slow_games

        placed = place(partial(slow_games.make, step_s, **changes), n_envs, workers, timeout_s=30.0)
        envs.append(placed.env)
        return placed

    yield run
    for env in envs:
        env.close()


def test_slow_environments_go_to_as_many_workers_as_there_are_cores(placed, cores):
    cores(2)
    env, text = placed(0.004, 4)
    assert isinstance(env, WorkerEnvs)
    assert len(env.worker_pids) == 2
    assert text == "in 2 worker processes (a step takes 4000 µs)"


def test_fast_ones_stay_and_it_is_said(placed, cores):
    cores(4)
    env, text = placed(2e-6, 8)
    assert isinstance(env, SingleEnvs)
    assert text == "in this process (a step takes 2 µs: worker processes would not be much faster)"


@pytest.mark.parametrize(("n_envs", "n_cores"), [(4, 1), (1, 8)])
def test_a_single_worker_never_pays(placed, cores, n_envs, n_cores):
    cores(n_cores)
    assert isinstance(placed(0.004, n_envs).env, SingleEnvs)


def test_what_was_asked_for_is_done(placed):
    env, text = placed(0.0, 3, workers=2)
    assert isinstance(env, WorkerEnvs)
    assert len(env.worker_pids) == 2
    assert text == "in 2 worker processes"
    env, text = placed(0.01, 3, workers=0)
    assert isinstance(env, SingleEnvs)
    assert text == "in this process"


def test_batched_environments_stay(component):
    env, text = place(lambda n: component("env", "goal_swap", None, n), 8, None, 1.0)
    assert text == "in this process"
    env.close()


def test_one_agent_for_all_is_placed_as_its_environment_is(component, cores):
    import slow_games

    cores(2)
    env, text = place(partial(make_joint, partial(slow_games.make, 1e-6)), 4, None, 1.0)
    assert isinstance(env, JointAgent)
    assert text.startswith("in this process (a step takes 1 µs")  # it was measured
    env.close()
    env, text = place(partial(make_joint, partial(component, "env", "goal_swap", None)), 4, None, 1.0)
    assert text == "in this process"
    env.close()


def test_an_environment_that_fails_is_left_to_the_runner(placed, cores):
    cores(2)
    env, text = placed(0.01, 4, fails=True)
    assert isinstance(env, SingleEnvs)
    assert text == "in this process (the time of a step could not be measured)"


def test_where_workers_cannot_be_made_this_process_plays_and_says_so(placed, cores):
    cores(2)
    env, text = placed(0.004, 4, only_here=True)
    assert isinstance(env, SingleEnvs)
    reason = "the environment could not be made in a worker process: .*RuntimeError: one licence"
    assert re.fullmatch(
        rf"in this process \(a step takes 4000 µs, but worker processes cannot be made: {reason}.*\)", text
    )
    with pytest.raises(RuntimeError, match="one licence"):
        placed(0.004, 4, only_here=True, workers=2)  # who asks for them is told


def test_what_cannot_be_sent_to_workers_is_played_here(cores):
    cores(2)
    import slow_games

    env, text = place(lambda n: slow_games.make(0.004, n), 4, None, timeout_s=1.0)
    assert isinstance(env, SingleEnvs)
    assert "but worker processes cannot be made: " in text
    assert "pickle" in text


def test_only_one_environment_more_is_made_to_measure(cores):
    from slow_games import make

    made = []

    def make_env(n):
        made.append(n)
        return make(0.0, n)

    cores(2)
    place(make_env, 3, None, timeout_s=1.0).env.close()
    place(make_env, 3, 0, timeout_s=1.0).env.close()
    assert made == [1, 3, 3]


def test_the_measurement_changes_no_result(component, importable, monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "envs")
    settings = {"entry_point": "parallel_games:Uneven"}

    def played(workers):
        runner = component(
            "runner",
            "parallel",
            lambda n: component("env", "pettingzoo", None, n, **settings),
            3,
            Stream.TRAINING,
            n_envs=3,
            workers=workers,
        )
        batch, statistics = runner.play(RandomPolicy(runner.spec), np.arange(5))
        runner.close()
        return [x.numpy().copy() for x in batch.tensors().values()], statistics

    (one, first), (other, second) = played(0), played(None)
    for x, y in zip([*one, *first], [*other, *second], strict=True):
        np.testing.assert_array_equal(x, y)

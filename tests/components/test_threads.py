"""Threads are decided once, by what is asked for and what the machine has."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import torch

from hymarl.components import threads
from hymarl.components.replay.base import Sample
from hymarl.components.threads import Threads, decide


@pytest.mark.parametrize(
    ("asked", "cores", "jobs", "overlap", "wanted"),
    [
        (None, 1, 1, False, Threads(1, False)),
        (None, 2, 1, False, Threads(1, True)),
        (None, 2, 1, True, Threads(1, False)),  # collecting has the other core
        (None, 3, 1, True, Threads(1, True)),
        (None, 8, 4, False, Threads(1, True)),
        (None, 8, 8, False, Threads(1, False)),
        (None, 64, 1, False, Threads(1, True)),  # not more: results would depend on the machine
        (1, 64, 1, False, Threads(1, False)),
        (2, 1, 4, True, Threads(1, True)),  # as told
        (8, 2, 1, False, Threads(4, True)),
    ],
)
def test_a_run_gets_the_threads_it_can_use(monkeypatch, asked, cores, jobs, overlap, wanted):
    monkeypatch.setattr(threads, "available_cores", lambda: cores)
    assert decide(asked, jobs, overlap) == wanted


def test_the_header_reads_well():
    assert str(Threads(1, True)) == "1 for torch, a second one for targets and gradients, 1 for other libraries"
    assert str(Threads(2, False)) == "2 for torch, no second one for targets and gradients, 1 for other libraries"


def test_libraries_get_one_thread_unless_told_otherwise():
    code = "import os; from hymarl.components.threads import restrain_libraries as r; r(); print(os.environ[{!r}])"
    for name, given, wanted in (("OMP_NUM_THREADS", {}, "1"), ("NUMBA_NUM_THREADS", {"NUMBA_NUM_THREADS": "3"}, "3")):
        clean = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
        shown = subprocess.run(
            [sys.executable, "-c", code.format(name)], env=clean | given, capture_output=True, text=True, check=True
        )
        assert shown.stdout.strip() == wanted


def test_nothing_that_counts_its_threads_is_imported_before_they_are_decided():
    code = "import sys, hymarl.main; print({'numpy', 'torch', 'numba'} & set(sys.modules))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "set()"


def test_a_second_thread_changes_no_bit(component, make_controller, random_batch, spec):
    def sampled(batch):
        return Sample(batch, np.arange(batch.n_episodes))

    def learned(second_thread):
        torch.manual_seed(0)
        learner = component(
            "learner",
            "q",
            make_controller(spec, "rnn"),
            component("mixer", "qmix", spec),
            component("optimizer", "adam"),
            target_interval_updates=2,
        )
        seen = []
        if second_thread:
            learner.use_second_thread()
            unroll = learner.targets.networks["controller"].unroll
            learner.targets.networks["controller"].unroll = lambda batch: (
                seen.append(threading.current_thread()),
                unroll(batch),
            )[1]
        metrics = [learner.update(sampled(random_batch(spec, [3, 6, 2], seed=n))).metrics for n in range(6)]
        assert all(thread is not threading.main_thread() for thread in seen)
        assert len(seen) == (6 if second_thread else 0)
        return [*learner.networks.state_dict().values(), *(x for values in metrics for x in values.values())]

    for one, two in zip(learned(False), learned(True), strict=True):
        assert torch.equal(one, two)

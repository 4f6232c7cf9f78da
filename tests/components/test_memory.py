"""Freed memory is reused, a large block is there again without new page faults; more than there is is refused."""

import os
import resource
import subprocess
import sys

import pytest
from torch import nn

from hymarl.components import memory

_COUNT = """
import resource, sys
from hymarl.components.memory import reuse_large_blocks
if sys.argv[1] == "reuse":
    assert reuse_large_blocks()
import numpy as np
for _ in range(2):
    np.ones(5_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3):
    np.ones(5_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_large_blocks_are_not_mapped_anew():
    small_pages = os.environ | {"NUMPY_MADVISE_HUGEPAGE": "0"}  # of huge ones there may be any number
    command = [sys.executable, "-c", _COUNT]
    faults = {
        mode: int(subprocess.check_output([*command, mode], text=True, env=small_pages))
        for mode in ("reuse", "default")
    }
    pages = 3 * 40_000_000 // resource.getpagesize()
    assert faults["reuse"] < pages / 100 < faults["default"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux is asked")
def test_more_than_there_is_is_refused():
    memory.require_memory(1e6, "a little", "do nothing")
    with pytest.raises(ValueError, match=r"^the replay would take 3,200,000 GB of memory, of which .* GB are there; "):
        memory.require_memory(3.2e15, "the replay", "lower episodes")
    with pytest.raises(ValueError, match=r"; lower hidden_dims$"):
        memory.require_memory_for_weights(10**15, "the network", "lower hidden_dims")


def test_a_system_that_does_not_tell_is_not_in_the_way(monkeypatch):
    monkeypatch.setattr(memory, "_MEMINFO", memory.Path("/nowhere/meminfo"))
    assert memory._available() is None
    memory.require_memory(1e30, "anything", "do nothing")


def test_weights_are_counted():
    def size(*layers):
        return sum(weight.numel() for layer in layers for weight in layer.parameters())

    assert memory.linear_weights([7, 3, 5]) == size(nn.Linear(7, 3), nn.Linear(3, 5))
    assert memory.linear_weights([7]) == 0
    assert memory.gru_weights(4, 6) == size(nn.GRU(4, 6))

"""Memory is reused: after it was freed, a large block is there again without new page faults."""

import resource
import subprocess
import sys

import pytest

_COUNT = """
import resource, sys
from hymarl.components.memory import reuse_large_blocks
if sys.argv[1] == "reuse":
    assert reuse_large_blocks()
import numpy as np
for _ in range(3):
    np.ones(8_000_000)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    np.ones(8_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is asked")
def test_large_blocks_are_not_mapped_anew():
    faults = {
        mode: int(
            subprocess.run([sys.executable, "-c", _COUNT, mode], capture_output=True, text=True, check=True).stdout
        )
        for mode in ("reuse", "default")
    }
    pages = 5 * 64_000_000 // resource.getpagesize()
    assert faults["reuse"] < pages / 100 < faults["default"]

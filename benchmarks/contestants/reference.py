"""The floor of every program that uses torch: ``python reference.py CASE SECONDS``."""

from __future__ import annotations

import sys
import time

from measure import report, since_spawn, versions

if __name__ == "__main__":
    import torch  # noqa: F401 (this is what is measured)

    value = time.process_time() if sys.argv[1] == "start-help" else since_spawn()
    report(value, versions=versions("torch"))

"""``python -m hymarl …``: the same as ``hymarl …``."""

from __future__ import annotations

import runpy
import sys

if __name__ == "__main__":
    if __package__ and sys.modules[__package__].__file__ is None:
        # The current folder is on the path and holds a clone of this name, which hides the package in it.
        sys.path.pop(0)
        del sys.modules[__package__]
        runpy.run_module(__package__, run_name="__main__", alter_sys=True)
    else:
        from .main import main

        main()

"""The program in processes of its own that can be killed; they are forked from one that has done the imports."""

import multiprocessing
import os
import sys
from pathlib import Path

_CONTEXT = multiprocessing.get_context("forkserver")


def start(directory, arguments, environment):
    """Start the program in ``directory``; what it prints goes to ``output.txt`` there."""
    _CONTEXT.set_forkserver_preload(["hymarl.app.launch", "hymarl.main"])
    process = _CONTEXT.Process(target=_run, args=(str(directory), list(arguments), dict(environment)))
    process.start()
    return process


def _run(directory, arguments, environment):
    os.chdir(directory)
    os.environ.update(environment)
    with Path("output.txt").open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = ["main.py", *arguments]
    from hymarl.main import main

    main()

"""Compiling is announced where it takes long, and only there."""

import importlib.util
import threading
import time
from pathlib import Path

import numba
import pytest

from hymarl.components.compiled import COMPILING, announced_compilation, compile_once


def fresh():
    """A function that was never compiled, with a part that was not either, and its argument."""
    part = numba.njit(lambda x: x * 2.0)
    return numba.njit(lambda x: part(x) + 1.0), 2.5


def test_long_compiling_is_announced_once(capsys):
    with announced_compilation(after_s=0.0):
        for _ in range(2):
            function, argument = fresh()
            assert function(argument) == 6.0
    assert capsys.readouterr() == ("", f"{COMPILING}\n")


def test_what_is_compiled_or_takes_a_moment_is_not_announced(capsys):
    function, argument = fresh()
    function(argument)
    with announced_compilation(after_s=0.0):
        function(argument)
    with announced_compilation(after_s=60.0):
        function, argument = fresh()
        function(argument)
    function, argument = fresh()
    function(argument)
    assert capsys.readouterr() == ("", "")


def test_compiling_that_fails_is_over(capsys):
    function, _ = fresh()
    with announced_compilation(after_s=0.5):
        with pytest.raises(numba.TypingError):
            function("text")
        time.sleep(0.7)
    assert capsys.readouterr().err == ""


def test_of_processes_that_need_the_same_one_compiles_and_the_others_say_that_they_wait(tmp_path, capsys, monkeypatch):
    fcntl = pytest.importorskip("fcntl")
    monkeypatch.setattr(numba.config, "CACHE_DIR", "")
    path = tmp_path / "needed.py"
    path.write_text("import numba\n\n@numba.njit(cache=True)\ndef twice(x):\n    return x * 2.0\n")
    spec = importlib.util.spec_from_file_location("needed", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    folder = Path(module.twice.stats.cache_path)
    folder.mkdir(exist_ok=True)
    with open(folder / "twice.lock", "w") as lock, announced_compilation(after_s=0.0):
        fcntl.flock(lock, fcntl.LOCK_EX)  # as the process that compiles does
        waiting = threading.Thread(target=compile_once, args=(module.twice, 1.5))
        waiting.start()
        while (said := capsys.readouterr().err) == "":
            time.sleep(0.01)
        waiting.join(0.2)
        assert (said, waiting.is_alive(), module.twice.signatures) == (f"{COMPILING}\n", True, [])
        fcntl.flock(lock, fcntl.LOCK_UN)
        waiting.join()
    assert len(module.twice.signatures) == 1
    compile_once(module.twice, "text")  # was called before

"""Compiling is announced where it takes long, and only there."""

import time

import numba
import pytest

from hymarl.components.compiled import COMPILING, announced_compilation


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

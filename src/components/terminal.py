"""What is shown to people on standard output and standard error."""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Mapping
from pathlib import Path

_ERRORS = "hymarl.substitute"
_SUBSTITUTES: Mapping[str, str] = {
    "±": "+-",
    "…": "...",
    "×": "x",
    "µ": "u",
    "–": "-",
    "—": "-",
    "−": "-",
    "≤": "<=",
    "≥": ">=",
    "→": "->",
    "“": '"',
    "”": '"',
    "‘": "'",
    "’": "'",
}


def substitute_what_cannot_be_shown() -> None:
    """Let both streams write a substitute for a character that their encoding lacks, instead of raising an error.

    ``PYTHONIOENCODING=ascii`` and some locales give them such an encoding. Everything that is printed afterwards is
    covered: by this program, by libraries, by an environment.
    """
    codecs.register_error(_ERRORS, _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # in a notebook they are something else, which shows everything
            stream.reconfigure(errors=_ERRORS)


def program_name() -> str:
    """How this program was started, so that a message can say what to type next.

    In a notebook or a script of the user's, which other programs have started, it is the command.
    """
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return "python -m hymarl"
    return f"python {started}" if started.name == "main.py" else "hymarl"


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SUBSTITUTES.get(c, "?") for c in error.object[error.start : error.end]), error.end

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
    """Make standard output and error replace characters that their encoding lacks, instead of raising an error.

    ``PYTHONIOENCODING=ascii`` and some locales set such an encoding. Applies to everything that is printed afterwards,
    also by libraries and environments.
    """
    codecs.register_error(_ERRORS, _substitute)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's streams are of another class, and show every character
            stream.reconfigure(errors=_ERRORS)


def program_name() -> str:
    """How this program was started, so that a message can say what to type next.

    In a notebook or a user's script, it is the installed command ``hymarl``.
    """
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return "python -m hymarl"
    return f"python {started}" if started.name == "main.py" else "hymarl"


def _substitute(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_SUBSTITUTES.get(c, "?") for c in error.object[error.start : error.end]), error.end

"""Finding and making what settings name: modules and classes of other libraries or of the user."""

from __future__ import annotations

import contextlib
import copy
import difflib
import importlib
import io
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from .answers import InterfaceError, refusal
from .single import describe


def imported(module: str, install: str | None, setting: str | None = None) -> ModuleType:
    """A module of another library or of the user; what it prints as a greeting is dropped.

    Args:
        module: its name.
        install: what to type to get the package, for the message when it is missing; ``None``: not known.
        setting: what named it, for the message when it is no name.

    Raises:
        InterfaceError: it cannot be imported, or is no name of a module.
    """
    if not all(part.isidentifier() for part in module.split(".")):
        raise InterfaceError(f"{setting} must be the name of a module, such as my_package.my_module, got {module!r}")
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            return importlib.import_module(module)
    except ImportError as error:
        lacking = error.name or module
        if install:
            hint = f"it needs more packages: {install}"
        elif f"{module}.".startswith(f"{lacking}."):
            top = module.split(".")[0]
            hint = f"install its package, start from the folder that holds {top}, or add that folder to PYTHONPATH"
        else:
            hint = f"install the package that has {lacking}"
        raise InterfaceError(f"{module!r} cannot be imported: {error}; {hint}") from error
    except (Exception, SystemExit) as error:
        raise InterfaceError(f"{module!r} cannot be imported: {describe(error)}") from error


def loaded(entry_point: str, install: str | None, setting: str = "env.entry_point") -> Callable[..., Any]:
    """The function or class ``module:name``.

    Args:
        entry_point: where it is.
        install: see `imported`.
        setting: what named it, for messages.

    Raises:
        InterfaceError: there is none.
    """
    module, _, name = entry_point.partition(":")
    if not all(part.isidentifier() for part in (*module.split("."), name)):
        raise InterfaceError(
            f"{setting} must read module:name, such as my_package.my_module:my_name, got {entry_point!r}"
        )
    holder = imported(module, install)
    if not hasattr(holder, name):
        known = [key for key, value in vars(holder).items() if callable(value) and not key.startswith("_")]
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        hint = f"; did you mean {' or '.join(map(repr, close))}?" if close else ""
        raise InterfaceError(f"{setting}={entry_point}: the module {module} has no {name!r}{hint}")
    found = getattr(holder, name)
    if not callable(found):
        raise InterfaceError(
            f"{setting}={entry_point} must be a class or a function, it is a {type(found).__name__}; name another"
        )
    return found


def with_agents(kwargs: Mapping[str, Any] | None, agents_kwarg: str | None, agents: int | None) -> dict[str, Any]:
    """A copy of the keyword arguments with the number of agents asked for, all of it new.

    Raises:
        InterfaceError: the number of agents is below 1, or there is no place for it.
    """
    if agents is not None and agents < 1:
        raise InterfaceError(f"agents must be at least 1, got {agents}")
    filled = copy.deepcopy(dict(kwargs or {}))  # environments change the dictionaries that they are given
    if agents is not None and agents_kwarg is not None:
        *path, last = agents_kwarg.split(".")
        holder = filled
        for name in path:
            holder = holder.setdefault(name, {})
            if not isinstance(holder, dict):
                raise InterfaceError(f"env.agents_kwarg={agents_kwarg}: the keyword argument {name} is no dictionary")
        holder[last] = agents
    return filled


def made(make: Callable[..., Any], kwargs: Mapping[str, Any]) -> Any:
    """What ``make`` returns for these keyword arguments.

    Raises:
        InterfaceError: it does not take them, or raises.
    """
    reason = refusal(make, **kwargs)
    if reason:
        raise InterfaceError(f"it does not accept these env.kwargs: {reason}")
    try:
        return make(**kwargs)
    except (Exception, SystemExit) as error:
        raise InterfaceError(f"it cannot be made: {describe(error)}") from error


def agents_hint(agents_kwarg: str | None) -> str:
    """How to get another number of agents than the environment has, at the end of a sentence."""
    return "" if agents_kwarg else "; if one of its keyword arguments sets it, name that one in env.agents_kwarg"

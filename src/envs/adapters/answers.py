"""Reading what methods of other libraries' environments return, and saying what they must return where they do not."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHOWN = 60  # characters of a value in a message


class InterfaceError(ValueError):
    """An environment, or a setting of its adapter, is not what the adapter can play; the message says what must be."""


def shown(value: Any) -> str:
    """What a method returned, in a few words."""
    if isinstance(value, np.ndarray) and value.size > 1:
        return f"an array of the shape {value.shape}"
    text = " ".join(repr(value).split())
    if len(text) <= _SHOWN:
        return text
    if isinstance(value, tuple | list):
        kinds = [type(part).__name__ for part in value[:6]]
        return f"{len(value)} values ({', '.join([*kinds, '...'][: len(value)])})"
    return f"a {type(value).__name__}"


def parts(method: str, returned: Any, names: Sequence[str]) -> Sequence[Any]:
    """The values that a method returns together.

    Raises:
        InterfaceError: they are more or fewer.
    """
    usual = type(returned) is tuple or isinstance(returned, tuple | list)  # the first is faster
    if not usual or len(returned) != len(names):
        raise InterfaceError(f"{method}() must return ({', '.join(names)}), it returned {shown(returned)}")
    return returned


def by_agent(method: str, name: str, returned: Any) -> Mapping[Any, Any]:
    """A dictionary by agents, one of the values of a method.

    Raises:
        InterfaceError: it is none.
    """
    if type(returned) is not dict and not isinstance(returned, Mapping):  # the first is faster
        raise InterfaceError(
            f"{method}() must return the {name} as a dictionary with one for each agent, it returned {shown(returned)}"
        )
    return returned


def info(method: str, returned: Any) -> Mapping[Any, Any]:
    """A dictionary of infos; ``None`` is an empty one.

    Raises:
        InterfaceError: it is none.
    """
    if type(returned) is dict:  # the usual case
        return returned
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise InterfaceError(f"{method}() must return the infos as a dictionary, it returned {shown(returned)}")
    return returned


def numbers(returned: Any) -> NDArray[Any] | None:
    """Numbers of any shape as an array; ``None`` if they are not numbers, or rows of different lengths."""
    if type(returned) is np.ndarray and returned.dtype == np.float64:  # the usual case
        return returned
    try:
        array = np.asarray(returned)
    except (TypeError, ValueError, RuntimeError):  # the last by torch, for tensors with gradients
        return None
    return array if array.dtype.kind in "biuf" else None


def number(name: str, returned: Any) -> float:
    """One number, also in an array of any shape.

    Raises:
        InterfaceError: it is none, or more than one.
    """
    if isinstance(returned, float):  # the usual case, also with NumPy's
        return float(returned)
    array = numbers(returned)
    if array is None or array.size != 1:
        raise InterfaceError(f"step() must return {name} as a number, it returned {shown(returned)}")
    return float(array.item())


def one_or_each(name: str, returned: Any, n_agents: int) -> NDArray[Any]:
    """One number for all agents ``[]``, or one per agent ``[A]``, also in arrays.

    Raises:
        InterfaceError: they are not numbers, or of another number.
    """
    array = numbers(returned)
    if array is None or array.size not in (1, n_agents):
        raise InterfaceError(
            f"step() must return one {name} for all or one for each of the {n_agents} agents, it returned "
            f"{shown(returned)}"
        )
    if array.shape == (n_agents,):
        return array
    return array.reshape(n_agents if array.ndim and array.size == n_agents else ())


def rows(method: str, returned: Any, n_rows: int, n_columns: int) -> NDArray[Any]:
    """As many numbers for each agent as there must be, ``[n_rows, n_columns]``.

    Raises:
        InterfaceError: there are more or fewer, or other things.
    """
    each = [numbers(row) for row in returned] if isinstance(returned, Iterable) else []
    wanted = [row.ravel() for row in each if row is not None and row.size == n_columns]
    if not len(wanted) == len(each) == n_rows:
        sizes = [0 if row is None else row.size for row in each]
        what = f"rows of {', '.join(map(str, sizes))}" if len(sizes) > 0 else shown(returned)
        raise InterfaceError(
            f"{method}() must return {n_columns} numbers for each of {n_rows} agents, it returned {what}"
        )
    return np.stack(wanted)


def refusal(function: Any, *args: Any, **kwargs: Any) -> str | None:
    """Why a function or method would not take these arguments; ``None`` if it would, or does not tell."""
    try:
        inspect.signature(function).bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    except ValueError:  # it is written in C
        pass
    return None


def require(env: Any, interface: str, names: Sequence[str]) -> None:
    """Check that an environment has these attributes.

    Raises:
        InterfaceError: it does not.
    """
    missing = [name for name in names if not hasattr(env, name)]
    if missing:
        raise InterfaceError(
            f"a {type(env).__name__} does not have the interface of {interface}: it lacks {', '.join(missing)}"
        )


def require_call(function: Callable[..., Any], how: str, *args: Any, **kwargs: Any) -> None:
    """Check that a method can be called with these arguments.

    Raises:
        InterfaceError: it cannot; says ``how`` it must be declared.
    """
    reason = refusal(function, *args, **kwargs)
    if reason:
        raise InterfaceError(f"{how}, but {reason}")

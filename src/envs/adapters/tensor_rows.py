"""The rows of all tensors that a batched simulation in torch consists of: found, kept and put back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor

_STATELESS = ("torch.", "pyglet.", "vmas.simulator.rendering")  # where classes whose objects hold no state come from


class Place(NamedTuple):
    """Where a simulation holds a tensor.

    Attributes:
        holder: the dictionary (also of an object's attributes), list or tuple.
        key: which of its entries.
        tensor: what is there now.
    """

    holder: Any
    key: Any
    tensor: Tensor


def batched_tensors(root: Any, n_rows: int) -> dict[str, Place]:
    """Every tensor with ``n_rows`` rows that can be reached from an object, by the path that leads to it.

    Attributes, dictionaries, lists and tuples are followed. A tensor that several places hold is there several times.
    """
    return {
        path: Place(holder, key, value)
        for path, holder, key, value in _places(root)
        if isinstance(value, Tensor) and value.shape[:1] == (n_rows,)
    }


def put_rows(root: Any, n_rows: int, index: Tensor, rows: Mapping[str, Tensor]) -> None:
    """Write rows into the tensors of a simulation as it is now.

    Args:
        root: the object that all is reached from.
        n_rows: rows of its tensors.
        index: which rows are written.
        rows: what is written, one row for each of ``index``, by path; paths that are gone or whose tensor has another
            shape by now are left out.
    """
    copies: dict[int, Tensor] = {}  # so that places which hold the same tensor go on doing so
    for path, (holder, key, tensor) in batched_tensors(root, n_rows).items():
        if path not in rows or rows[path].shape[1:] != tensor.shape[1:] or torch.equal(tensor[index], rows[path]):
            continue
        if 0 in tensor.stride():  # expanded: its rows share memory
            holder[key] = tensor = copies.setdefault(id(tensor), tensor.clone())
        tensor[index] = rows[path]


@contextmanager
def rows_kept(root: Any, n_rows: int, index: Tensor) -> Iterator[None]:
    """Restore the rows ``index`` of all tensors at the end of a ``with`` block; nothing is copied without rows."""
    if not len(index):
        yield
        return
    kept = {path: place.tensor[index] for path, place in batched_tensors(root, n_rows).items()}
    yield
    put_rows(root, n_rows, index, kept)


def _places(root: Any) -> Iterator[tuple[str, Any, Any, Any]]:
    """Path, holder, key and value of everything below an object, the nearest first."""
    seen = {id(root)}
    waiting: deque[tuple[str, Any]] = deque([("", vars(root))])
    while waiting:
        path, holder = waiting.popleft()
        items = holder.items() if isinstance(holder, dict) else enumerate(holder)
        for position, (key, value) in enumerate(list(items)):
            place = f"{path}.{key if isinstance(key, str) else position}"
            yield place, holder, key, value
            inside = _inside(value)
            if inside is not None and id(value) not in seen:
                seen.add(id(value))
                waiting.append((place, inside))


def _inside(value: Any) -> Any:
    """The entries of a container or the attributes of an object; ``None`` for what has none."""
    if isinstance(value, dict | list | tuple):
        return value
    if isinstance(value, Tensor | type) or type(value).__module__.startswith(_STATELESS):
        return None
    return vars(value) if hasattr(value, "__dict__") else None

"""Which runs a report is about: conditions over their configuration, such as ``seed<4 and mixer in ["qmix","vdn"]``."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from ..registry import suggest

Condition = Callable[[Mapping[str, Any]], bool]
_Value = Callable[[Mapping[str, Any]], Any]

_LONGEST = 2000
_OPERATORS: Mapping[type, Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda a, b: a in b,
    ast.NotIn: lambda a, b: a not in b,
}
_ORDER = (ast.Lt, ast.LtE, ast.Gt, ast.GtE)
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}
_ALLOWED = "it may hold keys, numbers, texts, lists, == != < <= > >= in, and, or, not"


def condition(text: str, keys: Collection[str]) -> Condition:
    """A function that says whether a configuration fulfills a condition; nothing in the text is executed.

    A name is a key, with dots where it has them; beside a key, a name that is none is a text: ``mixer==qmix``. A key
    that a run does not have is ``null`` there, and neither below nor above anything.

    Args:
        text: in Python's notation.
        keys: all that the runs have.

    Raises:
        ValueError: it is no condition, or names a key that no run has; one sentence.
    """
    try:
        if len(text) > _LONGEST:
            raise SyntaxError
        tree = ast.parse(text.strip(), mode="eval").body
        return _truth(tree, keys, text)
    except (SyntaxError, RecursionError, MemoryError) as error:
        raise ValueError(f"report.where={text} is no condition; write one like 'seed<4 and mixer==qmix'") from error


def require_keys(given: Sequence[str], keys: Collection[str], where: str) -> None:
    """Refuse keys that no run has.

    Raises:
        ValueError: names the first one, and what it may have meant.
    """
    unknown = [key for key in given if key not in keys]
    if unknown:
        raise ValueError(f"{where}: no run has the key {unknown[0]!r}; {suggest(unknown[0], keys)}")


def _truth(node: ast.expr, keys: Collection[str], text: str) -> Condition:
    if isinstance(node, ast.BoolOp):
        parts = [_truth(part, keys, text) for part in node.values]
        combine = all if isinstance(node.op, ast.And) else any
        return lambda config: combine(part(config) for part in parts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        inner = _truth(node.operand, keys, text)
        return lambda config: not inner(config)
    if isinstance(node, ast.Compare):
        return _comparison(node, keys, text)
    name = _name(node)
    if name is None:
        raise ValueError(f"report.where={text}: {ast.unparse(node)} is no condition; {_ALLOWED}")
    require_keys([name], keys, f"report.where={text}")
    return lambda config: bool(config.get(name))


def _comparison(node: ast.Compare, keys: Collection[str], text: str) -> Condition:
    sides = [node.left, *node.comparators]
    names = [name for side in sides if (name := _name(side)) and name not in _WORDS]
    if not any(name in keys for name in names):
        require_keys(names, keys, f"report.where={text}")
        raise ValueError(f"report.where={text}: {ast.unparse(node)} compares no key of the runs with anything")
    values = [_value(side, keys, text) for side in sides]
    operators = [type(op) for op in node.ops]
    if not set(operators) <= set(_OPERATORS):
        raise ValueError(f"report.where={text}: {ast.unparse(node)} is no comparison; {_ALLOWED}")

    def compare(config: Mapping[str, Any]) -> bool:
        found = [value(config) for value in values]
        try:
            return all(
                not (op in _ORDER and None in (a, b)) and _OPERATORS[op](a, b)
                for op, a, b in zip(operators, found, found[1:], strict=False)
            )
        except TypeError as error:
            raise ValueError(f"report.where={text}: {ast.unparse(node)} compares things of different kinds") from error

    return compare


def _value(node: ast.expr, keys: Collection[str], text: str) -> _Value:
    name = _name(node)
    if name is not None:
        if name in keys:
            return lambda config: config.get(name)
        constant = _WORDS.get(name, name)
        return lambda config: constant
    if isinstance(node, ast.List | ast.Tuple):
        parts = [_value(part, keys, text) for part in node.elts]
        return lambda config: tuple(part(config) for part in parts)
    try:
        literal = ast.literal_eval(node)
    except (ValueError, TypeError) as error:
        raise ValueError(f"report.where={text}: {ast.unparse(node)} is no value; {_ALLOWED}") from error
    return lambda config: literal


def _name(node: ast.expr) -> str | None:
    """``learner.gamma`` for the expression that reads so; None for any other."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        base = _name(node.value)
        return None if base is None else f"{base}.{node.attr}"
    return None

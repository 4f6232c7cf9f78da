"""The registry: finds a component's class by name, and checks settings against the constructor's signature.

A component is one class in the file ``<package of its group>/<name>.py``, marked with `register`. Its constructor's
positional parameters are objects that exist at run time (``spec``, ``controller``); its keyword-only parameters are its
settings, typed and without defaults: the type is in the signature, the value in ``conf/<group>/<name>.yaml``, the
meaning in the docstring. A name with a dot is the full path of a module elsewhere, so your component needs no fork.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.util
import inspect
import pkgutil
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, make_dataclass
from functools import cache, partial
from importlib import resources
from pathlib import Path
from types import ModuleType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import ConfigKeyError, OmegaConfBaseException, ValidationError

from .ranges import absolute, check_range, is_path, without_ranges

PACKAGES: Mapping[str, str] = {
    "env": "hymarl.envs",
    "runner": "hymarl.runners",
    "policy": "hymarl.policies",
    "controller": "hymarl.controllers",
    "network": "hymarl.modules.agents",
    "selector": "hymarl.components.selectors",
    "replay": "hymarl.components.replay",
    "learner": "hymarl.learners",
    "mixer": "hymarl.modules.mixers",
    "critic": "hymarl.modules.critics",
    "optimizer": "hymarl.components.optimizers",
    "logger": "hymarl.components.loggers",
}
"""The package in which the components of each configuration group are."""

_MARK = "registered_group"
_MODULE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_WORDS: Mapping[str, str] = {  # plain words for the names of OmegaConf's classes
    "a ListConfig, list or tuple": "a list",
    "DictConfig": "section",
    "ListConfig": "list",
    "(AnyNode|StringNode|IntegerNode|FloatNode|BooleanNode)": "single value",
    "NoneType": "null",
}
_MANY = 40
C = TypeVar("C", bound=type)
T = TypeVar("T")


class ConfigError(Exception):
    """A mistake in the configuration: one sentence that says what is wrong, where, and what to do."""


def register(group: str) -> Callable[[C], C]:
    """Class decorator: registers the class in ``group`` under the name of its file."""
    if group not in PACKAGES:
        raise ValueError(f"there is no group {group!r}; the groups are {', '.join(PACKAGES)}")

    def mark(cls: C) -> C:
        setattr(cls, _MARK, group)
        return cls

    return mark


def find(group: str, name: str) -> type:
    """The class registered as ``name`` in ``group``; only its own module is imported.

    Raises:
        ConfigError: no module of that name, or no class in it registered for the group.
    """
    path = name if "." in name else f"{PACKAGES[group]}.{name}"
    named = _MODULE.fullmatch(name)
    if "." in name and not named:
        raise ConfigError(f"{group}: {name!r} is not the name of a module; write it with dots: my_package.my_module")
    if "." in name and not _exists(path):
        raise ConfigError(
            f"{group}: there is no module {name!r} to import; start from the folder that holds {name.split('.')[0]}, "
            f"or add that folder to PYTHONPATH"
        )
    if not named or not _exists(path):
        raise ConfigError(f"{group}: there is no {name!r}; {suggest(name, names(group))}")
    found = _registered(importlib.import_module(path), group)
    if len(found) != 1:
        raise ConfigError(
            f"{group}: {path} must have exactly one class marked @register({group!r}), it has {len(found)}"
        )
    return found[0]


def ships(group: str, name: str) -> bool:
    """Whether this name can only mean a component that ships with HyMARL."""
    return "." not in name or name.startswith(f"{PACKAGES[group]}.")


def names(group: str) -> list[str]:
    """Names of all components of a group that ship with the package; imports all modules of the group."""
    package = importlib.import_module(PACKAGES[group])
    stems = [module.name for module in pkgutil.iter_modules(package.__path__)]
    return sorted(s for s in stems if _registered(importlib.import_module(f"{package.__name__}.{s}"), group))


def suggest(wrong: str, choices: Iterable[str]) -> str:
    """The end of an error message: the closest match, then all choices, or the next closest where there are many."""
    choices = sorted(choices)
    if not choices:
        return "there is nothing to choose from"
    close = closest(wrong, choices)
    if close and len(choices) > _MANY:
        return f"did you mean {' or '.join(map(repr, close))}? There are {len(choices)} to choose from"
    return f"{f'did you mean {close[0]!r}? ' if close else ''}choose one of: {', '.join(choices)}"


def closest(wrong: str, choices: Iterable[str]) -> list[str]:
    """Up to three choices that are similar to what was typed, the most similar first; ignores case."""
    by_lower = {choice.lower(): choice for choice in choices}
    return [by_lower[text] for text in difflib.get_close_matches(wrong.lower(), by_lower, n=3, cutoff=0.5)]


def parameters(component: Callable[..., Any]) -> dict[str, Any]:
    """Name and type, with its range, of every setting: the keyword-only parameters of a class or function.

    A constructor that ends in ``**settings`` and passes them on to its base class has that class's settings, too.

    Raises:
        ConfigError: a setting has no type.
    """
    types: dict[str, Any] = {}
    for function in _constructors(component) if inspect.isclass(component) else [component]:
        hints = get_type_hints(function, include_extras=True)
        kinds = inspect.signature(function).parameters.values()
        found = [p.name for p in kinds if p.kind is inspect.Parameter.KEYWORD_ONLY and p.name not in types]
        untyped = [name for name in found if name not in hints]
        if untyped:
            raise ConfigError(
                f"{component.__qualname__}: the setting {untyped[0]} has no type; write {untyped[0]}: int, say"
            )
        types |= {name: hints[name] for name in found}
        if not any(p.kind is inspect.Parameter.VAR_KEYWORD for p in kinds):
            break
    return types


def objects(component: type) -> dict[str, Any]:
    """Name and type of the run-time objects that a class asks for: its constructor's positional parameters."""
    function = _constructors(component)[0]
    hints = get_type_hints(function)
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    names = [p.name for p in inspect.signature(function).parameters.values() if p.kind in positional]
    return {name: hints.get(name, Any) for name in names[1:]}


def check_settings(
    component: Callable[..., Any], values: Mapping[str, Any] | DictConfig, where: str, base: Path | None = None
) -> dict[str, Any]:
    """Check settings against the signature of ``component``, and return them as plain data.

    Args:
        component: a registered class, or any function whose keyword-only parameters are settings.
        values: what the configuration holds, without ``name``.
        where: the beginning of messages, e.g. ``mixer=qmix``.
        base: the folder that relative paths among the settings start from; ``None`` leaves them relative.

    Raises:
        ConfigError: an unknown key (with the closest match), a wrong type, a missing value, or a value not allowed.
    """
    types, schema = _schema(component)
    try:
        node = OmegaConf.merge(schema, values)
        missing = sorted(OmegaConf.missing_keys(node))
        settings = OmegaConf.to_container(node, resolve=True)
    except ConfigKeyError as error:
        raise ConfigError(f"{where}: unknown key {error.key!r}; {suggest(str(error.key), types)}") from error
    except ValidationError as error:
        key, reason = error.full_key or error.key, in_plain_words(str(error).splitlines()[0])
        whole = isinstance(error.value, float) and error.value.is_integer() and "int" in _describe(types, key)
        instead = f"; write {int(error.value)}" if whole else ""
        raise ConfigError(
            f"{where}: {key} has the wrong type: {reason} (expected {_describe(types, key)}){instead}"
        ) from error
    except OmegaConfBaseException as error:
        key = _misfit(schema, types, values)
        reason = (
            f"{key} has the wrong type (expected {_describe(types, key)})"
            if key
            else in_plain_words(str(error).splitlines()[0])
        )
        raise ConfigError(f"{where}: {reason}") from error
    if missing:
        raise ConfigError(f"{where}: no value for {', '.join(missing)}; give one: {_typed(where, missing[0])}=…")
    assert isinstance(settings, dict)
    try:
        for name, kind in types.items():
            check_range(kind, settings[name], name)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error
    for name, kind in types.items():
        choices = _choices(kind)
        if choices and settings[name] not in choices:
            wrong, written = settings[name], ["null" if choice is None else str(choice) for choice in choices]
            raise ConfigError(f"{where}: {name}={wrong} is not a choice; {suggest(str(wrong), written)}")
    paths = {name for name, kind in types.items() if base and is_path(kind) and settings[name] is not None}
    return {str(k): absolute(v, base) if base and k in paths else v for k, v in settings.items()}


def in_plain_words(message: str) -> str:
    """A message of OmegaConf, with plain words for the names of its classes."""
    for name, words in _WORDS.items():
        message = re.sub(rf"'?\b{name}\b'?", words, message)
    return message


def written(group: str, option: str) -> dict[str, Any]:
    """The values in an option's file and in those of its group that it extends; empty if the package has no such file.

    Args:
        group: such as ``env``.
        option: such as ``two_step``.
    """
    file = resources.files("hymarl.conf") / group / f"{option}.yaml"
    own = OmegaConf.to_container(OmegaConf.load(str(file))) if "/" not in option and file.is_file() else None
    if not isinstance(own, dict):
        return {}
    included = own.pop("defaults", [])  # texts are options of this group; others choose options of other groups
    extended = [other for other in included if isinstance(other, str) and other != "_self_"]
    return {str(key): x for part in (*(written(group, other) for other in extended), own) for key, x in part.items()}


def factory(group: str, name: str, settings: Mapping[str, Any], option: str | None = None) -> Callable[..., Any]:
    """The class with its settings filled in: call it with the run-time objects.

    The factory is picklable, so worker processes can be sent one.
    """
    return partial(build, group, name, dict(settings), option=option)


def build(group: str, name: str, settings: Mapping[str, Any], *runtime: Any, option: str | None = None) -> Any:
    """Construct a component from run-time objects and plain settings.

    Args:
        group: the component's group.
        name: its registered name.
        settings: as `check_settings` returns them.
        runtime: the run-time objects, its positional arguments.
        option: the option that was chosen, for messages; ``None``: ``name``.

    Raises:
        ConfigError: a value is out of its range, the constructor raised a ``ValueError``, or there is not enough
            memory.
    """
    cls = find(group, name)
    try:
        for setting, kind in parameters(cls).items():
            if setting in settings:
                check_range(kind, settings[setting], setting)
        return cls(*runtime, **settings)
    except ValueError as error:
        raise ConfigError(f"{group}={option or name}: {error}") from error
    except MemoryError as error:
        raise ConfigError(f"{group}={option or name}: there is not enough memory for these settings") from error


def expect(kind: type[T], made: object, where: str) -> T:
    """Return an object that was built, after checking that it is an instance of ``kind``.

    Raises:
        ConfigError: it is not.
    """
    if not isinstance(made, kind):
        raise ConfigError(f"{where}: {type(made).__module__}.{type(made).__qualname__} must be a {kind.__name__}")
    return made


def _constructors(component: type) -> list[Callable[..., Any]]:
    """``__init__`` of the class and of its base classes, in the order in which they call each other."""
    return [vars(cls)["__init__"] for cls in component.__mro__ if "__init__" in vars(cls)]


def _exists(path: str) -> bool:
    try:
        return importlib.util.find_spec(path) is not None
    except ModuleNotFoundError:
        return False


def _registered(module: ModuleType, group: str) -> list[type]:
    own = (c for c in vars(module).values() if inspect.isclass(c) and c.__module__.startswith(module.__name__))
    return [c for c in own if vars(c).get(_MARK) == group]


def _typed(where: str, name: str) -> str:
    """The name of a setting on the command line: ``env.entry_point`` for ``entry_point`` of ``env=pettingzoo``."""
    group, _, option = where.partition("=")
    if " " in group:  # "the command line"
        return name
    return f"{group}.{option}.{name}" if group == "logger" else f"{group}.{name}"


@cache
def _schema(component: Callable[..., Any]) -> tuple[dict[str, Any], DictConfig]:
    """The types of a component's settings, and an OmegaConf node without values that accepts only these types."""
    types = parameters(component)
    fields = [(name, _storable(kind), field(default=MISSING)) for name, kind in types.items()]
    return types, OmegaConf.structured(make_dataclass("Settings", fields))


def _misfit(schema: DictConfig, types: Mapping[str, Any], values: Mapping[str, Any] | DictConfig) -> str | None:
    """The setting that has a list where a mapping is expected, or vice versa; OmegaConf does not name it."""
    for key in (key for key, kind in types.items() if key in values and ("list" in str(kind) or "dict" in str(kind))):
        try:
            OmegaConf.merge(schema, {key: values[key]})
        except OmegaConfBaseException:
            return key
    return None


def _storable(kind: Any) -> Any:
    """The type for OmegaConf, which knows neither ranges nor Literal: a Literal becomes ``str``, checked later."""
    kind = without_ranges(kind)
    if get_origin(kind) is Literal:
        return str
    if _choices(kind):
        return str | None
    return kind


def _choices(kind: Any) -> tuple[Any, ...]:
    if get_origin(kind) is Literal:
        return get_args(kind)
    options = get_args(kind)
    literal = [o for o in options if get_origin(o) is Literal]
    return (*get_args(literal[0]), *([None] if type(None) in options else [])) if literal else ()


def _describe(types: Mapping[str, Any], key: Any) -> str:
    kind = without_ranges(types.get(str(key).split("[")[0].split(".")[0], "another type"))
    return " | ".join(map(_name, get_args(kind))) if get_origin(kind) in (Union, UnionType) else _name(kind)


def _name(kind: Any) -> str:
    if kind is type(None):
        return "None"
    return kind.__name__ if inspect.isclass(kind) and not get_args(kind) else str(kind).replace("typing.", "")

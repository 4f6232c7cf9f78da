"""Hydra's global state: a program that imports us may use Hydra itself, so we compose with a state of our own."""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra import initialize_config_module
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.singleton import Singleton
from hydra.core.utils import JobRuntime
from hydra.version import VersionBase

from ..ranges import absolute

_KINDS = (GlobalHydra, HydraConfig, JobRuntime, VersionBase)
_LOCK = threading.RLock()


@contextmanager
def set_aside() -> Iterator[None]:
    """Inside the ``with`` block, Hydra is as in a new process; then its state is restored. One thread at a time."""
    with _LOCK:
        kept: dict[type, Singleton] = {
            kind: Singleton._instances.pop(kind) for kind in _KINDS if kind in Singleton._instances
        }
        try:
            yield
        finally:
            for kind in _KINDS:
                Singleton._instances.pop(kind, None)
            Singleton._instances.update(kept)


@contextmanager
def initialized() -> Iterator[None]:
    """Inside the ``with`` block, Hydra is initialized with the package's configuration."""
    with (
        missing_folders_are_errors(),
        without_copies_of_the_store(),
        initialize_config_module("hymarl.conf", version_base="1.3"),
    ):
        yield


@contextmanager
def missing_folders_are_errors() -> Iterator[None]:
    """Inside the ``with`` block, Hydra's warning about a missing folder of its search path is raised as an error."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "provider=.* is not available", UserWarning)
        yield


@contextmanager
def without_copies_of_the_store() -> Iterator[None]:
    """Inside the ``with`` block, Hydra does not copy its store of structured configurations with all that is in it.

    It does so once or twice for each configuration, and for each group of which it lists the options: more than half
    of what ``--help`` costs. The copies are never changed, and `ConfigStore.load` copies what it returns.
    """
    if "__deepcopy__" in vars(ConfigStore):  # in a block inside another
        yield
        return
    setattr(ConfigStore, "__deepcopy__", lambda store, memo: store)  # noqa: B010  # a type checker knows no such method
    try:
        yield
    finally:
        delattr(ConfigStore, "__deepcopy__")


def searched(here: Path | None = None) -> tuple[str, ...]:
    """The folders and packages, in addition to this one, where the current job finds option files, as Hydra's URLs.

    Args:
        here: the folder that relative paths start from; ``None`` leaves them relative.
    """
    if not HydraConfig.initialized():
        return ()
    found = []
    for source in HydraConfig.get().runtime.config_sources:
        if source.provider == "command-line" or source.provider.startswith("hydra.searchpath"):
            path = absolute(source.path, here) if here and source.schema == "file" else source.path
            found.append(f"{source.schema}://{path}")
    return tuple(found)


def as_override(searchpath: Sequence[str]) -> list[str]:
    """The override that sets Hydra's search path; an empty list if that is empty."""
    return [f"hydra.searchpath={json.dumps(list(searchpath), ensure_ascii=False)}"] if searchpath else []

"""Render the first test episode of a policy, as a GIF or in the terminal."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from ..components.rng import Stream, keys
from ..components.spec import EnvSpec
from ..envs.adapters.common import AdaptedEnvs
from ..envs.contract.vector_env import EpisodeFailure, VectorEnv
from ..policies.base import Policy
from ..registry import ConfigError, find
from ..reports.animation import to_text, write_gif
from ..runners.rollout import Rollout, record_rollout
from .assembly import environment_factory
from .config import RunConfig

Medium = Literal["gif", "terminal"]

_TERMINAL_S = 0.25  # seconds between two pictures


def render(config: RunConfig, name: str, make: Callable[[EnvSpec], Policy], medium: Medium) -> Callable[[Path], str]:
    """Play the first test episode, and show it in the terminal or prepare a GIF of it.

    Args:
        config: the environment to play.
        name: the policy's name.
        make: makes the policy from the environment's sizes.
        medium: where to show the episode.

    Returns:
        A function that writes the GIF, if any, to a directory, and returns a sentence that says where the episode is.

    Raises:
        ConfigError: the environment cannot be rendered.
    """
    option, key = config.components["env"].option, keys(config.eval.seed, Stream.TEST, 0)
    with closing(_drawing(config)) as env:
        try:
            seen = record_rollout(env, make(env.spec), key)
            texts = [to_text(scene) for scene in seen.scenes] if medium == "terminal" else []
        except ValueError as error:
            raise ConfigError(f"env={option} cannot be rendered: {error}") from error
        except EpisodeFailure as failure:  # the evaluation may still go well: it plays failed episodes once more
            reason = str(failure)
            return lambda _: f"the first test episode could not be shown: {reason}"
    captions = _captions(seen, f"{option} {name}")
    if medium == "terminal":
        _show(texts, captions)
        return lambda _: "shown above: the first test episode"
    return lambda directory: _write(seen, captions, directory / f"{option}_{name}.gif")


def _drawing(config: RunConfig) -> VectorEnv:
    """One environment as configured; one of another library also gets a ``render_mode``, if it has that argument."""
    chosen = config.components["env"]
    kind = find("env", chosen.name)
    if issubclass(kind, AdaptedEnvs) and kind.scene is AdaptedEnvs.scene:
        kwargs = {"render_mode": "rgb_array", **(chosen.settings["kwargs"] or {})}
        told = replace(chosen, settings={**chosen.settings, "kwargs": kwargs})
        with suppress(ConfigError):  # it has no such argument, or a package that it draws with is missing
            return environment_factory(replace(config, components={**config.components, "env": told}))(1)
    return environment_factory(config)(1)


def _captions(seen: Rollout, title: str) -> list[str]:
    total, captions = 0.0, []
    for scene, reward in zip(seen.scenes, seen.rewards, strict=True):
        total += reward
        captions.append(", ".join(filter(None, [title, scene.caption, f"return {total:.2f}"])))
    return captions


def _write(seen: Rollout, captions: list[str], path: Path) -> str:
    write_gif(seen.scenes, captions, path)
    return f"the first test episode: {path}"


def _show(texts: list[str], captions: list[str]) -> None:
    """Print one picture after the other: in a terminal at the same place, elsewhere below each other."""
    for text, caption in zip(texts, captions, strict=True):
        if sys.stdout.isatty():
            print("\033[2J\033[H", end="")
        print(f"{text}\n{caption}\n", flush=True)
        if sys.stdout.isatty():
            time.sleep(_TERMINAL_S)

"""Translate a command line of PyMARL, PyMARL2 or EPyMARL into the one here that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from .names import PYMARL, PYMARL_OPTIONS
from .options import GROUPS, options

_GROUPS: Mapping[str, str] = {
    "agent": "network",
    "mac": "controller",
    "learner": "learner",
    "action_selector": "selector",
    "mixer": "mixer",
    "runner": "runner",
}
"""Settings of PyMARL that choose an option here, and the group of the option."""

_BESIDE = ("evaluate", "load_step")  # translated together with checkpoint_path

_CONSTANTS: Mapping[str, str] = {"True": "true", "False": "false", "None": "null"}
_WITH_MAP_NAME = ("smac", "smacv2")
_TASKS: Mapping[str, str] = {"lbforaging": "lbf", "rware": "rware"}


def translate(words: Sequence[str]) -> str | None:
    """The arguments here for those of PyMARL; None if they are not PyMARL's.

    Args:
        words: what was typed after the program, e.g. ``--config=qmix --env-config=sc2 with t_max=10000``.

    Returns:
        The arguments, and in parentheses those that have no counterpart.
    """
    flags, settings = _split(words)
    if "with" not in words and not flags:
        return None
    ours: list[str] = []
    lost: list[str] = []
    for flag, name in flags.items():
        group = "algo" if flag == "config" else "env"
        option = _option(group, name)
        if option and not (group == "env" and "env_args.key" in settings):
            ours.append(f"{group}={option}")
        elif group == "algo":
            lost.append(f"--{flag}={name}")
    env = _option("env", flags.get("env-config", ""))
    for key, value in settings.items():
        found = _setting(key, _CONSTANTS.get(value, value), env, settings)
        if found:
            ours += found
        elif not (key in _BESIDE and "checkpoint_path" in settings):
            lost.append(key)
    text = shlex.join(ours)
    return f"{text} (without {', '.join(lost)}: there is nothing like it here)" if lost else text


def _split(words: Sequence[str]) -> tuple[dict[str, str], dict[str, str]]:
    """The flags ``config`` and ``env-config``, and the settings after ``with``."""
    flags: dict[str, str] = {}
    settings: dict[str, str] = {}
    waiting = None  # the flag whose value is the next word
    for word in words:
        key, equals, value = word.partition("=")
        if waiting:
            flags[waiting], waiting = word, None
        elif key in ("--config", "--env-config"):
            flags[key[2:]] = value
            waiting = None if equals else key[2:]
        elif equals:
            settings[key] = value
    return flags, settings


def _option(group: str, name: str) -> str | None:
    """The option here for a name of PyMARL; an algorithm's name may end in variants: ``qmix_beta`` is ``qmix``."""
    known = options(group)
    beginnings = [name.rsplit("_", n)[0] for n in range(name.count("_") + 1)] if group == "algo" else [name]
    return next((meant for text in beginnings if (meant := PYMARL_OPTIONS.get(text, text)) in known), None)


def _setting(key: str, value: str, env: str | None, settings: Mapping[str, str]) -> list[str]:
    """The arguments here for one setting; empty if it has no counterpart."""
    if key == "env_args.key":
        package, _, task = value.rpartition(":")
        known = _TASKS.get(package, "gymnasium")
        plain = ["suggestions=none"] if known in options("suggestions") else []  # PyMARL has the same values everywhere
        return [f"env={known}", f"env.task={task}", *plain]
    if key.startswith("env_args."):
        name = key.removeprefix("env_args.")
        if name == "time_limit":
            return [f"env.episode_limit={value}"]
        if name == "map_name":
            return [f"env.kwargs.map_name={value}"] if env in _WITH_MAP_NAME else []
        return [f"+env.kwargs.{name}={value}"] if name != "seed" else []
    if key in _GROUPS:
        option = "none" if value == "null" else _option(_GROUPS[key], value)
        return [f"{_GROUPS[key]}={option}"] if option in options(_GROUPS[key]) else []
    if key == "use_cuda":
        return ["device=cuda" if value == "true" else "device=cpu"]
    if key == "use_tensorboard":
        return ["logger=[console,tensorboard]" if value == "true" else "logger=[console]"]
    if key == "checkpoint_path":
        return [f"evaluate={value}" if settings.get("evaluate") == "True" else f"init_from={value}"]
    if key in PYMARL and key not in _BESIDE:
        return [f"{PYMARL[key]}={value}"]
    return [f"{key}={value}"] if "." in key or key in GROUPS else []  # it is a setting of ours already

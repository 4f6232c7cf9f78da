"""``export=RUN``: the policy of a run as files that act without HyMARL, each compared with the original."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path, PurePath
from typing import Any

from .. import __version__
from ..components.devices import torch_threads
from ..components.files import write_atomically
from ..components.spec import EnvSpec
from ..envs.contract.explained import Explained
from ..policies.learned import LearnedPolicy
from ..policies.onnx_model import onnx_actor, to_onnx
from ..policies.portable_form import TOLERANCE, Actor, PortableForm, compare, numpy_actor, portable_form
from ..policies.saved import read_policy
from ..portable import PortableError, PortablePolicy
from ..portable.policy import ARRAYS, DOCUMENT
from ..ranges import is_path
from ..registry import ConfigError, find, parameters
from .assembly import environment_factory
from .config import Component, RunConfig
from .protocol import as_lines

MODEL = "policy.onnx"
"""The file for other runtimes."""
_NO_ONNX = "left out, as it takes more packages: pip install 'hymarl[export]'"


def export(
    source: Path,
    directory: Path,
    trained: RunConfig | None,
    wanted: RunConfig,
    show: Callable[[str], None] = print,
) -> PortablePolicy:
    """Write a policy as arrays and JSON for `hymarl.portable` and as an ONNX model, after comparing both with it.

    Args:
        source: the run's directory, or a weights file.
        directory: a new one for the files, or one without such files.
        trained: the run's configuration; ``None``: unknown.
        wanted: the same, or with another environment than the run's, for which the policy is to be; it also says which
            weights are taken, and whom to trust.
        show: receives a text about what was written.

    Returns:
        The policy, as read back from the files.

    Raises:
        ConfigError: there are no weights, they cannot be exported, or the directory holds an exported policy already.
        WriteError: a file could not be written.
    """
    if (directory / DOCUMENT).exists():
        raise ConfigError(f"{directory} holds an exported policy already; choose another directory")
    saved = read_policy(source, wanted.eval.checkpoint)
    policy = saved.policy(_sizes(trained, wanted), trust=wanted.trust)
    form = portable_form(saved, policy)
    run = {} if trained is None else _run(trained)
    form.about.update(hymarl=__version__, run={"weights": saved.path.name, "step": saved.step, **run})
    form.about.update({"environment": None, "interface": None} if trained is None else _environment(wanted))
    with torch_threads(1):
        try:
            portable = PortablePolicy.parse(*form.files())
        except PortableError as error:
            raise ConfigError(f"{saved.path} cannot be exported: {error}") from error
        found = {ARRAYS: _compared(ARRAYS, policy, numpy_actor(portable), form)}
        model = _model(form)
        if model is not None:
            found[MODEL] = _compared(MODEL, policy, onnx_actor(model), form)
            write_atomically(directory / MODEL, model)
    document, content = form.files()
    write_atomically(directory / ARRAYS, content)
    write_atomically(directory / DOCUMENT, document)
    n = portable.n_agents
    who = "any number of agents" if n is None else f"{n} agent{'s' * (n != 1)}"
    rows = {
        "policy": f"{saved.path}, step {saved.step:,}",
        "acts_for": f"{who}, {portable.obs_dim} observations, {portable.n_actions} actions",
        "NumPy": found[ARRAYS],
        "ONNX": found.get(MODEL, _NO_ONNX),
    }
    show(f"{as_lines(rows)}\nexported: {directory}")
    return PortablePolicy.load(directory)


def _compared(name: str, policy: LearnedPolicy, actor: Actor, form: PortableForm) -> str:
    """Compare, and note in the form what was found.

    Raises:
        ConfigError: they act differently.
    """
    likeness = compare(policy, actor)
    if not likeness.holds:
        raise ConfigError(
            f"{name} would act unlike the policy, so nothing was written: {likeness}, where {TOLERANCE:g} is allowed"
        )
    form.about.setdefault("compared", {})[name] = likeness._asdict()
    return str(likeness)


def _model(form: PortableForm) -> bytes | None:
    """The ONNX model; ``None`` where the packages are missing."""
    try:
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError:
        return None
    return to_onnx(form)


def _sizes(trained: RunConfig | None, wanted: RunConfig) -> EnvSpec | None:
    """The sizes of an environment other than the run's; ``None``: those of the weights file."""
    if trained is None or wanted.components["env"] == trained.components["env"]:
        return None
    with closing(environment_factory(wanted)(1)) as env:
        return env.spec


def _run(config: RunConfig) -> dict[str, Any]:
    """Which run it was, without paths."""
    chosen = {g: config.components[g].option for g in ("learner", "mixer", "env") if g in config.components}
    return {"algo": config.algo, **chosen, "seed": config.seed, "joint": config.joint}


def _environment(config: RunConfig) -> dict[str, Any]:
    """The environment, and what its numbers mean, without paths.

    Raises:
        ConfigError: it cannot say what they mean.
    """
    env = config.components["env"]
    kind = find("env", env.name)
    try:
        interface = kind.interface(env.settings) if issubclass(kind, Explained) else None
    except ValueError as error:
        raise ConfigError(f"env={env.option}: {error}") from error
    return {"environment": {"option": env.option, "settings": _settings(env)}, "interface": _plain(interface)}


def _settings(component: Component) -> dict[str, Any]:
    """A component's settings with the names of files in place of their paths, which say something about a machine."""
    kinds = parameters(find(component.group, component.name))
    return {
        name: PurePath(value).name if value is not None and is_path(kinds.get(name)) else _plain(value)
        for name, value in component.settings.items()
    }


def _plain(value: Any) -> Any:
    """Data as JSON has them, which knows no infinity; absolute paths are replaced by the names of their files."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, str) and (PurePath(value).is_absolute() or value.startswith("~")):
        return PurePath(value).name
    return value

"""HyMARL: Hydra-configured cooperative multi-agent reinforcement learning.

In notebooks and scripts::

    config = hymarl.compose("env=two_step", "mixer=vdn", "train.total_steps=2000")
    run = hymarl.train(config)
    print(run.comparison)
    actions, state = run.policy().act(observations)

What is listed in ``__all__`` is imported when it is first used, so that importing the package costs nothing.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .app.api import compose, evaluate, export, load_policy, make_env, resume, train
    from .app.config import RunConfig
    from .app.train import Callback, Run
    from .components.loggers.base import Record
    from .envs.contract.checker import check_environment
    from .envs.contract.vector_env import VectorEnv
    from .policies.learned import LearnedPolicy
    from .registry import ConfigError, register
    from .reports.comparison import Comparison
    from .training.evaluation import Evaluation
    from .training.trainer import Checkpoint

__version__ = "0.1.0"
__all__ = [
    "Callback",
    "Checkpoint",
    "Comparison",
    "ConfigError",
    "Evaluation",
    "LearnedPolicy",
    "Record",
    "Run",
    "RunConfig",
    "VectorEnv",
    "check_environment",
    "compose",
    "evaluate",
    "export",
    "load_policy",
    "make_env",
    "register",
    "resume",
    "train",
]

_MODULES: Mapping[str, str] = {
    "Callback": "app.train",
    "Checkpoint": "training.trainer",
    "Comparison": "reports.comparison",
    "ConfigError": "registry",
    "Evaluation": "training.evaluation",
    "LearnedPolicy": "policies.learned",
    "Record": "components.loggers.base",
    "Run": "app.train",
    "RunConfig": "app.config",
    "VectorEnv": "envs.contract.vector_env",
    "check_environment": "envs.contract.checker",
    "compose": "app.api",
    "evaluate": "app.api",
    "export": "app.api",
    "load_policy": "app.api",
    "make_env": "app.api",
    "register": "registry",
    "resume": "app.api",
    "train": "app.api",
}

if not TYPE_CHECKING:  # a type checker reads the imports above, and shall find that other names do not exist

    def __getattr__(name: str) -> object:
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})

"""The contract of mixers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

from torch import Tensor, nn

from ...components.spec import EnvSpec


class MixerInputs(NamedTuple):
    """What a joint value may be made of, at T consecutive times.

    Attributes:
        values: ``[B, T, A]`` the agents' values of the actions in question.
        best: ``[B, T, A]`` the agents' largest values over available actions.
        actions: ``[B, T, A]`` int64, the actions in question.
        obs: ``[B, T, A, O]``.
        state: ``[B, T, S]``.
    """

    values: Tensor
    best: Tensor
    actions: Tensor
    obs: Tensor
    state: Tensor


class Mixer(nn.Module, ABC):
    """From the agents' values to the value(s) that are learned.

    A mixer is a class in ``src/modules/mixers/`` decorated with ``@register("mixer")`` whose constructor takes
    ``(spec, *, settings...)`` and calls ``super().__init__(spec)``; it implements `mix`, shapes are checked here.

    Attributes:
        joint: whether the result is one joint value (V = 1), which needs a reward common to all agents, or one value
            per agent (V = A).
    """

    joint: ClassVar[bool] = True

    def __init__(self, spec: EnvSpec) -> None:
        super().__init__()
        self._n_agents, self._obs_dim, self._state_dim = spec.n_agents, spec.obs_dim, spec.state_dim

    @abstractmethod
    def mix(self, inputs: MixerInputs) -> Tensor:
        """Values ``[B, T, V]``."""

    def forward(self, inputs: MixerInputs) -> Tensor:
        """`mix` between shape checks.

        Raises:
            ValueError: names the tensor whose shape is wrong.
        """
        lead = inputs.values.shape[:-1]
        _check("values", inputs.values, (*lead, self._n_agents))
        _check("obs", inputs.obs, (*lead, self._n_agents, self._obs_dim))
        _check("state", inputs.state, (*lead, self._state_dim))
        mixed = self.mix(inputs)
        _check("the result", mixed, (*lead, 1 if self.joint else self._n_agents))
        return mixed


def hypernet(state_dim: int, hidden_dim: int, out_dim: int) -> nn.Module:
    """A network that makes weights from the state: one linear layer, or two with ReLU between if ``hidden_dim`` > 0."""
    if not hidden_dim:
        return nn.Linear(state_dim, out_dim)
    return nn.Sequential(nn.Linear(state_dim, hidden_dim), nn.ReLU(), nn.Linear(hidden_dim, out_dim))


def _check(what: str, x: Tensor, shape: tuple[int, ...]) -> None:
    if x.shape != shape:
        raise ValueError(f"mixer: {what} has shape {tuple(x.shape)}, expected {shape}")

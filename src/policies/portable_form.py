"""A learned policy as data for `hymarl.portable`, and the proof that the data act as it does."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from ..components.files import CheckpointError
from ..components.selectors.base import greedy_actions
from ..components.spec import BoolArray, FloatArray, IntArray
from ..controllers.inputs import FlatInputs
from ..controllers.mac import MAC
from ..modules.recipe import NoRecipeError
from ..portable.policy import FORMAT, PortablePolicy, State, checksum, of_network
from ..registry import ConfigError
from .learned import LearnedPolicy
from .saved import SavedPolicy

TOLERANCE = 1e-5
"""The largest difference of a score that is allowed, in parts of the largest score where that is above 1."""

_EPISODES, _ROWS, _OBSERVATIONS = 4, 4, 1000
_AVAILABLE = 0.7  # of the actions while comparing

Actor = Callable[[FloatArray, BoolArray, State], tuple[FloatArray, IntArray, FloatArray]]
"""From observations ``[B, A, O]``, available actions and state to scores ``[B, A, U]``, actions and hidden."""


class PortableForm(NamedTuple):
    """A policy as data.

    Attributes:
        about: what ``policy.json`` says, but for the checksum.
        arrays: what ``policy.npz`` holds.
    """

    about: dict[str, Any]
    arrays: dict[str, NDArray[Any]]

    def files(self) -> tuple[bytes, bytes]:
        """The contents of ``policy.json`` and ``policy.npz``."""
        stream = io.BytesIO()
        np.savez(stream, allow_pickle=False, **self.arrays)
        content = stream.getvalue()
        about = {**self.about, "checksum": checksum(content)}
        return (_json(about) + "\n").encode(), content


class Likeness(NamedTuple):
    """What a comparison found.

    Attributes:
        observations: how many were compared, each of one agent.
        largest_difference: of a score.
        largest_score: without its sign.
        other_actions: how often another action was taken, although by its score it was not as good as the best.
    """

    observations: int
    largest_difference: float
    largest_score: float
    other_actions: int

    @property
    def holds(self) -> bool:
        """Whether both act alike, up to the rounding of 32-bit numbers."""
        return self.largest_difference <= TOLERANCE * max(1.0, self.largest_score) and not self.other_actions

    def __str__(self) -> str:
        actions = f"{self.other_actions} other actions" if self.other_actions else "the same actions"
        return (
            f"{self.observations:,} observations, {actions}, largest difference of a score "
            f"{self.largest_difference:.1e} (largest score {self.largest_score:.3g})"
        )


def _json(value: Any, indent: str = "") -> str:
    """JSON for people to look at: a line for each entry of an object, and for each list in a list."""
    inner = indent + "  "
    if isinstance(value, dict) and value:
        lines = [f"{inner}{json.dumps(name)}: {_json(part, inner)}" for name, part in value.items()]
        return "{\n" + ",\n".join(lines) + f"\n{indent}}}"
    if isinstance(value, list) and any(isinstance(part, list) for part in value):
        return "[\n" + ",\n".join(f"{inner}{json.dumps(part, allow_nan=False)}" for part in value) + f"\n{indent}]"
    return json.dumps(value, allow_nan=False)


def portable_form(saved: SavedPolicy, policy: LearnedPolicy) -> PortableForm:
    """A policy as data.

    Args:
        saved: the weights file.
        policy: the policy made of it.

    Raises:
        ConfigError: its controller or a network of it cannot be written down.
        CheckpointError: weights are no numbers.
    """
    controller, spec, old = policy.controller, policy.spec, saved.description
    try:
        recipes = controller.recipes()
    except NoRecipeError as error:
        raise ConfigError(
            f"{saved.path} cannot be exported: controller={old.controller_name} with network={old.network_name} {error}"
        ) from error
    arrays: dict[str, NDArray[Any]] = {}
    for recipe in recipes:
        arrays |= recipe.arrays
    first = recipes[0]
    for g, recipe in enumerate(recipes):
        moved = [o._replace(arrays=tuple(of_network(name, g) for name in o.arrays)) for o in first.operations]
        assert (moved, first.outputs) == (recipe.operations, recipe.outputs)
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckpointError(f"{saved.path} cannot be exported: {name} holds numbers that are not finite")
    scores, _, hidden = first.outputs
    about = {
        "format": FORMAT,
        "acts": "greedily: it takes the available action with the largest score, the first of equals",
        "network": {"name": old.network_name, "settings": dict(old.network_settings)},
        "controller": {"name": old.controller_name, "settings": dict(old.controller_settings)},
        "sizes": {
            "agents": spec.n_agents,
            "actions": spec.n_actions,
            "observation": spec.obs_dim,
            "state": list(controller.initial_state(torch.zeros(1, dtype=torch.int64)).shape[2:]),
        },
        "any_number_of_agents": not controller.tells_agents_apart,
        "networks": list(controller.groups),
        "entities": None if spec.entities is None else asdict(spec.entities),
        "operations": [list(operation) for operation in first.operations],
        "outputs": {"scores": scores, "hidden": hidden},
    }
    return PortableForm(about, {name: np.array(array, order="C") for name, array in arrays.items()})


def numpy_actor(policy: PortablePolicy) -> Actor:
    """A portable policy as an `Actor`."""

    def act(obs: FloatArray, avail: BoolArray, state: State) -> tuple[FloatArray, IntArray, FloatArray]:
        scores, _ = policy.scores(obs, state)
        actions, after = policy.act(obs, avail, state)
        return scores, actions, after.hidden

    return act


def compare(policy: LearnedPolicy, actor: Actor) -> Likeness:
    """Play episodes of random observations with the policy, by PyTorch, and let another one act in its place.

    Both remember by themselves what they have seen; the last actions are the policy's.

    Args:
        policy: on the CPU.
        actor: the other one.
    """
    controller, spec = policy.controller, policy.spec
    difference, largest, losses = 0.0, 0.0, list[float]()
    for episode in range(_EPISODES):
        lead = (_ROWS, spec.n_agents)
        last, hidden = np.full(lead, -1, np.int64), controller.initial_state(torch.zeros(_ROWS, dtype=torch.int64))
        state = State(hidden.numpy(), last)
        for obs, avail in _observations(policy, episode):
            with torch.no_grad():
                tensor, hidden = controller.step(torch.from_numpy(obs), torch.from_numpy(last), hidden)
            scores, last = tensor.numpy(), greedy_actions(tensor.numpy(), avail)
            others, actions, remembered = actor(obs, avail, state)
            difference = max(difference, float(np.abs(others - scores).max()))
            largest = max(largest, float(np.abs(scores).max()))
            taken, best = (np.take_along_axis(scores, x[..., None], axis=-1) for x in (actions, last))
            possible = np.take_along_axis(avail, actions[..., None], axis=-1)
            losses += np.where(possible, best - taken, np.inf).ravel().tolist()
            state = State(remembered, last)
    tolerated = 2 * TOLERANCE * max(1.0, largest)
    return Likeness(len(losses), difference, largest, sum(loss > tolerated for loss in losses))


def _observations(policy: LearnedPolicy, episode: int) -> Iterator[tuple[FloatArray, BoolArray]]:
    """Random observations ``[B, A, O]``, as far apart as in training where that is known, and available actions."""
    spec, inputs = policy.spec, policy.controller.inputs if isinstance(policy.controller, MAC) else None
    scaler = inputs.scaler if isinstance(inputs, FlatInputs) else None
    shift, factor = (0.0, 1.0) if scaler is None else (scaler.shift.numpy(), scaler.factor.numpy())
    rng = np.random.default_rng(episode)
    for _ in range(max(5, math.ceil(_OBSERVATIONS / (_EPISODES * _ROWS * spec.n_agents)))):
        obs = shift + rng.standard_normal((_ROWS, spec.n_agents, spec.obs_dim)) / factor
        avail = rng.random((_ROWS, spec.n_agents, spec.n_actions)) < _AVAILABLE
        np.put_along_axis(avail, rng.integers(spec.n_actions, size=(_ROWS, spec.n_agents, 1)), True, axis=-1)
        yield obs.astype(np.float32), avail

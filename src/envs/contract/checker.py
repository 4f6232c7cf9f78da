"""The `VectorEnv` contract as a test that anybody can run on an environment."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...components import rng
from ...components.rng import Stream, UInt64Array, derive
from ...components.spec import BoolArray, EnvSpec, IntArray, TimeStep
from ..adapters.single import describe
from .vector_env import EpisodeFailure, VectorEnv

_TOO_LARGE = 1e6  # for a number that a network reads
_LEFT_AFTER = 2  # steps of an episode that is left in its middle
_ACTIONS = 0xAC710  # derives the keys of the random actions from an episode's key


class EnvironmentContractError(ValueError):
    """The environment breaks rules of `VectorEnv`.

    Attributes:
        findings: one sentence per broken rule: what was seen and what to change.
    """

    def __init__(self, findings: list[str]) -> None:
        super().__init__("the environment breaks its contract:\n" + "\n".join(f"- {text}" for text in findings))
        self.findings = findings


def check_environment(env: VectorEnv, *, n_episodes: int = 3, seed: int = 0, twin: VectorEnv | None = None) -> None:
    """Play random episodes and check every rule that runners rely on; the environment stays open.

    Each set of episodes is played again in ways that must change nothing: once more after others were begun and left
    in their middle, in other rows, and with pauses (rows are reset at different times and stepped in turns). With one
    row the second is skipped.

    Args:
        env: the environment; a few rows find more than one.
        n_episodes: episodes per row.
        seed: what the episodes and actions derive from.
        twin: another environment made with the same settings, which must play the same.

    Raises:
        EnvironmentContractError: lists everything that was found, at most one example per rule.
    """
    findings = _Findings()
    for name in ("n_envs", "spec", "reset", "step", "close"):
        findings.require(hasattr(env, name), name, f"{type(env).__name__} has no {name}: add it, see VectorEnv")
    if not findings:
        _check_spec(env, findings)
    if not findings:
        for episode in range(n_episodes):
            indices = np.arange(env.n_envs) + episode * env.n_envs
            _check_episodes(env, twin, rng.keys(seed, Stream.TEST, indices), findings)
    if findings:
        raise EnvironmentContractError(list(findings.values()))


class _Findings(dict[str, str]):
    """What is wrong, by rule: the first example of each."""

    def require(self, ok: Any, rule: str, text: str | Callable[[], str]) -> None:
        if not ok and rule not in self:
            self[rule] = text if isinstance(text, str) else text()


class _Entry(NamedTuple):
    """One time of one episode: a `TimeStep` without B."""

    obs: NDArray[Any]
    state: NDArray[Any]
    avail: NDArray[Any]
    reward: NDArray[Any]
    terminated: NDArray[Any]
    truncated: NDArray[Any]
    metrics: NDArray[Any]


def _check_spec(env: VectorEnv, findings: _Findings) -> None:
    spec = env.spec
    ok = isinstance(env.n_envs, int) and env.n_envs >= 1
    findings.require(ok, "n_envs", f"n_envs is {env.n_envs!r}: make it an int of at least 1")
    names = spec.metric_names
    ok = isinstance(names, tuple) and all(isinstance(n, str) for n in names) and len(set(names)) == len(names)
    findings.require(ok, "metric_names", f"spec.metric_names is {names!r}: make it a tuple of different names")
    unknown = set(spec.headline_metrics) - set(names)
    findings.require(
        not unknown, "headline", f"spec.headline_metrics has {sorted(unknown)}: list names of metric_names"
    )
    if spec.entities is not None:
        _check_entities(spec, findings)


def _check_entities(spec: EnvSpec, findings: _Findings) -> None:
    entities = spec.entities
    assert entities is not None
    end = entities.start + entities.n_entities * entities.n_features
    findings.require(
        0 <= entities.start <= end <= spec.obs_dim,
        "entities block",
        f"spec.entities takes numbers {entities.start} to {end} of an observation of {spec.obs_dim}: correct start, "
        "n_entities or n_features",
    )
    for name, values, low, high in (
        ("action_entity", entities.action_entity, -1, entities.n_entities - 1),
        ("action_kind", entities.action_kind, 0, spec.n_actions - 1),
    ):
        findings.require(
            len(values) == spec.n_actions and all(low <= v <= high for v in values),
            name,
            f"spec.entities.{name} must have one number from {low} to {high} for each of the {spec.n_actions} actions, "
            f"it is {values}",
        )


def _check_episodes(env: VectorEnv, twin: VectorEnv | None, keys: UInt64Array, findings: _Findings) -> None:
    """Play the episodes of these keys in several ways and compare."""
    first = _play(env, keys, findings, pauses=False)
    if first is None:
        return
    for way in _ways(env, twin, keys):
        if way.leaving and _play(env, derive(keys, 0), findings, pauses=False, at_most=_LEFT_AFTER) is None:
            return
        again = _play(way.env, way.keys, findings, pauses=way.pauses)
        if again is None:
            return
        for row, key in enumerate(keys):
            where = _difference(first[row], again[int(np.flatnonzero(way.keys == key)[0])])
            findings.require(not where, way.rule, f"{way.text} {where}: {_ADVICE[way.rule]}")


class _Way(NamedTuple):
    """One way to play the same episodes again.

    Attributes:
        rule: that it must not change anything.
        text: what was seen if it does.
        env: which environment plays.
        keys: of the episodes, by row.
        pauses: whether rows take turns.
        leaving: whether other episodes are begun, and left, before.
    """

    rule: str
    text: str
    env: VectorEnv
    keys: UInt64Array
    pauses: bool = False
    leaving: bool = False


def _ways(env: VectorEnv, twin: VectorEnv | None, keys: UInt64Array) -> Iterator[_Way]:
    yield _Way("determinism", "an equal seed and equal actions gave another", env, keys)
    yield _Way(
        "left", "after an episode that was left in its middle, an equal seed gave another", env, keys, leaving=True
    )
    if len(keys) > 1:
        yield _Way("placement", "the same episode in another row gave another", env, np.roll(keys, 1))
    yield _Way("pauses", "resetting and stepping other rows in between gave another", env, keys, pauses=True)
    if twin is not None:
        yield _Way("twin", "the same episode in another environment of the same settings gave another", twin, keys)


_ADVICE: Mapping[str, str] = {
    "determinism": "derive all randomness from the seed given to reset, and reset everything that an episode changes",
    "left": "reset everything that an episode changes, also when it did not reach its end",
    "placement": "derive all randomness from the row's own seed, not from its number, other rows or a shared generator",
    "twin": "derive all randomness from the seed given to reset, none from when or where the environment was made",
    "pauses": "change nothing in rows that are not marked in where or active",
}


def _difference(one: list[_Entry], other: list[_Entry]) -> str:
    """Where two records of an episode differ first; empty if they do not."""
    for t, (a, b) in enumerate(zip(one, other, strict=False)):
        for name, x, y in zip(_Entry._fields, a, b, strict=True):
            if not np.array_equal(x, y, equal_nan=x.dtype.kind == "f"):
                return f"{name} at time {t}"
    return "" if len(one) == len(other) else f"length ({len(one) - 1} and {len(other) - 1} steps)"


def _play(
    env: VectorEnv, keys: UInt64Array, findings: _Findings, *, pauses: bool, at_most: int | None = None
) -> list[list[_Entry]] | None:
    """One record per row of ``at_most`` steps; ``None`` when the environment raised or its arrays cannot be used."""
    n, limit = env.n_envs, env.spec.episode_limit
    rows: list[list[_Entry]] = [[] for _ in range(n)]
    spec = copy.deepcopy(env.spec)
    running = np.zeros(n, np.bool_)
    avail = np.zeros((n, spec.n_agents, spec.n_actions), np.bool_)
    waiting = np.ones(n, np.bool_)
    turn = 0
    while waiting.any() or running.any():
        # With pauses the even rows get two calls (reset and step at first), then the odd rows, and so on.
        in_turn = np.arange(n) % 2 == turn // 2 % 2 if pauses else np.ones(n, np.bool_)
        where = waiting & in_turn
        if where.any():
            now = _call(env, "reset", keys, where, findings)
            running, waiting = running | where, waiting & ~where
        else:
            where = running & in_turn
            t = np.array([len(row) - 1 for row in rows])
            actions = np.where(where[:, None], _random_actions(keys, t, avail), spec.n_actions)  # others': no action
            now = _call(env, "step", actions, where, findings)
        turn += 1
        if now is None:
            return None
        for row in np.flatnonzero(where):
            rows[row].append(_Entry(*(np.array(array[row]) for array in now)))
        avail[where] = now.avail[where]
        over = now.terminated | now.truncated
        _check_avail(now, where & ~now.terminated, findings)
        running &= ~over
        n_steps = np.array([len(row) - 1 for row in rows])
        if at_most is not None:
            running &= n_steps < at_most
        late = (n_steps >= limit) & running
        text = f"an episode goes on after spec.episode_limit={limit} steps: set truncated there, or correct the limit"
        findings.require(not late.any(), "episode_limit", text)
        running &= ~late
    findings.require(
        env.spec == spec, "spec changed", "env.spec changed while playing: build it once in the constructor"
    )
    return rows


def _random_actions(keys: UInt64Array, t: IntArray, avail: BoolArray) -> IntArray:
    """Uniform over the available actions, from the episode's key and time alone."""
    _, n_agents, n_actions = avail.shape
    counter = (np.maximum(t, 0)[:, None] * n_agents + np.arange(n_agents))[..., None] * n_actions + np.arange(n_actions)
    bits = rng.draw(derive(keys, _ACTIONS)[:, None, None], counter)
    return np.where(avail, bits >> np.uint64(1), 0).argmax(axis=-1).astype(np.int64)


def _call(env: VectorEnv, method: str, values: NDArray[Any], where: BoolArray, findings: _Findings) -> TimeStep | None:
    """Call `reset` or `step`; its checked result, ``None`` if there is nothing to go on with."""
    given_values, given_where = values.copy(), where.copy()
    try:
        now = env.reset(given_values, given_where) if method == "reset" else env.step(given_values, given_where)
    except Exception as error:
        hint = "" if method == "reset" or where.all() else " (actions of rows that are not active may be anything)"
        rows = [failure.reason for failure in error.failures] if isinstance(error, EpisodeFailure) else []
        reason = "; ".join(dict.fromkeys(rows)) or describe(error)  # rows often fail for the same reason
        findings.require(False, method + " raised", f"{method} fails for valid arguments{hint}: {reason}")
        return None
    same = np.array_equal(given_values, values) and np.array_equal(given_where, where)
    findings.require(same, method + " arguments", f"{method} changes its arguments: copy what you keep or modify")
    if not _check_arrays(now, env, method, findings):
        return None
    _check_values(now, method, where, findings)
    return now


def _check_arrays(now: TimeStep, env: VectorEnv, method: str, findings: _Findings) -> bool:
    if not isinstance(now, TimeStep):
        findings[method + " type"] = f"{method} returns {type(now).__name__}: return a TimeStep"
        return False
    wanted: Iterable[NDArray[Any]] = TimeStep.zeros(env.spec, env.n_envs)
    usable = True
    for name, array, want in zip(TimeStep._fields, now, wanted, strict=True):
        if not isinstance(array, np.ndarray):
            text = f"{method} returns {name} as {type(array).__name__}: return a NumPy array"
        elif array.shape != want.shape:
            text = f"{method} returns {name} with the shape {array.shape}: return {want.shape}, as in TimeStep"
        elif array.dtype != want.dtype:
            text = f"{method} returns {name} as {array.dtype}: return {want.dtype}"
        else:
            continue
        usable = False
        findings.setdefault(name + " array", text)
    return usable


def _check_values(now: TimeStep, method: str, where: BoolArray, findings: _Findings) -> None:
    arrays: Iterable[NDArray[Any]] = now
    for name, array in zip(TimeStep._fields, arrays, strict=True):
        text = f"{method} returns {name} with NaN or infinity: return finite numbers"
        findings.require(np.isfinite(array).all(), name + " finite", text)
        largest = np.abs(array, dtype=np.float64).max(initial=0.0) if name in ("obs", "state") else 0.0
        text = f"{method} returns {name} with numbers up to {largest:.3g}: scale them, networks learn from ones near 1"
        findings.require(not _TOO_LARGE < largest < np.inf, name + " size", text)
        text = f"{method} returns {name} in a row that it was not asked for: leave zeros there"
        findings.require(not array[~where].any(), name + " zeros", text)
    both = now.terminated & now.truncated
    text = "terminated and truncated are both true: set truncated only when the episode would have gone on"
    findings.require(not both.any(), "exclusive", text)
    if method == "reset":
        findings.require(
            not now.reward.any(), "first reward", "reset returns a reward: return zeros, nothing was done yet"
        )
        text = "reset returns an episode that is over: start one with at least one step"
        findings.require(not (now.terminated | now.truncated).any(), "first end", text)


def _check_avail(now: TimeStep, not_terminated: BoolArray, findings: _Findings) -> None:
    empty = ~now.avail.any(axis=-1).all(axis=-1) & not_terminated
    text = "avail leaves an agent of a running episode no action: make one available that does nothing"
    findings.require(not (empty & ~now.truncated).any(), "avail", text)
    text = (
        "avail leaves an agent no action where an episode is truncated: learners look at what would have been possible"
    )
    findings.require(not (empty & now.truncated).any(), "avail at the end", text)

"""Settings that every test needs, and what the tests of several folders are made of."""

import copy
import functools
import gc
import io
import math
import pickle
import signal
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_module
from hydra._internal import defaults_list
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hypothesis import settings
from omegaconf import open_dict

from hymarl import registry
from hymarl.app.config import read as read_config
from hymarl.app.directories import register_resolvers
from hymarl.app.hydra_state import without_copies_of_the_store
from hymarl.components import rng
from hymarl.components.compiled import COMPILING
from hymarl.components.episode import EpisodeBatch
from hymarl.components.files import load
from hymarl.components.spec import Entities, EnvSpec, TimeStep
from hymarl.envs import loadbalance
from hymarl.envs.contract.vector_env import EpisodeFailure, RowFailure
from hymarl.main import main
from hymarl.policies.description import PolicyDescription
from hymarl.policies.learned import LearnedPolicy
from hymarl.training.collecting import Collector, Weights
from hymarl.training.evaluation import Evaluator
from hymarl.training.trainer import Trainer

gc.set_threshold(20_000, 10, 100)  # searching for garbage less often saves 6 % of the tests' time
# One thread per process: the suite runs several processes, and small tensors only get slower with more.
torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell starts background jobs with Ctrl-C ignored
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # and nohup starts them with this one ignored

settings.register_profile("hymarl", max_examples=50, deadline=None, derandomize=True)
settings.load_profile("hymarl")

PACKAGES = ("hymarl.conf", "hydra.conf")
COMPILER = pytest.StashKey[subprocess.Popen]()


def pytest_sessionstart(session):
    """The process that starts the others has the simulation of load balancing compiled while they collect the tests.

    They would otherwise all come to need it at once, in a new clone, and do nothing while one of them compiles it.
    """
    folder = Path(loadbalance.__file__).parent
    kept = [file.stat().st_mtime for file in folder.glob("__pycache__/*.nbi")]
    changed = max(file.stat().st_mtime for file in folder.glob("*.py"))
    if session.config.pluginmanager.hasplugin("dsession") and changed > max(kept, default=0.0):
        code = "import hymarl, numpy; hymarl.make_env('loadbalance').reset(numpy.zeros(1), numpy.ones(1))"
        silent = subprocess.DEVNULL
        session.config.stash[COMPILER] = subprocess.Popen([sys.executable, "-c", code], stdout=silent, stderr=silent)


def pytest_unconfigure(config):
    """No process outlives the tests."""
    if (compiler := config.stash.get(COMPILER, None)) is not None:
        compiler.terminate()
        compiler.wait()


def pytest_collection_finish():
    """Leave what lives as long as the tests, a million objects, out of every search for garbage: 5 % of their time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def hydra_does_nothing_twice():
    """Hydra parses an option file of the package, and merges the files of the same choices, once.

    That is most of composing, and these tests compose a thousand configurations. Each one gets nodes of its own as
    ever. No test changes a file of the package; where configurations are searched for in other places too, such as
    folders that tests write, all of it is merged anew. Processes of their own, such as those of the tests of the
    command line, have Hydra as it is.
    """
    Plugins.instance()  # finds the classes of sources, which are not those that can be imported
    source_of_packages = SourcesRegistry.instance().resolve("pkg")
    load, choose = source_of_packages.load_config, defaults_list._create_defaults_list
    merge = ConfigLoaderImpl._compose_config_from_defaults_list
    kept = {}

    def once(make, *given):
        key = pickle.dumps((make.__qualname__, given))
        if key not in kept:
            kept[key] = pickle.dumps(make())
        return pickle.loads(kept[key])

    def searched(repo):
        """What ``repo`` finds configurations in; None if that is more than the two packages and Hydra's store."""
        sources = [(source.scheme(), source.path) for source in repo.get_sources()]
        if not {path for _, path in sources} <= {*PACKAGES, ""}:
            return None
        return sources, [(name, id(node)) for name, node in leaves(ConfigStore.instance().repo)]

    def load_once(source, config_path):
        if source.path not in PACKAGES:
            return load(source, config_path)
        return once(lambda: load(source, config_path), source.path, source.provider, config_path)

    def choose_once(repo, config_name, overrides, **options):
        def chosen():
            return choose(repo, config_name, overrides, **options), known()

        def known():
            return {name: x for name, x in vars(overrides).items() if name != "config_overrides"}

        where = searched(repo)
        result, learned = once(chosen, where, config_name, known(), options) if where else chosen()
        vars(overrides).update(learned)
        return result

    def merge_once(loader, defaults, repo):
        where = searched(repo)
        return once(lambda: merge(loader, defaults, repo), where, defaults) if where else merge(loader, defaults, repo)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(source_of_packages, "load_config", load_once)
        patch.setattr(defaults_list, "_create_defaults_list", choose_once)
        patch.setattr(ConfigLoaderImpl, "_compose_config_from_defaults_list", merge_once)
        yield


@pytest.fixture(scope="session")
def option():
    """Name and settings of an option as its YAML file and those that it extends say, some of them changed:
    ``option("mixer", "qmix", …)``."""

    as_written = functools.cache(registry.written)

    def read(group, option, **changes):
        values = copy.deepcopy(as_written(group, option))
        name = values.pop("name")
        assert set(changes) <= set(values)
        return name, values | changes

    return read


@pytest.fixture(scope="session")
def configured():
    """The checked configuration of a command line, and what of it was said there."""
    register_resolvers()

    def compose_and_read(*overrides):
        with without_copies_of_the_store(), initialize_config_module("hymarl.conf", version_base="1.3"):
            cfg = compose("config", overrides=list(overrides), return_hydra_config=True)
            choices = cfg.hydra.runtime.choices
            with open_dict(cfg):
                del cfg["hydra"]
            return read_config(cfg, choices, overrides)

    return compose_and_read


@pytest.fixture(scope="session")
def component(option):
    """A component made of the settings of an option: ``component("mixer", "qmix", spec, embed_dim=8)``."""

    def build(group, name, *runtime, **changes):
        return registry.build(group, *option(group, name, **changes), *runtime)

    return build


@pytest.fixture(scope="session")
def make_controller(option):
    """A MAC with a small network, as a run builds it: ``make_controller(spec, "rnn", {"rnn_dim": 4}, sharing=…)``."""
    small = {
        "mlp": {"hidden_dims": [16, 8]},
        "rnn": {"hidden_dims": [16], "rnn_dim": 8},
        "entity": {"hidden_dim": 16},
    }

    def make(spec, network="mlp", network_settings=None, name="mac", **changes):
        takes_entities = registry.find("network", network).takes_entities
        changes = {"agent_id": not takes_entities, **changes}
        network_settings = small.get(network, {}) if network_settings is None else network_settings
        return PolicyDescription(
            spec, *option("controller", name, **changes), *option("network", network, **network_settings)
        ).controller()

    return make


@pytest.fixture(scope="session")
def make_trainer():
    """A trainer of parts that were built before: ``make_trainer(runner, validation, learner, selector, replay, …)``."""

    def make(runner, validation, learner, selector, replay, settings, evaluation_episodes=1, kind=LearnedPolicy):
        def policy(kind=LearnedPolicy, *more):
            return kind(runner.spec, copy.deepcopy(learner.networks["controller"]), *more)

        collector = Collector(
            runner, policy(kind, selector), lambda: Weights(learner.policy_weights(), learner.updates)
        )
        evaluator = Evaluator(policy(), validation, evaluation_episodes)
        return Trainer(collector, evaluator, learner, replay, settings, "cpu")

    return make


@pytest.fixture(scope="session")
def spec():
    """Sizes that are all different, so that no axis can be taken for another; observations list three entities.

    Actions 0 to 2 are about an entity each, action 3 is another thing to do to entity 1, action 4 is about none.
    """
    entities = Entities(
        n_entities=3, n_features=2, start=1, action_entity=(0, 1, 2, 1, -1), action_kind=(0, 0, 0, 1, 1)
    )
    return EnvSpec(n_agents=2, n_actions=5, obs_dim=9, state_dim=4, episode_limit=6, entities=entities)


@pytest.fixture(scope="session")
def random_batch():
    """A valid batch of random episodes of the given lengths: ``random_batch(spec, [3, 1, 5], seed=1)``.

    ``ends`` says for each episode whether it terminated (else it was truncated); by default every other one did.
    """

    def make(spec, lengths, length=None, seed=0, ends=None):
        g = torch.Generator().manual_seed(seed)
        batch = EpisodeBatch.empty(spec, len(lengths), length or max(lengths))
        rows, steps = len(lengths), torch.tensor(lengths)
        ends = torch.tensor([row % 2 == 0 for row in range(rows)] if ends is None else ends)
        t = torch.arange(batch.filled.shape[1] + 1)
        real = t <= steps[:, None]  # B T+1
        batch.filled[:] = t[:-1] < steps[:, None]
        batch.terminated[:] = (t[:-1] == steps[:, None] - 1) & ends[:, None]
        batch.obs[real] = torch.randn(batch.obs.shape, generator=g)[real]
        batch.state[real] = torch.randn(batch.state.shape, generator=g)[real]
        batch.reward[batch.filled] = torch.randn(batch.reward.shape, generator=g)[batch.filled]
        avail = torch.rand(batch.avail.shape, generator=g) < 0.5
        some = torch.randint(spec.n_actions, (*avail.shape[:-1], 1), generator=g)
        avail.scatter_(-1, some, True)
        alive = real & ~((t == steps[:, None]) & ends[:, None])
        batch.avail[alive] = avail[alive]
        chosen = torch.multinomial(batch.avail[:, :-1].flatten(0, -2).float(), 1, generator=g)
        batch.actions[batch.filled] = chosen.view(batch.actions.shape).to(batch.actions.dtype)[batch.filled]
        batch.policy_updates[:] = torch.arange(rows)
        batch.validate(spec)
        return batch

    return make


def leaves(data, name=""):
    """Name and value of everything in nested data."""
    if isinstance(data, dict | list | tuple):
        for key, value in data.items() if isinstance(data, dict) else enumerate(data):
            yield from leaves(value, f"{name}.{key}")
    else:
        yield name, data


@pytest.fixture(scope="session")
def differences():
    """Names of what two nested data, such as checkpoints, do not have in common to the bit."""

    def same(a, b):
        if isinstance(a, torch.Tensor):
            return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
        return a == b or (isinstance(a, float) and math.isnan(a) and isinstance(b, float) and math.isnan(b))

    def find(a, b, ignored=()):
        """``ignored``: beginnings of names that do not count."""
        one, other = ({n: x for n, x in leaves(data) if not n.startswith(ignored)} for data in (a, b))
        return [n for n in {**one, **other} if n not in one or n not in other or not same(one[n], other[n])]

    return find


@pytest.fixture(scope="session")
def assert_equal_runs(differences):
    """Run directories are equal to the bit, but for what a clock measured and how the replay is cut into files."""

    def check(run, other):
        for name in ("metrics.csv", "evaluations.csv", "comparison.csv"):
            assert (run / name).read_bytes() == (other / name).read_bytes(), name
        for file in ("latest.pt", "best.pt"):
            saved = (load(path / "checkpoints" / file) for path in (run, other))
            assert differences(*saved, ignored=(".tables.timing", ".replay.")) == []

    return check


class RandomEnv:
    """Episodes of different lengths in which every number depends on the episode's key and on all actions so far.

    Args:
        n_envs: B.
        limit: the time limit; about half of the episodes terminate before it.
        individual_rewards: one reward per agent.
        failures: for an episode's key the times at which it fails, one for each attempt at it (-1: at reset).
    """

    def __init__(self, n_envs, limit=5, individual_rewards=False, failures=None):
        self.n_envs = n_envs
        self.spec = EnvSpec(
            n_agents=2,
            n_actions=3,
            obs_dim=4,
            state_dim=5,
            episode_limit=limit,
            metric_names=("first", "steps"),
            individual_rewards=individual_rewards,
        )
        self.failures = {key: list(times) for key, times in (failures or {}).items()}
        self.fails_at = np.full(n_envs, limit + 1)
        self.key = self.history = np.zeros(n_envs, np.uint64)
        self.t = np.zeros(n_envs, np.int64)
        self.n_steps, self.closed = 0, False

    def reset(self, seeds, where):
        self.key, self.history = np.where(where, seeds, self.key), np.where(where, seeds, self.history)
        self.t[where] = 0
        for row in np.flatnonzero(where):
            times = self.failures.get(int(seeds[row]))
            self.fails_at[row] = times.pop(0) if times else self.spec.episode_limit + 1
        return self._finish(where, where & (self.fails_at == -1), None)

    def step(self, actions, active):
        assert active.any()
        avail = self._numbers(3, (2, 3)) < 0.7
        avail |= ~avail.any(axis=-1, keepdims=True)
        assert np.take_along_axis(avail, actions[..., None], axis=-1)[active].all()
        failed = active & (self.t == self.fails_at)
        given = (actions @ np.array([1, 3])).astype(np.uint64)
        self.history = np.where(active, rng.derive(self.history ^ given, 0), self.history)
        self.t[active] += 1
        self.n_steps += int(active.sum())
        return self._finish(active, failed, actions)

    def close(self):
        self.closed = True

    def _numbers(self, purpose, shape):
        bits = rng.draw(rng.derive(self.history, purpose)[:, None], np.arange(np.prod(shape)))
        return rng.uniform(bits).reshape(-1, *shape)

    def _finish(self, where, failed, actions):
        out = TimeStep.zeros(self.spec, self.n_envs)
        on = where & ~failed
        out.obs[on] = self._numbers(1, (2, 4))[on]
        out.state[on] = self._numbers(2, (5,))[on]
        avail = self._numbers(3, (2, 3)) < 0.7
        out.avail[on] = (avail | ~avail.any(axis=-1, keepdims=True))[on]
        if actions is not None:
            reward = self._numbers(4, (2,))
            out.reward[on] = (reward if self.spec.individual_rewards else reward.sum(axis=-1))[on]
            out.terminated[on] = self._numbers(5, (1,))[on, 0] < 0.15
            out.truncated[on] = (~out.terminated & (self.t == self.spec.episode_limit))[on]
            out.metrics[on] = np.stack([self._numbers(6, (1,))[:, 0], self.t], axis=-1)[on]
        if not failed.any():
            return out
        rows = np.flatnonzero(failed)
        given = [None if actions is None else tuple(map(int, actions[row])) for row in rows]
        raise EpisodeFailure(
            [RowFailure(int(r), int(self.key[r]), a, "broken on purpose") for r, a in zip(rows, given, strict=True)],
            out,
        )


@pytest.fixture(scope="session")
def random_env():
    """The class of a small environment with episodes of different lengths, which fails on command."""
    return RandomEnv


# The command line


@dataclass(frozen=True)
class Outcome:
    """What a user sees of one call of the program, without the directory it was called in."""

    code: int
    out: str
    err: str


@pytest.fixture(scope="session")
def hymarl():
    """The program in this process, called in a directory: ``hymarl(directory, "mixer=vdn", …, NAME="value")``.

    What it prints is encoded as ``PYTHONIOENCODING`` says, as in a process of its own.
    """

    def call(directory, *arguments, **environment):
        encoding = environment.get("PYTHONIOENCODING", "utf-8")
        code, (out, err) = 0, (io.TextIOWrapper(io.BytesIO(), encoding, newline="\n") for _ in range(2))
        with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
            patch.chdir(directory)
            patch.setattr(sys, "argv", ["main.py", *arguments])
            patch.setattr(sys, "path", [*sys.path])
            # Composes everything once more to see whether the YAML files ask for a sweep: half of a short test's time.
            patch.setattr(Hydra, "get_mode", lambda *_, **__: None)
            for name in ("HYDRA_FULL_ERROR", "HYMARL_TRACEBACK", "CHANCE_STEPS", *environment):
                patch.setenv(name, "")
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            try:
                main()
            except SystemExit as end:
                code = end.code
            finally:
                torch.set_num_threads(1)  # whatever the run was told
        for stream in (out, err):
            stream.flush()
        printed = [stream.buffer.getvalue().decode(encoding) for stream in (out, err)]
        printed[1] = printed[1].replace(f"{COMPILING}\n", "")  # depends on what has run on this machine before
        return Outcome(code, *(text.replace(f"{directory}/", "") for text in printed))

    return call


@pytest.fixture(scope="session")
def extension():
    """The folder of an extension of the package, with a ``conf/`` of its own, that can be imported by its name."""
    folder = Path(__file__).parent / "extension"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder.parent)
        yield folder

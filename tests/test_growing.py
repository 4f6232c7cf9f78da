"""What algorithms to come need, as extensions from outside of the package: columns, replay, networks, lag."""

import csv
import shutil

import pytest
import torch

from hymarl.app.assembly import build_trainer
from hymarl.components.files import load
from hymarl.learners.q import QLearner
from hymarl.learners.values import taken
from hymarl.registry import ConfigError
from hymarl.training.recorder import Recorder

# No interval divides another or the length of a collection; the replay wraps around.
SETTINGS = (
    *("env=chance", "logger=[]", "runner.n_envs=3", "eval.episodes=2", "eval.test_episodes=2", "network=mlp"),
    *("network.hidden_dims=[8]", "train.total_steps=130", "train.log_interval_steps=20", "eval.references=false"),
    *("train.eval_interval_steps=60", "train.checkpoint_interval_steps=23"),
)
Q = ("mixer=vdn", "learner.target_interval_updates=7", "learner.standardize_rewards=true")
UNIFORM = ("replay.batch_episodes=4", "replay.buffer_episodes=15", "replay.updates_per_episode=0.7")
LATEST = ("replay=latest", "replay.epochs=2", "replay.minibatches=2")
SOFTMAX = ("selector=softmax",)
TRUST = "trust=[extension]"
ACTOR_CRITIC = ("learner=actor_critic", *SOFTMAX, *LATEST)


@pytest.fixture(scope="session")
def start(hymarl, extension):
    """The program with the extension's options: ``start(directory, "selector=softmax", …)``."""
    return lambda folder, *more, **environment: hymarl(
        folder, f"hydra.searchpath=['file://{extension}/conf']", *more, **environment
    )


@pytest.fixture(scope="session")
def run(start):
    """The directory of a short run with these settings more: ``run(directory, "selector=softmax", …)``."""

    def call(folder, *more, code=0, **environment):
        folder.mkdir(exist_ok=True)
        outcome = start(folder, *SETTINGS, *more, "hydra.run.dir=run", **environment)
        assert (outcome.code, outcome.err) == (code, "")
        return folder / "run"

    return call


def rows(path):
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def stored(run):
    """The column ``log_prob`` of the episodes in a run's replay files, all steps one after the other."""
    checkpoints = run / "checkpoints"
    files = [load(checkpoints / "replay" / entry["file"]) for entry in load(checkpoints / "latest.pt")["replay"]]
    return torch.cat([file["extras.log_prob"][file["filled"]] for file in files])


@pytest.fixture(scope="session")
def continued(hymarl, run):
    """The directory of a run that was interrupted in the middle, and continued."""

    def call(folder, *more):
        begun = run(folder, *more, code=130, CHANCE_SIGNAL="SIGINT", CHANCE_AT="40")
        assert 0 < load(begun / "checkpoints" / "latest.pt")["trainer"]["collector"]["steps"] < 100
        outcome = hymarl(folder, "resume=run", TRUST)
        assert (outcome.code, outcome.err) == (0, "")
        return begun

    return call


# A column that the acting policy adds


def watch(patch):
    """Check the column of all episodes that a run learns from; returns which weights had played them."""
    weights, checked, update = {}, [], QLearner.update

    def watched(learner, sample):
        weights.setdefault(learner.updates, copied(learner.controller))
        check(learner, sample.episodes)
        updated = update(learner, sample)
        weights[learner.updates] = copied(learner.controller)
        return updated

    def copied(controller):
        return {name: x.clone() for name, x in controller.state_dict().items()}

    @torch.no_grad()
    def check(learner, batch):
        current = copied(learner.controller)
        assert batch.extras["log_prob"].shape == batch.actions.shape
        for row in range(batch.n_episodes):
            one = batch.select(torch.tensor([row]))
            learner.controller.load_state_dict(weights[int(one.policy_updates)])  # those that played the episode
            scores = learner.controller.unroll(one)[0].masked_fill(~one.avail, -torch.inf)
            expected = taken(scores.log_softmax(dim=-1)[:, :-1], one.actions)
            assert torch.allclose(one.extras["log_prob"], expected, atol=1e-5)
            checked.append(one.policy_updates.item())
        learner.controller.load_state_dict(current)

    patch.setattr(QLearner, "update", watched)
    return checked


@pytest.fixture(scope="module")
def watched(run, tmp_path_factory):
    """The directory of a run whose selector adds a column, and which weights had played what it learned from."""
    with pytest.MonkeyPatch.context() as patch:
        checked = watch(patch)
        return run(tmp_path_factory.mktemp("watched"), *Q, *UNIFORM, *SOFTMAX), checked


def test_what_a_selector_adds_to_episodes_is_there_when_they_are_learned_from(run, watched, tmp_path, monkeypatch):
    lagging = watch(monkeypatch)
    run(tmp_path, *Q, *UNIFORM, *SOFTMAX, "runner.lag=2")
    for checked in (watched[1], lagging):
        assert len(checked) > 50
        assert len(set(checked)) > 5


def test_what_a_selector_adds_to_episodes_is_the_same_after_an_interruption(
    assert_equal_runs, watched, continued, tmp_path
):
    whole, parts = watched[0], continued(tmp_path, *Q, *UNIFORM, *SOFTMAX)
    assert_equal_runs(whole, parts)
    assert (stored(whole) < 0).float().mean() > 0.5
    assert torch.equal(stored(whole)[-20:], stored(parts)[-20:])  # how much of the old is kept, depends on the files


RETRACE = (
    *("learner.td_lambda=0.8", "learner.trace=retrace", "learner.trace_epsilon=0.1"),
    "selector.anneal_steps=100",
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "settings",
    [
        (*RETRACE, "learner.normalize_values=true"),
        ("learner.n_steps=3", "learner.normalize_values=true", "selector.explore=team", "selector.anneal_steps=100"),
    ],
)
def test_targets_that_need_more_than_values_are_the_same_after_an_interruption(
    assert_equal_runs, run, continued, tmp_path, settings
):
    whole = run(tmp_path / "whole", *Q, *UNIFORM, *settings)
    parts = continued(tmp_path / "parts", *Q, *UNIFORM, *settings)
    assert_equal_runs(whole, parts)
    assert "value_scaler" in load(whole / "checkpoints" / "best.pt")
    if settings[:4] == RETRACE:
        assert len(stored(whole).unique()) > 10  # the probabilities change with epsilon


# The newest episodes only, several times


def test_epochs_and_minibatches_of_the_newest_episodes(run, tmp_path, monkeypatch):
    samples, update = [], QLearner.update
    monkeypatch.setattr(QLearner, "update", lambda q, sample: (samples.append(sample.numbers), update(q, sample))[1])
    whole = run(tmp_path, *Q, *LATEST)
    last = rows(whole / "metrics.csv")[-1]
    n_collections = len(samples) // 4
    assert n_collections > 5
    assert (
        len(samples) == 4 * n_collections == load(whole / "checkpoints" / "latest.pt")["trainer"]["learner"]["updates"]
    )
    assert int(last["updates"]) * 3 == int(last["episodes"]) * 4
    for n in range(n_collections):
        epochs = samples[4 * n : 4 * n + 2], samples[4 * n + 2 : 4 * n + 4]
        assert [[len(numbers) for numbers in epoch] for epoch in epochs] == [[2, 1], [2, 1]]
        assert [sorted([*a, *b]) for a, b in epochs] == [[3 * n, 3 * n + 1, 3 * n + 2]] * 2
    assert list((whole / "checkpoints").glob("replay/*")) == []


# A critic instead of a mixer


GAME = (
    "env=matrix_game",
    "env.payoffs=[[0,0,0],[0,0,0],[0,0,1]]",
    "network=mlp",
    "network.hidden_dims=[]",
    "logger=[]",
)


def test_an_actor_critic_learns(start, tmp_path):
    fast = "optimizer.lr=0.05", "runner.n_envs=32", "replay.epochs=1", "replay.minibatches=1"
    length = "train.total_steps=3200", "train.log_interval_steps=64"
    outcome = start(tmp_path, *GAME, *ACTOR_CRITIC, *fast, *length, "eval.references=false", "hydra.run.dir=run")
    assert (outcome.code, outcome.err) == (0, "")
    metrics = rows(tmp_path / "run" / "metrics.csv")
    assert float(metrics[0]["return_mean"]) < 0.6
    assert float(metrics[-1]["return_mean"]) > 0.95
    assert float(rows(tmp_path / "run" / "comparison.csv")[0]["return"]) == 1


@pytest.fixture(scope="module")
def trained(run, extension, tmp_path_factory):
    """The directory of an actor-critic's run, the advantages of each collection, how often each episode was used."""
    from extension.actor_critic import ActorCritic

    prepared, seen, prepare, loss = [], {}, ActorCritic.prepare, ActorCritic.loss

    def watched_prepare(learner, batch):
        made = prepare(learner, batch)
        prepared.append({int(key): x for key, x in zip(made.key, made.extras["advantages"].clone(), strict=True)})
        return made

    def watched_loss(learner, batch, weights=None):
        for row, key in enumerate(batch.key.tolist()):
            found = batch.extras["advantages"][row][batch.filled[row]]
            assert torch.equal(found, prepared[-1][key][: len(found)])
            seen[key] = seen.get(key, 0) + 1
        return loss(learner, batch, weights)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ActorCritic, "prepare", watched_prepare)
        patch.setattr(ActorCritic, "loss", watched_loss)
        return run(tmp_path_factory.mktemp("trained"), *ACTOR_CRITIC), prepared, seen


def test_an_actor_critic_computes_advantages_once_for_each_collection(trained):
    _, prepared, seen = trained
    assert len(prepared) > 5
    assert set(seen.values()) == {2}  # epochs
    assert len(seen) == sum(map(len, prepared))


def test_an_actor_critic_is_continued_and_its_weights_are_saved_by_their_names(
    assert_equal_runs, trained, run, continued, tmp_path
):
    whole = trained[0]
    assert_equal_runs(whole, continued(tmp_path / "parts", *ACTOR_CRITIC))
    best = load(whole / "checkpoints" / "best.pt")
    assert {"controller", "critic"} == set(best) - {"policy", "step"}
    log = (whole / "train.log").read_text(encoding="utf-8")
    assert "algorithm  actor_critic (learner actor_critic, critic central_v, network mlp)\n" in log
    more = f"init_from={whole}", TRUST, "logger=[console]", "train.total_steps=1"
    again = run(tmp_path / "again", *ACTOR_CRITIC, *more)
    log = (again / "train.log").read_text(encoding="utf-8")
    assert f"weights from {whole}; left out: optimizer, replay, statistics, counters\n" in log
    (step,) = {row["step"] for row in rows(again / "evaluations.csv")[:2]}
    saved = [row["return"] for row in rows(whole / "evaluations.csv") if row["step"] == str(best["step"])]
    assert step == "0"
    assert [row["return"] for row in rows(again / "evaluations.csv")[:2]] == saved[:2]


def test_an_actor_critic_is_resumed_and_evaluated_as_what_it_is(hymarl, trained, tmp_path):
    outcome = hymarl(tmp_path, f"evaluate={trained[0]}", TRUST, "eval.episodes=1", "hydra.run.dir=evaluated")
    assert (outcome.code, outcome.err) == (0, "")
    for job in ("resume", "evaluate"):
        outcome = hymarl(tmp_path, f"{job}={trained[0]}", TRUST, "mixer=vdn")
        assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
        assert "leave out mixer" in outcome.err


@pytest.mark.parametrize(
    ("typed", "sentence"),
    [
        ("mixer=qmix", "learner=actor_critic asks for no mixer; leave out mixer"),
        ("mixer.embed_dim=8", "learner=actor_critic asks for no mixer; leave out mixer.embed_dim"),
        (
            "replay=uniform",
            "learner=actor_critic learns from the newest episodes only, and replay=uniform keeps older ones; choose "
            "replay=latest",
        ),
        (
            "selector=epsilon_greedy",
            "learner=actor_critic learns from samples of its own policy, and selector=epsilon_greedy takes none; "
            "choose selector=softmax",
        ),
        (
            "selector=unfit",
            "learner=actor_critic and selector=unfit both add a column 'returns' to the episodes; choose another "
            "selector",
        ),
        ("critic=unfit", "learner=actor_critic needs a StateCritic, which critic=unfit is not; choose one of: "),
        ("learner=unfit", "learner=unfit: its constructor asks for 'runner'; it can ask for spec, controller, "),
        (
            "runner.lag=1",
            "learner=actor_critic learns from episodes that were played with weights at most 0 collections old, and "
            "the runner lags by 1; set runner.lag=0 and runner.overlap=false",
        ),
    ],
)
def test_what_does_not_go_together_is_said_in_one_sentence(configured, extension, typed, sentence):
    more = f"hydra.searchpath=['file://{extension}/conf']", "learner=actor_critic", *SOFTMAX, "replay=latest", typed
    with pytest.raises(ConfigError) as error:
        build_trainer(configured(*GAME, *more))
    assert str(error.value).startswith(sentence)
    assert "\n" not in str(error.value)


def test_what_does_not_go_together_leaves_nothing_behind(start, tmp_path):
    outcome = start(tmp_path, *GAME, *ACTOR_CRITIC, "runner.lag=1")  # found last
    assert (outcome.code, outcome.err.count("\n")) == (2, 1), outcome.err
    assert outcome.err.startswith("learner=actor_critic learns from episodes that ")
    assert list(tmp_path.iterdir()) == []


def test_a_critic_typed_beside_a_learner_with_a_mixer_is_said_too(configured):
    with pytest.raises(ConfigError, match=r"^learner=q asks for no critic; leave out critic\.hidden_dims$"):
        configured(*GAME, "critic.hidden_dims=[8]")


# Weights of three collections ago


def test_a_run_with_a_lag_is_continued_from_wherever_it_was_killed(
    assert_equal_runs, hymarl, run, tmp_path, monkeypatch
):
    greedy = "selector.anneal_steps=40", "optimizer.lr=0.05"  # so that actions depend on the weights
    settings, take, taken_events = (*Q, *UNIFORM, *greedy, "runner.lag=3"), Recorder.take, []

    def take_and_copy(recorder, event):
        take(recorder, event)
        taken_events.append(event)
        if len(taken_events) in (15, 21):  # what is left of a process that is killed now
            shutil.copytree(tmp_path / "whole" / "run", tmp_path / f"killed{len(taken_events)}")

    monkeypatch.setattr(Recorder, "take", take_and_copy)
    whole = run(tmp_path / "whole", *settings)
    monkeypatch.undo()
    reached = []
    for killed in (tmp_path / "killed15", tmp_path / "killed21"):
        collector = load(killed / "checkpoints" / "latest.pt")["trainer"]["collector"]
        assert len({job["n_updates"] for job in collector["jobs"]}) == len(collector["jobs"]) == 3
        reached.append(collector["steps"])
        outcome = hymarl(tmp_path, f"resume={killed.name}", TRUST)
        assert (outcome.code, outcome.err) == (0, "")
        assert_equal_runs(whole, killed)
    assert reached[0] < reached[1] < 130

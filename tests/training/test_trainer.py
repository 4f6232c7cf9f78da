"""The training loop: how often it does what, that evaluating disturbs nothing, and exact continuation."""

import copy
import signal
import threading
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
import torch

from hymarl.components import rng
from hymarl.components.files import load, save
from hymarl.components.loggers.base import Record
from hymarl.components.rng import Stream
from hymarl.runners.base import EpisodeStatistics, TooManyFailures
from hymarl.training.checkpoint import ReplayFiles
from hymarl.training.collecting import Collector
from hymarl.training.evaluation import Evaluation
from hymarl.training.metrics import Stopwatch
from hymarl.training.settings import TrainingSettings
from hymarl.training.trainer import Checkpoint

SETTINGS = {
    "total_steps": 60,
    "log_interval_steps": 10,
    "eval_interval_steps": 20,
    "checkpoint_interval_steps": 15,
    "keep_checkpoints": 2,
}
REPLAY = {"batch_episodes": 3, "buffer_episodes": 8, "updates_per_episode": 1.0}


@pytest.fixture(scope="session")
def trained(component, make_controller, make_trainer, random_env):
    """A trainer built directly; ``env`` is ``random`` or the name of an option."""

    def make(
        n_envs=1, env="random", seed=1, failures=None, learner=None, evaluation_episodes=2, lag=0, noise=None, **changes
    ):
        assert set(changes) <= {*SETTINGS, *REPLAY}
        random = env == "random"
        make_env = partial(random_env, failures=failures) if random else partial(component, "env", env, None)
        settings = {"max_failures": 10, "n_envs": n_envs, "lag": lag}
        runner = component("runner", "parallel", make_env, seed, Stream.TRAINING, **settings)
        validation = component("runner", "parallel", make_env, 0, Stream.VALIDATION, **settings)
        spec = runner.spec
        torch.manual_seed(seed)
        controller = make_controller(spec, "rnn", {"hidden_dims": [], "rnn_dim": 4, "noisy": noise == "layers"})
        made = component(
            "learner",
            "q",
            controller,
            component("mixer", "qmix", spec, embed_dim=2, hypernet_layers=1),
            component("optimizer", "adam", lr=0.01),
            **{"target_interval_updates": 4, "standardize_rewards": True, **(learner or {})},
        )
        selector = component("selector", "epsilon_greedy", spec, (), start=1.0, finish=0.1, anneal_steps=50)
        replay, training = ({k: changes.get(k, v) for k, v in group.items()} for group in (REPLAY, SETTINGS))
        stored = component("replay", "uniform", spec, {}, seed, **replay)
        parts = runner, validation, made, selector, stored, TrainingSettings(**training), evaluation_episodes
        if noise != "parameters":
            return make_trainer(*parts)
        return make_trainer(*parts, lambda *given: component("policy", "parameter_noise", *given, seed, adapt=2.0))

    return make


def story(events):
    """What happened, comparable to the bit (NaN equals NaN), without what a clock measured."""
    told = []
    for event in events:
        match event:
            case Record("metrics", step, values):
                told.append(f"metrics {step} {values}")
            case Evaluation():
                told.append(f"evaluation {event.rows()}")
            case Checkpoint():
                told.append(repr(event))
    return told


def tensors(trainer):
    return trainer.learner.state_dict()["state"]


def equal_tensors(a, b):
    return all(torch.equal(x, tensors(b)[name]) for name, x in tensors(a).items())


def steps_of(events, kind, which=lambda event: True):
    return [event.step for event in events if isinstance(event, kind) and which(event)]


# How often


@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(5, 2), Fraction(1, 10), Fraction(0)])
@pytest.mark.parametrize("n_envs", [1, 8])
def test_updates_per_episode_mean_the_same_for_any_number_of_environments(trained, n_envs, ratio):
    # Learning begins when 12 episodes are stored: the 12th is the first that counts. Every episode has two steps.
    settings = {"batch_episodes": 12, "buffer_episodes": 20, "updates_per_episode": float(ratio)}
    settings |= {"total_steps": 2 * 32, "checkpoint_interval_steps": 1, "eval_interval_steps": 1000}
    trainer = trained(n_envs, "two_step", **settings)
    seen = []
    for event in trainer.run():
        if isinstance(event, Checkpoint):
            seen.append((trainer.replay.n_inserted, trainer.learner.updates))
    assert [e for e, _ in seen[:-1]] == list(range(0, 33, n_envs))
    assert seen[-1][0] == 32
    for episodes, updates in seen:
        assert updates == int(ratio * max(0, episodes - 11)), episodes


def test_everything_happens_at_its_interval(trained):
    settings = {"log_interval_steps": 10, "eval_interval_steps": 25, "checkpoint_interval_steps": 30}
    events = list(trained(1, "two_step", total_steps=100, **settings).run())
    assert steps_of(events, Record, lambda e: e.table == "metrics") == list(range(10, 101, 10))
    assert steps_of(events, Record, lambda e: e.table == "timing") == list(range(10, 101, 10))
    assert steps_of(events, Evaluation) == [0, 26, 50, 76, 100]  # two steps per episode: 25 is passed at 26
    assert steps_of(events, Checkpoint, lambda e: e.resumable) == [0, 30, 60, 90, 100]


def test_an_interval_shorter_than_a_collection_is_passed_once_per_collection(trained):
    settings = {"log_interval_steps": 3, "eval_interval_steps": 5, "checkpoint_interval_steps": 1}
    events = list(trained(8, "two_step", total_steps=40, **settings).run())
    assert steps_of(events, Record, lambda e: e.table == "metrics") == [16, 32, 48]
    assert steps_of(events, Evaluation) == [0, 16, 32, 48]
    assert steps_of(events, Checkpoint) == [0, 16, 32, 48, 48]


@pytest.mark.parametrize(("n_envs", "interval"), [(1, 3), (1, 30), (8, 12), (8, 50)])
def test_something_is_due_when_a_multiple_of_its_interval_was_passed(trained, n_envs, interval):
    # One or eight random episodes at a time: between 1 and 5, or 8 and 40 steps.
    settings = {"total_steps": 100, "updates_per_episode": 0.1, "eval_interval_steps": 1000}
    trainer, steps = trained(n_envs, log_interval_steps=interval, **settings), [0]
    take = trainer.collector.take
    trainer.collector.take = lambda: (take(), steps.append(trainer.steps))[0]
    events = list(trainer.run())
    wanted = [now for now, before in zip(steps[1:], steps[:-1], strict=True) if now // interval > before // interval]
    assert steps_of(events, Record, lambda e: e.table == "metrics") == wanted
    assert (len(wanted) == len(steps) - 1) == (interval == 12)


@pytest.mark.parametrize("interval", [7, 1000])
def test_evaluation_is_at_step_0_and_at_the_end_whatever_the_interval(trained, interval):
    events = list(trained(2, total_steps=50, eval_interval_steps=interval).run())
    steps = steps_of(events, Evaluation)
    assert steps[0] == 0
    assert steps[-1] == events[-1].step >= 50
    assert len(steps) == len(set(steps))
    assert events[0].statistics.numbers.tolist() == [0, 1]
    assert isinstance(events[-1], Checkpoint)
    assert events[-1].resumable


def test_evaluations_use_their_own_stream_and_count_nothing(trained):
    trainer = trained(2, eval_interval_steps=1)
    events = list(trainer.run())
    assert trainer.steps == trainer.collector.steps == events[-1].step
    assert trainer.replay.n_inserted == trainer.collector.next_episode
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    assert trainer.collector.runner.env.n_steps == trainer.steps
    assert trainer.evaluator.runner.env.n_steps == sum(e.statistics.lengths.sum() for e in evaluations)
    assert {e.stream for e in evaluations} == {"validation"}


# What is told


def test_rows_of_metrics_are_about_what_happened_since_the_last(trained, monkeypatch):
    trainer = trained(2, updates_per_episode=2.0)
    collected, losses = [], []
    take, update = trainer.collector.take, trainer.learner.update

    def spy():
        played = take()
        collected.append(EpisodeStatistics(*(x.copy() for x in played.statistics)))
        return played

    def spy_update(sample):
        made = update(sample)
        losses.append(made.metrics["loss"].item())
        return made

    monkeypatch.setattr(trainer.collector, "take", spy)
    monkeypatch.setattr(trainer.learner, "update", spy_update)
    rows = []
    for event in trainer.run():
        if not (isinstance(event, Record) and event.table == "metrics"):
            continue
        returns = np.concatenate([s.returns for s in collected])
        assert set(event.values) <= set(trainer.metric_names)
        assert event.values["episodes"] == trainer.replay.n_inserted
        assert event.values["updates"] == trainer.learner.updates
        assert event.values["return_mean"] == pytest.approx(returns.mean())
        assert event.values["length_mean"] == pytest.approx(np.concatenate([s.lengths for s in collected]).mean())
        assert event.values["first"] == pytest.approx(np.concatenate([s.metrics for s in collected])[:, 0].mean())
        assert event.values["epsilon"] == pytest.approx(max(0.1, 1 - 0.9 * event.step / 50))
        if losses:
            assert event.values["loss"] == pytest.approx(np.mean(losses))
        collected.clear()
        losses.clear()
        rows.append(set(event.values))
    assert len(rows) >= 4
    assert rows[-1] == set(trainer.metric_names)


def test_columns_are_known_before_anything_happened(trained):
    assert trained().metric_names == (
        *("episodes", "updates", "return_mean", "length_mean", "epsilon", "first", "steps"),
        *("loss", "grad_norm", "td_error_abs", "q_taken_mean", "target_mean"),
    )


def test_the_best_weights_are_those_with_the_highest_validation_return(trained, monkeypatch):
    returns = iter([1.0, 3.0, 2.0, 3.0, float("nan"), 5.0, 4.0])

    def evaluate(weights, step):
        statistics = EpisodeStatistics(np.arange(1), np.array([next(returns)]), np.ones(1, np.int64), np.zeros((1, 2)))
        return Evaluation(step, "validation", statistics, ("first", "steps"))

    settings = {"eval_interval_steps": 10, "checkpoint_interval_steps": 10_000}
    trainer = trained(1, "two_step", total_steps=60, **settings)
    monkeypatch.setattr(trainer.evaluator, "evaluate", evaluate)
    events = list(trainer.run())
    assert steps_of(events, Evaluation) == [0, 10, 20, 30, 40, 50, 60]
    assert steps_of(events, Checkpoint, lambda e: e.best) == [0, 10, 50]
    assert steps_of(events, Checkpoint, lambda e: e.resumable) == [0, 60]


def test_episodes_carry_the_number_of_updates_their_policy_had_seen(trained):
    trainer = trained(2, total_steps=40, buffer_episodes=100)
    list(trainer.run())
    seen = trainer.replay.episodes(0).policy_updates.tolist()
    assert seen[:4] == [0, 0, 0, 0]  # two collections until 3 episodes are stored
    assert seen == sorted(seen)
    assert seen[::2] == seen[1::2]
    assert 0 < seen[-1] < trainer.learner.updates


def test_statistics_of_rewards_are_fed_once_by_every_executed_step(trained):
    trainer = trained(2, updates_per_episode=3.0)
    list(trainer.run())
    assert int(trainer.learner.state["reward_scaler"].count) == trainer.steps


# What must not matter


def test_evaluating_does_not_disturb_training(trained):
    runs = []
    for interval, episodes in ((1, 5), (10_000, 1)):
        trainer = trained(2, eval_interval_steps=interval, evaluation_episodes=episodes)
        runs.append(([line for line in story(trainer.run()) if line.startswith("metrics")], trainer))
    assert runs[0][0] == runs[1][0]
    assert len(runs[0][0]) >= 4
    assert equal_tensors(runs[0][1], runs[1][1])


@pytest.fixture(scope="module")
def undisturbed(trained):
    """A trainer of two environments and the story of its run, to compare with."""
    trainer = trained(2)
    return trainer, story(trainer.run())


def test_equal_seeds_are_equal_runs_and_others_are_not(trained, undisturbed):
    a, b, c = undisturbed[1], *(story(trained(2, seed=seed).run()) for seed in (1, 2))
    assert a == b
    assert next(line for line in a if line.startswith("metrics")) not in c


def test_a_failure_that_is_made_good_changes_nothing(trained, undisturbed):
    key = int(rng.keys(1, Stream.TRAINING, 3)[0])
    (well, told), broken = undisturbed, trained(2, failures={key: [0]})
    assert story(broken.run()) == told
    assert tuple(len(trainer.collector.runner.failures) for trainer in (well, broken)) == (0, 1)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_training_goes_on_without_episodes_that_cannot_be_played(trained, n_envs):
    failures = {int(rng.keys(1, Stream.TRAINING, number)[0]): [0, 0] for number in (2, 3)}
    trainer = trained(n_envs, failures=failures)
    list(trainer.run())
    assert trainer.steps >= 60
    assert trainer.collector.next_episode == trainer.replay.n_inserted + 2
    assert trainer.learner.updates == trainer.replay.n_inserted - 2


# Continuing


def save_run(trainer, folder):
    entries = ReplayFiles(folder / "replay").append(trainer.replay)
    save(folder / "latest.pt", {"trainer": trainer.state_dict(), "replay": entries})


SOFT = {"target_update": "soft", "td_lambda": 0.6}


def continue_run(make, folder):
    trainer, saved = make(), load(folder / "latest.pt")
    trainer.load_state_dict(saved["trainer"])
    ReplayFiles(folder / "replay", saved["replay"]).restore(trainer.replay)
    return trainer


@pytest.mark.parametrize(
    ("n_envs", "changes"),
    [
        (1, {"updates_per_episode": 0.3, "log_interval_steps": 17}),  # checkpoints with credit and with pending metrics
        (
            3,
            {
                "learner": {"standardize_rewards": False},
                "buffer_episodes": 3,
                "eval_interval_steps": 11,
                "noise": "layers",
            },
        ),
        (2, {"learner": SOFT, "lag": 2, "updates_per_episode": 1.5, "noise": "parameters"}),
        pytest.param(2, {"learner": SOFT, "lag": 2, "updates_per_episode": 1.5}, marks=pytest.mark.slow),
        pytest.param(2, {"noise": "parameters"}, marks=pytest.mark.slow),
        pytest.param(2, {"noise": "layers", "lag": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_run_continued_from_any_checkpoint_equals_an_uninterrupted_one(trained, tmp_path, n_envs, changes):
    def make():
        return trained(n_envs, **changes)

    trainer, told, saved = make(), [], {}
    for event in trainer.run():
        told += story([event])
        if isinstance(event, Checkpoint) and event.resumable:
            saved[len(told)] = trainer.state_dict()["replay"], trainer.state_dict()["since"]
            save_run(trainer, tmp_path / str(len(told)))
    assert len(saved) >= 5
    if "log_interval_steps" in changes:
        assert any(0 < replay["credit"] < 1 for replay, _ in saved.values())
        assert any(since["updates"] and since["returns"] for _, since in saved.values())
    for position in saved:
        again = continue_run(make, tmp_path / str(position))
        # A finished run ends once more with its last checkpoint, an unfinished one goes on where it stopped.
        assert story(again.run()) == (told[position:] or [told[-1].replace("best=True", "best=False")])
        assert equal_tensors(again, trainer)
        assert again.progress == trainer.progress
        optimizers = [t.learner.optimizer.state_dict() for t in (again, trainer)]
        assert optimizers[0]["param_groups"] == optimizers[1]["param_groups"]
        moments = ([x for part in made["state"].values() for x in part.values()] for made in optimizers)
        assert all(torch.equal(x, y) for x, y in zip(*moments, strict=True))
        stored = (t.replay.episodes(t.replay.first).tensors() for t in (again, trainer))
        assert all(torch.equal(x, y) for x, y in zip(*(s.values() for s in stored), strict=True))


@pytest.mark.parametrize("after", [0, 4])
def test_a_stopped_run_saves_and_continues_as_if_nothing_had_happened(trained, undisturbed, tmp_path, after):
    uninterrupted, told = undisturbed
    trainer = trained(2)
    take, asked = trainer.collector.take, []
    trainer.collector.take = lambda: (asked.append(1), take())[1]
    events = list(trainer.run(stop=lambda: len(asked) >= after))
    assert len(asked) == after
    last = events.pop()
    assert last == Checkpoint(trainer.steps, best=False, resumable=True)
    save_run(trainer, tmp_path)
    again = continue_run(lambda: trained(2), tmp_path)
    assert again.steps == last.step
    assert story(events) + story(again.run()) == told
    assert equal_tensors(again, uninterrupted)


# Noise in weights


@pytest.mark.parametrize("noise", ["layers", "parameters"])
def test_only_what_acts_in_training_has_noise(trained, undisturbed, noise):
    trainer = trained(2, noise=noise)
    told = story(trainer.run())
    weights = trainer.learner.policy_weights()
    assert all(torch.equal(x, weights[name]) for name, x in trainer.evaluator._policy.controller.state_dict().items())
    newest = trainer.collector._newest().tensors
    trainer.collector.policy.load_state_dict(newest)
    trainer.collector.take()
    acting = trainer.collector.policy.controller.state_dict()
    changed = {name for name, x in acting.items() if not torch.equal(x, newest[name])}
    assert changed == ({"networks.0.head.weight", "networks.0.head.bias"} if noise == "layers" else {*newest})
    if noise == "parameters":
        assert {"sigma", "distance"} < {*trainer.metric_names}
        assert next(line for line in told if line.startswith("evaluation")) in undisturbed[1]
        assert trainer.collector.policy.noise != 0.05


# Collecting while learning


class OneThingAfterTheOther(Collector):
    """What a collector with a lag should be: old weights, but nothing at the same time."""

    def take(self):
        if self.next_episode == 0:
            self.weights = [copy.deepcopy(self._newest())] * (self.runner.lag + 1)  # for the first: the initial ones
            self.counts = [0] * self.runner.lag
        weights = self.weights.pop(0)
        self.policy.load_state_dict(weights.tensors)
        numbers = np.arange(self.next_episode, self.next_episode + self.runner.n_envs)
        self.next_episode += self.runner.n_envs
        played = self.runner.play(self.policy, numbers, self.counts.pop(0))
        played.batch.policy_updates.fill_(weights.n_updates)
        self.steps += int(played.statistics.lengths.sum())
        return played

    def publish(self, *, begin):
        self.counts.append(self.steps)
        if self.next_episode > self.runner.n_envs:  # before the first updates there is nothing new
            self.weights.append(copy.deepcopy(self._newest()))


@pytest.mark.parametrize(("n_envs", "lag"), [(3, 1), (1, 3)])
def test_a_lag_is_acting_with_the_weights_of_so_many_collections_ago(trained, n_envs, lag):
    lagging, serial = (trained(n_envs, lag=lag, updates_per_episode=1.5, total_steps=90) for _ in range(2))
    serial.collector.__class__ = OneThingAfterTheOther
    told = story(lagging.run())
    assert story(serial.run()) == told
    assert equal_tensors(serial, lagging)
    a, b = (t.replay.episodes(t.replay.first).policy_updates for t in (serial, lagging))
    assert torch.equal(a, b)
    prompt = trained(n_envs, updates_per_episode=1.5, total_steps=90)
    list(prompt.run())
    newest = prompt.replay.episodes(prompt.replay.first).policy_updates
    assert (newest[-n_envs:] - a[-n_envs:] >= lag).all()  # updates that belong to one collection, at least one each
    for trainer in (lagging, serial, prompt):
        trainer.close()


def test_the_next_episodes_are_played_while_the_learner_updates(trained, monkeypatch):
    trainer = trained(1, lag=1, batch_episodes=1)
    began, play, update = threading.Event(), trainer.collector.runner.play, trainer.learner.update
    together = []

    def watched_play(*args):
        assert threading.current_thread() is not threading.main_thread()
        began.set()
        return play(*args)

    def watched_update(sample):
        if trainer.steps < trainer.settings.total_steps:  # after the last collection there is none to wait for
            together.append(began.wait(timeout=10))
            began.clear()
        return update(sample)

    monkeypatch.setattr(trainer.collector.runner, "play", watched_play)
    monkeypatch.setattr(trainer.learner, "update", watched_update)
    list(trainer.run())
    trainer.close()
    assert len(together) > 10
    assert all(together)


def test_what_goes_wrong_in_the_background_is_raised(trained, monkeypatch):
    trainer, seen = trained(1, lag=1), []

    def play(*args):
        seen.append(1)
        if len(seen) == 4:
            raise TooManyFailures("no more")
        return type(trainer.collector.runner).play(trainer.collector.runner, *args)

    monkeypatch.setattr(trainer.collector.runner, "play", play)
    with pytest.raises(TooManyFailures, match="no more"):
        list(trainer.run())
    trainer.close()


def test_jobs_of_another_lag_are_refused(trained):
    trainer, other = trained(1, lag=3), trained(1, lag=1)
    list(trainer.run())
    with pytest.raises(ValueError, match=r"^3 collections were planned, but runner.lag is 1$"):
        other.load_state_dict(trainer.state_dict())
    trainer.close()


def test_validation_lags_behind_nothing(trained):
    trainer = trained(1, lag=2)
    assert trainer.collector.runner.lag == 2
    assert trainer.evaluator.runner.lag == 0


# Settings and the rest


def test_closing_closes_all_environments(trained):
    trainer = trained()
    trainer.close()
    assert trainer.collector.runner.env.closed
    assert trainer.evaluator.runner.env.closed


def test_closing_after_an_interruption_waits_for_the_episodes_under_way(trained, monkeypatch):
    trainer = trained(lag=1)
    env, begun, go_on, closed_meanwhile = trainer.collector.runner.env, threading.Event(), threading.Event(), []
    step = env.step

    def held(actions, active):
        begun.set()
        assert go_on.wait(30)
        time_step = step(actions, active)
        closed_meanwhile.append(env.closed)
        return time_step

    def interrupt():
        assert begun.wait(30)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    monkeypatch.setattr(env, "step", held)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            story(trainer.run())
    finally:
        signal.signal(signal.SIGINT, before)
    assert not closed_meanwhile
    threading.Timer(0.05, go_on.set).start()
    trainer.close()
    played = list(closed_meanwhile)
    assert played
    assert not any(played)
    assert env.closed


def test_stopwatch_counts_seconds_and_steps_since_the_last_lap(monkeypatch):
    now = 0.0
    monkeypatch.setattr("time.perf_counter", lambda: now)
    watch = Stopwatch()
    for phase, seconds in (("collect_s", 1.0), ("update_s", 2.0), ("collect_s", 0.5)):
        with watch.measure(phase):
            now += seconds
    now += 0.5
    lap = watch.lap(steps=20)
    assert lap == {"env_steps_per_s": 5.0, "wall_s": 4.0, "collect_s": 1.5, "update_s": 2.0, "evaluate_s": 0.0}
    assert tuple(lap) == Stopwatch.columns
    now += 2.0
    again = watch.lap(steps=30)
    assert again == {"env_steps_per_s": 5.0, "wall_s": 2.0, "collect_s": 0.0, "update_s": 0.0, "evaluate_s": 0.0}

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
from hymarl.policies.learned import LearnedPolicy
from hymarl.runners.base import EpisodeStatistics, TooManyFailures
from hymarl.training import trainer as training
from hymarl.training.checkpoint import ReplayFiles
from hymarl.training.collecting import Collector
from hymarl.training.evaluation import Evaluation
from hymarl.training.trainer import Checkpoint, Stopwatch, Trainer

SETTINGS = {
    "total_steps": 60,
    "batch_episodes": 3,
    "buffer_episodes": 8,
    "updates_per_episode": 1.0,
    "log_interval_steps": 10,
    "eval_interval_steps": 20,
    "checkpoint_interval_steps": 15,
    "keep_checkpoints": 2,
}


@pytest.fixture(scope="session")
def make_trainer(component, make_controller, random_env):
    """A trainer built directly; ``env`` is ``random`` or the name of an option."""

    def make(
        n_envs=1, env="random", seed=1, failures=None, learner=None, evaluation_episodes=2, overlap=False, **changes
    ):
        assert set(changes) <= set(SETTINGS)
        random = env == "random"
        make_env = partial(random_env, failures=failures) if random else partial(component, "env", env, None)
        settings = {"max_failures": 10, "n_envs": n_envs, "overlap": overlap}
        runner = component("runner", "parallel", make_env, seed, Stream.TRAINING, **settings)
        validation = component("runner", "parallel", make_env, 0, Stream.VALIDATION, **settings)
        spec = runner.spec
        torch.manual_seed(seed)
        controller = make_controller(spec, "rnn", {"hidden_dims": [], "rnn_dim": 4})
        made = component(
            "learner",
            "q",
            controller,
            component("mixer", "qmix", spec, embed_dim=2, hypernet_layers=1),
            component("optimizer", "adam", lr=0.01),
            **{"target_interval_updates": 4, "standardize_rewards": True, **(learner or {})},
        )
        selector = component("selector", "epsilon_greedy", start=1.0, finish=0.1, anneal_steps=50)
        exploring, greedy = LearnedPolicy(spec, controller, selector), LearnedPolicy(spec, controller)
        settings = {**SETTINGS, **changes}
        return Trainer(runner, validation, exploring, greedy, made, seed, "cpu", evaluation_episodes, **settings)

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
    return {
        f"{part}.{name}": x for part in ("networks", "target") for name, x in trainer.learner.state_dict()[part].items()
    }


def equal_tensors(a, b):
    return all(torch.equal(x, tensors(b)[name]) for name, x in tensors(a).items())


def steps_of(events, kind, which=lambda event: True):
    return [event.step for event in events if isinstance(event, kind) and which(event)]


# How often


@pytest.mark.parametrize("ratio", [Fraction(1), Fraction(5, 2), Fraction(1, 10), Fraction(0)])
@pytest.mark.parametrize("n_envs", [1, 8])
def test_updates_per_episode_mean_the_same_for_any_number_of_environments(make_trainer, n_envs, ratio):
    # Learning begins when 12 episodes are stored: the 12th is the first that counts. Every episode has two steps.
    settings = {"batch_episodes": 12, "buffer_episodes": 20, "updates_per_episode": float(ratio)}
    settings |= {"total_steps": 2 * 48, "checkpoint_interval_steps": 1, "eval_interval_steps": 1000}
    trainer = make_trainer(n_envs, "two_step", **settings)
    seen = []
    for event in trainer.run():
        if isinstance(event, Checkpoint):
            seen.append((trainer.progress.episodes, trainer.learner.updates))
    assert [e for e, _ in seen[:-1]] == list(range(0, 49, n_envs))
    assert seen[-1][0] == 48
    for episodes, updates in seen:
        assert updates == int(ratio * max(0, episodes - 11)), episodes


def test_everything_happens_at_its_interval(make_trainer):
    settings = {"log_interval_steps": 10, "eval_interval_steps": 25, "checkpoint_interval_steps": 30}
    events = list(make_trainer(1, "two_step", total_steps=100, **settings).run())
    assert steps_of(events, Record, lambda e: e.table == "metrics") == list(range(10, 101, 10))
    assert steps_of(events, Record, lambda e: e.table == "timing") == list(range(10, 101, 10))
    assert steps_of(events, Evaluation) == [0, 26, 50, 76, 100]  # two steps per episode: 25 is passed at 26
    assert steps_of(events, Checkpoint, lambda e: e.resumable) == [0, 30, 60, 90, 100]


def test_an_interval_shorter_than_a_collection_is_passed_once_per_collection(make_trainer):
    settings = {"log_interval_steps": 3, "eval_interval_steps": 5, "checkpoint_interval_steps": 1}
    events = list(make_trainer(8, "two_step", total_steps=40, **settings).run())
    assert steps_of(events, Record, lambda e: e.table == "metrics") == [16, 32, 48]
    assert steps_of(events, Evaluation) == [0, 16, 32, 48]
    assert steps_of(events, Checkpoint) == [0, 16, 32, 48, 48]


@pytest.mark.parametrize(("n_envs", "interval"), [(1, 3), (1, 30), (8, 12), (8, 50)])
def test_something_is_due_when_a_multiple_of_its_interval_was_passed(make_trainer, n_envs, interval):
    # One or eight random episodes at a time: between 1 and 5, or 8 and 40 steps.
    settings = {"total_steps": 200, "updates_per_episode": 0.1, "eval_interval_steps": 1000}
    trainer, steps = make_trainer(n_envs, log_interval_steps=interval, **settings), [0]
    collect = trainer.runner.collect
    trainer.runner.collect = lambda *args: (collect(*args), steps.append(trainer.runner.steps))[0]
    events = list(trainer.run())
    wanted = [now for now, before in zip(steps[1:], steps[:-1], strict=True) if now // interval > before // interval]
    assert steps_of(events, Record, lambda e: e.table == "metrics") == wanted
    assert (len(wanted) == len(steps) - 1) == (interval == 12)


@pytest.mark.parametrize("interval", [7, 1000])
def test_evaluation_is_at_step_0_and_at_the_end_whatever_the_interval(make_trainer, interval):
    events = list(make_trainer(2, total_steps=50, eval_interval_steps=interval).run())
    steps = steps_of(events, Evaluation)
    assert steps[0] == 0
    assert steps[-1] == events[-1].step >= 50
    assert len(steps) == len(set(steps))
    assert events[0].statistics.numbers.tolist() == [0, 1]
    assert isinstance(events[-1], Checkpoint)
    assert events[-1].resumable


def test_evaluations_use_their_own_stream_and_count_nothing(make_trainer):
    trainer = make_trainer(2, eval_interval_steps=1)
    events = list(trainer.run())
    assert trainer.validation.episodes == trainer.validation.steps == 0
    assert trainer.progress.steps == trainer.runner.steps == events[-1].step
    assert trainer.progress.episodes == trainer.runner.episodes == trainer.buffer.n_inserted
    evaluations = [event for event in events if isinstance(event, Evaluation)]
    assert trainer.runner.env.n_steps == trainer.progress.steps
    assert trainer.validation.env.n_steps == sum(e.statistics.lengths.sum() for e in evaluations)
    assert {e.stream for e in evaluations} == {"validation"}


# What is told


def test_rows_of_metrics_are_about_what_happened_since_the_last(make_trainer, monkeypatch):
    trainer = make_trainer(2, updates_per_episode=2.0)
    collected, losses = [], []
    collect, update = trainer.runner.collect, trainer.learner.update

    def spy(policy, n):
        batch, statistics = collect(policy, n)
        collected.append(EpisodeStatistics(*(x.copy() for x in statistics)))
        return batch, statistics

    def spy_update(batch):
        metrics = update(batch)
        losses.append(metrics["loss"].item())
        return metrics

    monkeypatch.setattr(trainer.runner, "collect", spy)
    monkeypatch.setattr(trainer.learner, "update", spy_update)
    rows = []
    for event in trainer.run():
        if not (isinstance(event, Record) and event.table == "metrics"):
            continue
        returns = np.concatenate([s.returns for s in collected])
        assert set(event.values) <= set(trainer.metric_names)
        assert event.values["episodes"] == trainer.progress.episodes
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


def test_columns_are_known_before_anything_happened(make_trainer):
    assert make_trainer().metric_names == (
        *("episodes", "updates", "return_mean", "length_mean", "epsilon", "first", "steps"),
        *("loss", "grad_norm", "td_error_abs", "q_taken_mean", "target_mean"),
    )


def test_the_best_weights_are_those_with_the_highest_validation_return(make_trainer, monkeypatch):
    returns = iter([1.0, 3.0, 2.0, 3.0, float("nan"), 5.0, 4.0])

    def evaluate(policy, runner, n_episodes, *, step, stream):
        statistics = EpisodeStatistics(np.arange(1), np.array([next(returns)]), np.ones(1, np.int64), np.zeros((1, 2)))
        return Evaluation(step, stream, statistics, ("first", "steps"))

    monkeypatch.setattr(training, "evaluate", evaluate)
    settings = {"eval_interval_steps": 10, "checkpoint_interval_steps": 10_000}
    events = list(make_trainer(1, "two_step", total_steps=60, **settings).run())
    assert steps_of(events, Evaluation) == [0, 10, 20, 30, 40, 50, 60]
    assert steps_of(events, Checkpoint, lambda e: e.best) == [0, 10, 50]
    assert steps_of(events, Checkpoint, lambda e: e.resumable) == [0, 60]


def test_episodes_carry_the_number_of_updates_their_policy_had_seen(make_trainer):
    trainer = make_trainer(2, total_steps=40, buffer_episodes=100)
    list(trainer.run())
    seen = trainer.buffer.episodes(0).policy_updates.tolist()
    assert seen[:4] == [0, 0, 0, 0]  # two collections until 3 episodes are stored
    assert seen == sorted(seen)
    assert seen[::2] == seen[1::2]
    assert 0 < seen[-1] < trainer.learner.updates


def test_statistics_of_rewards_are_fed_once_by_every_executed_step(make_trainer):
    trainer = make_trainer(2, updates_per_episode=3.0)
    list(trainer.run())
    assert trainer.learner._scaler.count == trainer.progress.steps


# What must not matter


def test_evaluating_does_not_disturb_training(make_trainer):
    runs = []
    for interval, episodes in ((1, 5), (13, 2), (10_000, 1)):
        trainer = make_trainer(2, eval_interval_steps=interval, evaluation_episodes=episodes)
        runs.append(([line for line in story(trainer.run()) if line.startswith("metrics")], trainer))
    assert runs[0][0] == runs[1][0] == runs[2][0]
    assert len(runs[0][0]) >= 4
    assert all(equal_tensors(runs[0][1], trainer) for _, trainer in runs[1:])


def test_equal_seeds_are_equal_runs_and_others_are_not(make_trainer):
    a, b, c = (story(make_trainer(2, seed=seed).run()) for seed in (1, 1, 2))
    assert a == b
    assert next(line for line in a if line.startswith("metrics")) not in c


def test_a_failure_that_is_made_good_changes_nothing(make_trainer):
    key = int(rng.keys(1, Stream.TRAINING, 3)[0])
    well, broken = make_trainer(2), make_trainer(2, failures={key: [0]})
    assert story(broken.run()) == story(well.run())
    assert (len(well.runner.failures), len(broken.runner.failures)) == (0, 1)


@pytest.mark.parametrize("n_envs", [1, 2])
def test_training_goes_on_without_episodes_that_cannot_be_played(make_trainer, n_envs):
    failures = {int(rng.keys(1, Stream.TRAINING, number)[0]): [0, 0] for number in (2, 3)}
    trainer = make_trainer(n_envs, failures=failures)
    list(trainer.run())
    assert trainer.progress.steps >= 60
    assert trainer.progress.next_episode == trainer.progress.episodes + 2
    assert trainer.learner.updates == trainer.progress.episodes - 2


# Continuing


def save_run(trainer, folder):
    entries = ReplayFiles(folder / "replay").append(trainer.buffer)
    save(folder / "latest.pt", {"trainer": trainer.state_dict(), "replay": entries})


def continue_run(make, folder):
    trainer, saved = make(), load(folder / "latest.pt")
    trainer.load_state_dict(saved["trainer"])
    ReplayFiles(folder / "replay", saved["replay"]).restore(trainer.buffer)
    return trainer


@pytest.mark.parametrize(
    ("n_envs", "changes"),
    [
        (1, {"updates_per_episode": 0.3, "log_interval_steps": 17}),  # checkpoints with credit and with pending metrics
        (2, {"updates_per_episode": 2.5, "learner": {"target_update": "soft", "td_lambda": 0.6}}),
        (3, {"learner": {"standardize_rewards": False}, "buffer_episodes": 3, "eval_interval_steps": 11}),
        (2, {"overlap": True, "updates_per_episode": 2.0}),
    ],
)
def test_a_run_continued_from_any_checkpoint_equals_an_uninterrupted_one(make_trainer, tmp_path, n_envs, changes):
    def make():
        return make_trainer(n_envs, **changes)

    trainer, told, saved = make(), [], {}
    for event in trainer.run():
        told += story([event])
        if isinstance(event, Checkpoint) and event.resumable:
            saved[len(told)] = trainer.state_dict()["progress"], trainer.state_dict()["since"]
            save_run(trainer, tmp_path / str(len(told)))
    assert len(saved) >= 5
    if n_envs == 1:
        assert any(0 < progress["update_credit"] < 1 for progress, _ in saved.values())
        assert any(since["updates"] and since["returns"] for _, since in saved.values())
    for position in saved:
        again = continue_run(make, tmp_path / str(position))
        # A finished run ends once more with its last checkpoint, an unfinished one goes on where it stopped.
        assert story(again.run()) == (told[position:] or [told[-1].replace("best=True", "best=False")])
        assert equal_tensors(again, trainer)
        assert again.progress == trainer.progress
        optimizers = (str(t.learner.optimizer.state_dict()) for t in (again, trainer))
        assert len(set(optimizers)) == 1
        stored = (t.buffer.episodes(t.buffer.first).tensors() for t in (again, trainer))
        assert all(torch.equal(x, y) for x, y in zip(*(s.values() for s in stored), strict=True))


@pytest.mark.parametrize("after", [0, 1, 4])
def test_a_stopped_run_saves_and_continues_as_if_nothing_had_happened(make_trainer, tmp_path, after):
    uninterrupted = make_trainer(2)
    told = story(uninterrupted.run())
    trainer = make_trainer(2)
    collect, asked = trainer.runner.collect, []
    trainer.runner.collect = lambda *args: (asked.append(1), collect(*args))[1]
    events = list(trainer.run(stop=lambda: len(asked) >= after))
    assert len(asked) == after
    last = events.pop()
    assert last == Checkpoint(trainer.progress.steps, best=False, resumable=True)
    save_run(trainer, tmp_path)
    again = continue_run(lambda: make_trainer(2), tmp_path)
    assert again.progress.steps == last.step
    assert story(events) + story(again.run()) == told
    assert equal_tensors(again, uninterrupted)


# Collecting while learning


class Lagging(Collector):
    """What the overlapped collector should be: the weights from before the last updates, one thing after the other."""

    def __init__(self, runner, policy):
        super().__init__(runner, policy)
        self.lagging, self.n_updates = None, 0

    def take(self, n_updates):
        return self._play(self.lagging or self._policy, self.n_updates)

    def prepare(self, n_updates, begin):
        self.lagging, self.n_updates = copy.deepcopy(self._policy), n_updates


@pytest.mark.parametrize("n_envs", [1, 3])
def test_overlap_is_acting_with_the_weights_of_one_collection_ago(make_trainer, monkeypatch, n_envs):
    overlapped = make_trainer(n_envs, overlap=True, updates_per_episode=1.5)
    told = story(overlapped.run())
    monkeypatch.setattr(training, "OverlappedCollector", Lagging)
    serial = make_trainer(n_envs, overlap=True, updates_per_episode=1.5)
    assert story(serial.run()) == told
    assert equal_tensors(serial, overlapped)
    assert overlapped.runner.episodes == serial.runner.episodes  # nothing was played for nothing at the end
    a, b = (t.buffer.episodes(t.buffer.first).policy_updates for t in (serial, overlapped))
    assert torch.equal(a, b)
    prompt = make_trainer(n_envs, updates_per_episode=1.5)
    list(prompt.run())
    newest = prompt.buffer.episodes(prompt.buffer.first).policy_updates
    assert (newest[-n_envs:] - a[-n_envs:] >= 1).all()  # updates that belong to one collection


def test_the_next_episodes_are_played_while_the_learner_updates(make_trainer, monkeypatch):
    trainer = make_trainer(1, overlap=True, batch_episodes=1)
    began, collect, update = threading.Event(), trainer.runner.collect, trainer.learner.update
    together = []

    def watched_collect(*args):
        assert threading.current_thread() is not threading.main_thread()
        began.set()
        return collect(*args)

    def watched_update(batch):
        if trainer.progress.steps < trainer.total_steps:  # after the last collection there is none to wait for
            together.append(began.wait(timeout=10))
            began.clear()
        return update(batch)

    monkeypatch.setattr(trainer.runner, "collect", watched_collect)
    monkeypatch.setattr(trainer.learner, "update", watched_update)
    list(trainer.run())
    assert len(together) > 10
    assert all(together)


def test_what_goes_wrong_in_the_background_is_raised(make_trainer, monkeypatch):
    trainer, seen = make_trainer(1, overlap=True), []

    def collect(*args):
        seen.append(1)
        if len(seen) == 4:
            raise TooManyFailures("no more")
        return type(trainer.runner).collect(trainer.runner, *args)

    monkeypatch.setattr(trainer.runner, "collect", collect)
    with pytest.raises(TooManyFailures, match="no more"):
        list(trainer.run())
    trainer.close()


def test_validation_has_nothing_to_overlap_with(make_trainer):
    trainer = make_trainer(1, overlap=True)
    assert trainer.runner.overlap
    assert not trainer.validation.overlap


# Settings and the rest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"total_steps": 0}, "total_steps must be at least 1, got 0"),
        ({"batch_episodes": 0}, "batch_episodes must be at least 1, got 0"),
        ({"log_interval_steps": 0}, "log_interval_steps must be at least 1, got 0"),
        ({"eval_interval_steps": -5}, "eval_interval_steps must be at least 1, got -5"),
        ({"checkpoint_interval_steps": 0}, "checkpoint_interval_steps must be at least 1, got 0"),
        ({"keep_checkpoints": 0}, "keep_checkpoints must be at least 1, got 0"),
        ({"updates_per_episode": -0.1}, "updates_per_episode must be a number from 0 on, got -0.1"),
        ({"updates_per_episode": float("inf")}, "updates_per_episode must be a number from 0 on, got inf"),
        ({"updates_per_episode": float("nan")}, "updates_per_episode must be a number from 0 on, got nan"),
        ({"batch_episodes": 9}, "batch_episodes=9 must not be above buffer_episodes=8, or learning would never begin"),
    ],
)
def test_impossible_settings_are_refused(make_trainer, changes, message):
    with pytest.raises(ValueError, match=message):
        make_trainer(**changes)


def test_closing_closes_all_environments(make_trainer):
    trainer = make_trainer()
    trainer.close()
    assert trainer.runner.env.closed
    assert trainer.validation.env.closed


def test_closing_after_an_interruption_waits_for_the_episodes_under_way(make_trainer, monkeypatch):
    trainer = make_trainer(overlap=True)
    begun, go_on, step = threading.Event(), threading.Event(), trainer.runner.env.step

    def held(actions, active):
        begun.set()
        assert go_on.wait(30)
        return step(actions, active)

    def interrupt():
        assert begun.wait(30)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    monkeypatch.setattr(trainer.runner.env, "step", held)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=interrupt).start()
    try:
        with pytest.raises(KeyboardInterrupt):
            story(trainer.run())
    finally:
        signal.signal(signal.SIGINT, before)
    assert trainer.runner.steps == 0
    threading.Timer(0.05, go_on.set).start()
    trainer.close()
    assert trainer.runner.steps > 0
    assert trainer.runner.env.closed


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

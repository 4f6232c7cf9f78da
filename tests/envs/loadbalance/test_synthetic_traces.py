import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hymarl.envs.loadbalance.synthetic_traces import main, synthesize_trace
from hymarl.envs.loadbalance.traces import DYNAMIC, SECONDS_PER_ITERATION, read_trace


def test_poisson_trace_is_poisson_with_exponential_sizes() -> None:
    trace = synthesize_trace("poisson", rate=200.0, duration=400.0, seed=3)
    gaps = np.diff(trace.times)
    n = len(trace)
    assert abs(n - 80_000) < 5 * np.sqrt(80_000)
    assert gaps.std() / gaps.mean() == pytest.approx(1.0, abs=0.02)
    assert trace.sizes.mean() == pytest.approx(0.2, rel=5 / np.sqrt(n))
    assert trace.sizes.std() / trace.sizes.mean() == pytest.approx(1.0, abs=0.03)
    assert abs(np.corrcoef(gaps[:-1], gaps[1:])[0, 1]) < 5 / np.sqrt(n)
    counts = np.bincount(trace.times.astype(int), minlength=400)
    assert counts.var() / counts.mean() == pytest.approx(1.0, abs=0.3)
    assert (trace.kinds == DYNAMIC).all()


def test_day_curve_and_long_tail() -> None:
    trace = synthesize_trace("longtail_day", rate=200.0, duration=1000.0, seed=3, mean_size=0.1, sigma=1.0, swing=0.5)
    n = len(trace)
    assert abs(n - 200_000) < 5 * np.sqrt(200_000)
    assert trace.sizes.mean() == pytest.approx(0.1, rel=0.03)
    assert np.log(trace.sizes).std() == pytest.approx(1.0, rel=0.02)
    per_tenth, _ = np.histogram(trace.times, bins=10, range=(0.0, 1000.0))
    edges = np.linspace(0.0, 2.0 * np.pi, 11)
    expected = 20_000 * (1.0 - 0.5 * np.diff(np.sin(edges)) / np.diff(edges))
    np.testing.assert_allclose(per_tenth, expected, atol=5 * np.sqrt(30_000))


def test_day_without_swing_has_a_constant_rate() -> None:
    trace = synthesize_trace("longtail_day", rate=100.0, duration=100.0, seed=1, swing=0.0, sigma=0.0)
    assert abs(len(trace) - 10_000) < 500
    np.testing.assert_allclose(trace.sizes, 0.2)


@pytest.mark.parametrize("kind", ["poisson", "longtail_day"])
def test_seed_decides_everything(kind: str) -> None:
    first, second, other = (synthesize_trace(kind, 50.0, 20.0, seed) for seed in (7, 7, 8))  # type: ignore[arg-type]
    np.testing.assert_array_equal(first.times, second.times)
    np.testing.assert_array_equal(first.sizes, second.sizes)
    assert len(first) != len(other) or (first.times != other.times).any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kind": "uniform"}, "kind must be one of poisson, longtail_day, got 'uniform'"),
        ({"rate": 0.0}, "rate must be positive and finite, got 0.0"),
        ({"duration": -1.0}, "duration must be positive"),
        ({"mean_size": float("nan")}, "mean_size must be positive"),
        ({"sigma": -1.0}, "need sigma >= 0"),
        ({"swing": 1.5}, "0 <= swing <= 1"),
        ({"seed": -1}, "seed >= 0"),
        ({"rate": 1e-9}, "a trace must have at least one request"),
    ],
)
def test_synthesize_refuses_nonsense(changes: dict, message: str) -> None:
    arguments = {"kind": "poisson", "rate": 10.0, "duration": 10.0, "seed": 1} | changes
    with pytest.raises(ValueError, match=message):
        synthesize_trace(**arguments)


# The command line


def test_command_writes_the_trace_it_names(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "hymarl.envs.loadbalance.synthetic_traces",
        "t.csv",
        "--rate",
        "50",
        "--duration",
        "20",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    expected = synthesize_trace("poisson", 50.0, 20.0, seed=1)
    trace = read_trace(tmp_path / "t.csv")
    assert trace.times.tolist() == expected.times.tolist()
    np.testing.assert_allclose(trace.sizes, expected.sizes, atol=SECONDS_PER_ITERATION)
    assert done.stdout.startswith(f"t.csv: {len(trace)} requests in")
    assert done.stderr == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["{dir}/t.csv", "--rate", "-3"], "rate must be positive"),
        (["{dir}/t.csv", "--kind", "uniform"], "invalid choice: 'uniform'"),
        (["{dir}/nowhere/t.csv", "--duration", "1"], "No such file or directory"),
        ([], "the following arguments are required: path"),
    ],
)
def test_command_answers_mistakes_with_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([argument.format(dir=tmp_path) for argument in arguments])
    assert caught.value.code == 2
    assert message in capsys.readouterr().err

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hymarl.components.statistics import mean_ci
from hymarl.reports.learning_curve import (
    episode_curve,
    plot_learning_curve,
    short_count,
    spread,
)


def write_run(
    directory: Path, returns: dict[int, Sequence[float]], jct: dict[int, Sequence[float]] | None = None
) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    lines = ["step,stream,episode,return,length" + (",jct_mean" if jct else "")]
    for step, values in returns.items():
        for i, value in enumerate(values):
            lines.append(f"{step},validation,{i},{value},10" + (f",{jct[step][i]}" if jct else ""))
    lines.append("99,test,0,-1000.0,10" + (",9.0" if jct else ""))
    (directory / "evaluations.csv").write_text("\n".join(lines) + "\n")
    return directory


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every figure that is saved."""
    from matplotlib.figure import Figure

    saved: list[Any] = []
    save = Figure.savefig

    def remember(self: Any, *args: Any, **kwargs: Any) -> None:
        saved.append(self)
        save(self, *args, **kwargs)

    monkeypatch.setattr(Figure, "savefig", remember)
    return saved


def texts(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_mean_and_interval_over_the_episodes_of_each_step() -> None:
    steps = np.array([0.0, 0.0, 0.0, 50.0, 50.0, 100.0])
    values = np.array([1.0, 2.0, 3.0, 4.0, np.nan, np.nan])
    curve = episode_curve(steps, values)
    np.testing.assert_array_equal(curve.steps, [0.0, 50.0])
    np.testing.assert_array_equal(curve.mean, [2.0, 4.0])
    assert curve.half_width[0] == mean_ci([1.0, 2.0, 3.0])[1]
    assert np.isnan(curve.half_width[1])


def test_the_picture_shows_the_validation_means_and_the_references(tmp_path: Path, figures: list[Any]) -> None:
    from matplotlib.image import imread

    run = write_run(
        tmp_path,
        {0: [60.0, 62.0], 1000: [70.0, 74.0]},
        {0: [300.0, 320.0], 1000: [250.0, 270.0]},
    )
    path = plot_learning_curve(run, {"sed": {"return": 69.0, "jct_mean": 292.0}, "random": {"return": 60.0}})
    assert path == run / "plots" / "learning_curve.png"
    assert imread(path).std() > 0.05
    left, right = figures[0].axes
    np.testing.assert_array_equal(left.lines[0].get_xydata(), [[0, 61], [1000, 72]])
    np.testing.assert_array_equal(right.lines[0].get_xydata(), [[0, 310], [1000, 260]])
    assert texts(left) == ["learned", "sed", "random"]
    assert texts(right) == ["learned", "sed"]
    assert right.lines[1].get_ydata()[0] == 292.0
    assert left.get_xlabel() == "environment steps"
    assert right.get_ylabel() == "mean job completion time (ms)\nlower is better"
    assert "2 validation episodes" in figures[0].get_supxlabel()


def test_without_completion_times_and_references_there_is_one_unlabeled_curve(
    tmp_path: Path, figures: list[Any]
) -> None:
    plot_learning_curve(write_run(tmp_path, {0: [1.0], 500: [8.0]}))
    (axes,) = figures[0].axes
    assert texts(axes) == []
    assert figures[0].get_supxlabel() == "one validation episode"


@pytest.mark.parametrize(
    ("returns", "references", "n", "caption"),
    [
        (
            {0: [1.0, 2.0], 9: [2.0, 3.0]},
            {"random": {"return": 1.0}},
            30,
            "mean and 95 % confidence interval over 2 validation episodes\ndashed: mean over 30 test episodes",
        ),
        ({0: [1.0], 9: [2.0]}, {"random": {"return": 1.0}}, 1, "one validation episode\ndashed: one test episode"),
        (
            {0: [1.0, 2.0, 3.0], 9: [2.0, 3.0]},
            {},
            30,
            "mean and 95 % confidence interval over 2-3 validation episodes",
        ),
    ],
)
def test_the_caption_says_what_each_line_is_a_mean_over(
    tmp_path: Path, figures: list[Any], returns: Any, references: Any, n: int, caption: str
) -> None:
    plot_learning_curve(write_run(tmp_path, returns), references, reference_episodes=n, title="a, b, seed 1")
    assert figures[0].get_supxlabel() == caption
    assert figures[0].get_suptitle() == "a, b, seed 1"


def test_the_caption_counts_only_episodes_that_have_the_value(tmp_path: Path, figures: list[Any]) -> None:
    run = write_run(tmp_path, {0: [1.0, 2.0, 3.0], 9: [2.0, 3.0, 4.0]}, {0: [5.0, 6.0, np.nan], 9: [5.0, 6.0, 7.0]})
    plot_learning_curve(run)
    assert figures[0].get_supxlabel() == "mean and 95 % confidence interval over 2-3 validation episodes"


def test_what_is_written_around_one_panel_fits_into_the_picture(tmp_path: Path, figures: list[Any]) -> None:
    run = write_run(tmp_path, {0: [1.0] * 1000, 9: [2.0] * 1000})
    title = "mpe_speaker_listener, qmix_pymarl2, mixer qmix, 2 agents, seed 20250101, and more of it than fits a line"
    plot_learning_curve(run, {"random": {"return": 1.0}}, reference_episodes=10_000, title=title)
    (figure,) = figures
    figure.draw_without_rendering()  # it was saved in another resolution than it is measured in
    for around in (figure._suptitle, figure._supxlabel):
        box = around.get_window_extent()
        assert (box.x0 >= 0, box.x1 <= figure.bbox.x1) == (True, True)
    assert figure._suptitle.get_window_extent().y0 >= figure.axes[0].get_tightbbox().y1


def test_a_run_that_was_evaluated_once_is_plotted(tmp_path: Path) -> None:
    assert plot_learning_curve(write_run(tmp_path, {0: [1.0, 2.0]}), {"random": {"return": 1.0}}).exists()


def test_a_metric_that_is_never_known_has_no_panel(tmp_path: Path, figures: list[Any]) -> None:
    plot_learning_curve(write_run(tmp_path, {0: [1.0, 2.0]}, {0: [np.nan, np.nan]}))
    assert len(figures[0].axes) == 1


def test_a_poor_beginning_does_not_hide_the_end(tmp_path: Path, figures: list[Any]) -> None:
    plot_learning_curve(write_run(tmp_path, {0: [1.0], 9: [2.0]}, {0: [5000.0], 9: [300.0]}))
    assert [axes.get_yscale() for axes in figures[0].axes] == ["linear", "log"]


@pytest.mark.parametrize("first", [320.0, 5000.0])
def test_a_label_points_at_what_it_names(tmp_path: Path, figures: list[Any], first: float) -> None:
    run = write_run(tmp_path, {0: [1.0], 9: [2.0]}, {0: [first], 9: [300.0]})
    plot_learning_curve(run, {"random": {"jct_mean": 310.0}, "sed": {"jct_mean": 92.0}})
    axes = figures[0].axes[1]
    to_axes = axes.transData + axes.transAxes.inverted()
    for label, value in zip(axes.texts, (300.0, 310.0, 92.0), strict=True):
        assert label.xy[1] == pytest.approx(to_axes.transform((0, value))[1], abs=1e-9)


def test_a_run_without_evaluations_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=rf"{tmp_path.name} has no evaluations of the validation stream"):
        plot_learning_curve(write_run(tmp_path, {}))


def test_labels_are_moved_apart_in_order_and_stay_inside() -> None:
    assert spread([0.2, 0.8], 0.1) == [0.2, 0.8]
    np.testing.assert_allclose(spread([0.5, 0.5], 0.1), [0.45, 0.55])
    rng = np.random.default_rng(0)
    for _ in range(50):
        positions = (rng.random(8) ** 3).tolist()
        placed = np.array(spread(positions, 0.1))
        assert np.diff(np.sort(placed)).min() >= 0.1 - 1e-9
        assert (np.argsort(placed) == np.argsort(positions)).all()
        assert placed.min() >= -1e-9
        assert placed.max() <= 1 + 1e-9


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (500, "500"), (20_000, "20k"), (1_500_000, "1.5M"), (2e9, "2G")],
)
def test_short_counts(number: float, text: str) -> None:
    assert short_count(number) == text


def test_no_global_plotting_state_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import matplotlib

    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)  # an error to import, whoever did before
    monkeypatch.delattr(matplotlib, "pyplot", raising=False)
    assert plot_learning_curve(write_run(tmp_path, {0: [1.0, 2.0]})).exists()
    assert capfd.readouterr() == ("", "")

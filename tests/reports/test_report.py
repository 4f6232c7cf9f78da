"""Whole reports over runs written by hand."""

import csv
import json
import re
import struct
import warnings
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import image

from hymarl.registry import ConfigError, check_settings
from hymarl.reports.drawing import Figure, Line, Panel
from hymarl.reports.paper import draw, look
from hymarl.reports.report import make
from hymarl.reports.settings import ReportSettings


def quietly(text):
    assert "\n" not in text


def table(directory, name):
    with (directory / "tables" / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def sweep(tmp_path, write_run):
    """Two mixers with 2 and 4 agents, three seeds each; qmix gains 1 per agent and seed, vdn 1 per seed."""
    for mixer in ("qmix", "vdn"):
        for agents in (2, 4):
            for seed in (1, 2, 3):
                end = 10.0 * (mixer == "qmix") * agents + seed
                curve = [(0, (0.0,)), (100, (end / 2,)), (200, (end,))]
                write_run(
                    tmp_path / "sweep" / f"{mixer}-{agents}-{seed}",
                    mixer=mixer,
                    agents=agents,
                    seed=seed,
                    curve=curve,
                    tests={"learned": (end - 1, end + 1), "sed": (4.0, 6.0), "random": (1.0, 2.0)},
                )
    return tmp_path / "sweep"


def test_numbers_of_a_report(tmp_path, sweep, settings):
    report = make(settings(sweep, by=["mixer", "agents"], levels=[10.0]), tmp_path / "out", quietly)
    final = {(row["task"], row["method"]): row for row in table(tmp_path / "out", "final")}
    row = final["board, 4 agents", "qmix"]  # scores 41, 42, 43
    assert float(row["return"]) == 42
    assert "return IQM" not in row  # of three runs, it is the mean
    assert float(row["return high"]) == pytest.approx(42 + 4.3026527 / 3**0.5)  # Student
    assert (float(row["return / sed low"]), float(row["return / sed high"])) == (41 / 5, 43 / 5)
    assert float(row["jct_mean / sed"]) == pytest.approx(58 / 95)
    assert final["board, 4 agents", "sed (scripted)"]["return / sed"] == "1.0"
    assert float(final["board, 2 agents", "random (scripted)"]["return"]) == 1.5
    (pair,) = table(tmp_path / "out", "improvement")
    assert (pair["method"], pair["than"], pair["probability"]) == ("qmix", "vdn", "1.0")
    overall = {row["method"]: row for row in table(tmp_path / "out", "overall")}
    qmix = [20 / 22, 21 / 22, 1, 40 / 42, 41 / 42, 1]  # from the worst run on the task, 1, to the best
    assert float(overall["qmix"]["mean"]) == pytest.approx(np.mean(qmix))
    assert float(overall["qmix"]["IQM"]) == pytest.approx(np.mean(sorted(qmix)[1:5]))
    assert overall["vdn"]["runs"] == "6"
    steps = {(r["task"], r["level"], r["method"]): r for r in table(tmp_path / "out", "efficiency")}
    assert steps["board, 2 agents", "10", "qmix"]["steps"] == "100.0"
    assert steps["board, 2 agents", "10", "vdn"]["runs that reached it"] == "0 of 3"
    assert steps["board, 2 agents", "10", "vdn"]["steps"] == "not within 200"
    assert steps["board, 4 agents", "sed: 5", "qmix"]["runs that reached it"] == "3 of 3"
    assert {row["setting"] for row in table(tmp_path / "out", "settings")} == {
        *("algo", "mixer", "mixer.name", "mixer.embed_dim", "agents")
    }
    assert len(table(tmp_path / "out", "runs")) == 12
    assert "board, 4 agents" in report.text


class Page(HTMLParser):
    """What a page refers to, its cells, and the text of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.links, self.cells, self.scripts, self._inside = [], [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self._inside = tag
        self.links += [value for name, value in attrs if name in ("src", "href")]
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = ""

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside == "td":
            self.cells.append(data)


def test_the_page_needs_no_network_and_no_text_can_break_it(tmp_path, write_run, settings):
    for seed in (1, 2):
        write_run(tmp_path / f"</script><b>{seed}", seed=seed, env='</script><b>&"x', agents=2)
        write_run(tmp_path / f"d{seed}", seed=seed, env='</script><b>&"x', agents=4)
    make(settings(tmp_path, formats=["html"]), tmp_path / "out", quietly)
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert len(text.encode()) < 6_000_000
    page = Page(text)
    assert all(link.startswith("#part") for link in page.links)
    assert "default-src 'none'" in text
    plotly, data, script = page.scripts
    assert plotly.startswith("/**\n* plotly.js")
    assert "Plotly.react" in script
    figures = json.loads(data)
    assert any(cell.startswith('</script><b>&"x, 2 agents') for cell in page.cells)
    traces = figures[0][0]["data"]
    line = next(t for t in traces if t.get("name") == "qmix" and t["yaxis"] == "y2")
    assert line["x"] == [0, 100, 200]
    assert line["y"] == [2, 5, 9]
    titles = [note["text"] for note in figures[0][0]["layout"]["annotations"]]
    assert titles[0] == '&lt;/script&gt;&lt;b&gt;&amp;"x, 2 agents'  # what plotly shows as it is
    assert sum(t.get("name") == "qmix" and t["showlegend"] for t in traces) == 1
    assert any("scaling" in section.lower() for section in re.findall(r"<h2>(.*?)</h2>", text))


def test_figures_for_print(tmp_path):
    x = np.arange(3.0)
    lines = [
        Line(label="a", style=0, kind="line", x=x, y=x, low=x - 1, high=x + 1),
        Line(label="b", style=1, kind="step", x=x, y=x),
        Line(label="c", style=-1, kind="level", x=x[:1], y=x[:1]),
        *(Line(label=f"more {i}", style=i, kind="line", x=x, y=x) for i in range(2, 20)),
    ]
    panel = Panel(title="", x_label="steps", y_label="return", x_steps=True, lines=lines)
    figure = Figure(name="f", section="", version="", caption="", panels=[panel])
    png, pdf = draw(figure, tmp_path, ["pdf", "png"])
    content = pdf.read_bytes()
    assert b"/CIDFontType2" in content  # Type 42: text that can be searched and edited
    assert b"/Type3" not in content
    assert struct.unpack(">2I", png.read_bytes()[16:24])[0] == round(3.3 * 250)  # one column wide
    assert pdf.read_bytes() == draw(figure, tmp_path / "again", ["pdf"])[0].read_bytes()


def test_names_in_print_are_no_mathematics_and_fit(tmp_path):
    x = np.arange(3.0)
    lines = [
        Line(label=name, style=i, kind="line", x=x, y=x) for i, name in enumerate(("$\\frac{$", "a" * 200, "环境"))
    ]
    panel = Panel(title="$\\x" + "t" * 400, x_label="$_$", y_label="y", lines=lines)
    figure = Figure(name="f", section="", version="", caption="", panels=[panel])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        (png,) = draw(figure, tmp_path, ["png"])
    edges = image.imread(png)[:, [0, -1], :3]
    assert edges.min() == 1  # nothing runs off the sides


def test_completion_times_are_drawn_where_they_differ(tmp_path, write_run, report):
    """Learned from 2000 to about 300, beside a reference at 400 and one at 1400."""
    for seed, end in ((1, 0.0), (2, 10.0)):
        curve = [(0, (-1900.0,)), (100, (-250.0,)), (200, (-200.0 + end,)), (300, (-200.0 + end,))]
        tests = {"learned": (-200.0 + end,), "sed": (-300.0, -300.0), "ecmp": (-1300.0, -1300.0)}
        write_run(tmp_path / "r" / f"{seed}", seed=seed, curve=curve, tests=tests)
    report(tmp_path / "r", metrics=["jct_mean"], formats=["html", "png"])
    _, data, _ = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).scripts
    plot = json.loads(data)[0][0]
    low, high = plot["layout"]["yaxis"]["range"]
    assert 270 < low < 290
    assert 400 < high < 450
    assert [t["name"] for t in plot["data"]] == ["qmix", "sed"]
    assert [note["text"] for note in plot["layout"]["annotations"]] == ["↑ ecmp 1400"]


def test_a_line_of_efficiency_ends_where_the_first_run_without_the_level_does(tmp_path, write_run, report):
    for mixer, seed, last in (("qmix", 1, 100), ("vdn", 1, 1000), ("vdn", 2, 1000)):
        curve = [(0, (0.0,)), (50, (1.0,)), (last, (9.0 if last > 100 else 2.0,))]
        write_run(tmp_path / "r" / f"{mixer}{seed}", mixer=mixer, seed=seed, curve=curve)
    report(tmp_path / "r", levels=[5.0], baseline=None, metrics=["return"], formats=["html"])
    _, data, _ = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).scripts
    lines = {t["name"]: (t["x"], t["y"]) for t in json.loads(data)[-1][0]["data"]}
    assert lines == {"qmix": ([0, 100], [0, 0]), "vdn": ([0, 1000, 1000, 1000], [0, 0.5, 1, 1])}


def test_figures_with_one_name_get_numbers(tmp_path, write_run, report):
    for folder in (write_run(tmp_path / "r" / f"{seed}", seed=seed) for seed in (1, 2)):
        for file in ("evaluations.csv", "comparison.csv"):
            path = folder / file
            path.write_text(path.read_text().replace("length,jct_mean", "jct-mean,jct_mean"))
    made = report(tmp_path / "r", metrics=["jct_mean", "jct-mean"], formats=["pdf"])
    names = [file.name for file in made.files]
    assert "curves_jct_mean_iqm_2.pdf" in names
    assert len({*names}) == len(names)


def test_no_two_lines_look_the_same():
    x = np.zeros(1)
    looks = [look(Line(label="", style=style, kind="line", x=x, y=x)) for style in range(35)]
    assert len(set(looks)) == 35
    for k, one in enumerate(looks):  # what has the same color differs in both dash and marker
        assert all(one[1] != other[1] and one[2] != other[2] for other in looks[:k] if other[0] == one[0])
    assert len({look(Line(label="", style=-1 - k, kind="level", x=x, y=x)) for k in range(7)}) == 7


def test_latex_is_escaped(tmp_path, write_run, settings):
    write_run(tmp_path / "runs" / "1", mixer="q_x%&")
    make(settings(tmp_path / "runs", formats=["tex"]), tmp_path / "out", quietly)
    text = (tmp_path / "out" / "tables" / "final.tex").read_text(encoding="utf-8")
    assert r"q\_x\%\&" in text
    assert text.count(r"\\") == 3  # header, method, policy
    assert re.search(r"\\begin\{tabular\}\{[lr]+\}\n\\toprule", text)


def test_a_damaged_run_gets_a_sentence_and_the_others_a_report(tmp_path, write_run, settings):
    write_run(tmp_path / "runs" / "1", seed=1)
    (write_run(tmp_path / "runs" / "2", seed=2) / "config.yaml").write_text("{")
    write_run(tmp_path / "runs" / "3", seed=3, status="interrupted")
    shown = []
    report = make(settings(tmp_path / "runs", formats=["html"]), tmp_path / "out", shown.append)
    assert any(f"{tmp_path / 'runs' / '2' / 'config.yaml'} is damaged" in note for note in report.notes)
    assert any("report.unfinished=true" in note for note in report.notes)
    assert set(report.notes[:2]) <= set(shown)
    assert "config.yaml is damaged" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    report = make(settings(tmp_path / "runs", unfinished=True), tmp_path / "out", quietly)
    assert len(table(tmp_path / "out", "runs")) == 2


def test_old_results_of_pymarl_beside_ours(tmp_path, write_run, write_sacred, settings):
    for seed in (1, 2):
        write_run(tmp_path / "ours" / f"{seed}", seed=seed)
        write_sacred(tmp_path / "old" / f"{seed}", seed=seed, epymarl=False)
    chosen = settings(tmp_path / "ours", tmp_path / "old", by=["source"], final="last")
    report = make(chosen, tmp_path / "out", quietly)
    final = {row["method"]: row for row in table(tmp_path / "out", "final")}
    assert float(final["sacred"]["return"]) == 9
    assert float(final["hymarl"]["return"]) == 9
    assert any("were not given the same task" in note for note in report.notes)


def test_methods_that_were_not_run_on_every_task_are_named(tmp_path, sweep, write_run, settings):
    write_run(tmp_path / "one", mixer="none", agents=2)
    report = make(settings(sweep, tmp_path / "one"), tmp_path / "out", quietly)
    assert any(note.endswith("was not run on all of them: none.") for note in report.notes)


def test_of_very_many_methods_the_best_are_drawn(tmp_path, write_run, settings):
    for i in range(30):
        write_run(tmp_path / "runs" / f"{i}", mixer=f"m{i:02}", curve=[(0, (0.0,)), (9, (float(i),))])
    report = make(settings(tmp_path / "runs", formats=["html", "csv"]), tmp_path / "out", quietly)
    assert "Figures show the 24 best of 30 methods; tables have all of them." in report.notes
    _, data, _ = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).scripts
    names = [t["name"] for t in json.loads(data)[0][0]["data"]]
    assert names == [*(f"m{i:02}" for i in range(29, 5, -1)), "sed"]
    assert len(table(tmp_path / "out", "runs")) == 30


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"metrics": ["retrun"]}, "report.metrics: no run has 'retrun'; choose of: jct_mean, length, return"),
        ({"where": "seed>9"}, "none of the 12 runs fulfills it"),
        ({"by": ["mixer"]}, "differ in more than the seed: agents (2, 4)"),
        ({"formats": ["htm"]}, "report.formats: there is no 'htm'; did you mean 'html'?"),
        ({"runs": []}, "report.runs: name the runs"),
        ({"runs": ["nowhere"]}, "report.runs: nowhere does not exist"),
    ],
)
def test_mistakes_are_answered_with_a_sentence(tmp_path, sweep, settings, changes, answer):
    with pytest.raises(ConfigError) as error:
        make(settings(sweep, **changes), tmp_path / "out", quietly)
    assert answer in str(error.value)
    assert not (tmp_path / "out").exists()


def test_a_score_that_runs_do_not_have_is_refused(tmp_path, write_run, settings):
    (write_run(tmp_path / "1") / "comparison.csv").unlink()
    with pytest.raises(ConfigError, match=r"report\.final=test: .*1 has no test episodes"):
        make(settings(tmp_path, final="test"), tmp_path / "out", quietly)


def test_settings_are_checked_like_others(settings):
    values = vars(settings("a"))
    assert check_settings(ReportSettings, values, "report") == values
    with pytest.raises(ConfigError, match="report: final=tes is not a choice; did you mean 'test'"):
        check_settings(ReportSettings, {**values, "final": "tes"}, "report")
    with pytest.raises(ConfigError, match="report: metrics must have 1 to 20 entries"):
        check_settings(ReportSettings, {**values, "metrics": []}, "report")


def test_the_same_runs_give_the_same_report(tmp_path, sweep, settings):
    reports = [make(settings(sweep, formats=["html", "csv", "tex"]), tmp_path / name, quietly) for name in "ab"]
    for one, other in zip(reports[0].files, reports[1].files, strict=True):
        assert one.read_bytes() == other.read_bytes()

"""Tables over several runs, from files written by hand."""

import pytest

from hymarl.reports.runs import main, read_comparison, table


def write(folder, learned):
    rows = [("learned", *x) for x in learned] + [("sed", 60.0, 200.0), ("sed", 62.0, 400.0)]
    folder.mkdir()
    lines = ["policy,step,stream,episode,return,length,jct_mean"]
    lines += [f"{policy},5,test,{i},{ret},100,{jct}" for i, (policy, ret, jct) in enumerate(rows)]
    (folder / "comparison.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_learned_policy_is_averaged_over_runs_and_scripted_ones_over_episodes(tmp_path):
    first = write(tmp_path / "a", [(70.0, 100.0), (72.0, 200.0)])  # means 71 and 150
    second = write(tmp_path / "b", [(74.0, 200.0), (76.0, 300.0)])  # means 75 and 250
    text = table([read_comparison(first), read_comparison(second)], "jct_mean", "sed", markdown=False)
    learned, sed = text.splitlines()[2:4]
    assert "learned, 2 seeds" in learned
    assert "73 ± 25" in learned  # Student: 12.706 * sqrt(2 * 2**2) / sqrt(2) = 25.4
    assert "0.667 (0.500 to 0.833)" in learned
    assert "61 ± 13" in sed
    assert sed.split()[-1] == "1"


def test_the_command_prints_a_markdown_table_and_names_a_run_without_results(tmp_path, capsys):
    run = write(tmp_path / "a", [(70.0, 100.0), (72.0, 200.0)])
    main([str(run), "--baseline", "sed"])
    assert capsys.readouterr().out.startswith("| policy")
    with pytest.raises(SystemExit):
        main([str(tmp_path)])
    assert "has no comparison.csv" in capsys.readouterr().err

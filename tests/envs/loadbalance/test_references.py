"""Numbers that others or a first prototype of this simulator found."""

import pytest


def test_returns_with_four_balancers(make_env, play):
    env = make_env("lb_scale", n_envs=40, agents=4)
    assert play(env, "sed", 240)[0].mean() == pytest.approx(69, abs=3)
    assert play(env, "sed", 240, [1.0, 1.2, 1.4, 1.6, 1.8, 2.0])[0].mean() == pytest.approx(60, abs=3)
    assert play(env, "sed_tie", 240)[0].mean() == pytest.approx(73, abs=3)


@pytest.mark.parametrize(("preset", "rows"), [("lb_paper_moderate", 6), ("lb_paper_large", 4)])
def test_rules_rank_as_in_the_paper(make_env, play, preset, rows):
    env = make_env(preset, n_envs=rows, rho=0.85)
    jct = [play(env, rule, rows)[1]["jct_mean"].mean() for rule in ("ecmp", "wcmp", "lsq", "sed", "gsed")]
    assert jct == sorted(jct, reverse=True)
    assert jct[0] > 3 * jct[1]


def test_herding_and_ignorance_cost_as_much_as_expected(make_env, play):
    """Mean completion times in ms, +-5 %."""
    for preset, expected in (("lb_unknown", {"sed": 457, "gsed": 222}), ("lb_herd", {"sed": 358, "sed_tie": 298})):
        env = make_env(preset, n_envs=24)
        for rule, jct in expected.items():
            assert play(env, rule, 24)[1]["jct_mean"].mean() == pytest.approx(jct, rel=0.05)


SIMLB = {  # mean flow completion time in s and its standard deviation over episodes; ZhiyuanYaoJ/SimLB, commit 0738d20
    0.61: {"ecmp": (1.652, 0.114), "wcmp": (0.664, 0.012), "lsq": (0.519, 0.004), "jsq": (0.520, 0.003),
           "lsq2": (0.583, 0.007), "sed": (0.500, 0.002)},
    0.965: {"ecmp": (11.340, 0.154), "wcmp": (3.664, 0.219), "lsq": (0.813, 0.036), "jsq": (0.818, 0.046),
            "lsq2": (1.284, 0.046), "sed": (0.694, 0.058)},
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("rate", SIMLB)
def test_simlb(make_env, play, rate):
    """Within 3 % or two standard deviations, as found with another simulator."""
    env = make_env("simlb_table", n_envs=5, rho=rate)
    for rule, (mean, deviation) in SIMLB[rate].items():
        found = play(env, rule, 5)[1]["jct_mean"].mean() / 1e3
        assert found == pytest.approx(mean, abs=max(0.03 * mean, 2 * deviation)), rule

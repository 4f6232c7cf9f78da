"""A whole campaign in a few seconds: the same traffic through HAProxy and through the simulator."""

import csv

import numpy as np
import pytest

from hymarl.testbed import client


def test_a_campaign_says_what_was_real_and_what_simulated(haproxy, hymarl, tmp_path, first_port):
    settings = ("rules=[leastconn]", "balancers=2", "seconds=4", "traces=1", "factor=5", "load=0.6")
    given = [f"testbed.{setting}" for setting in (*settings, f"port={first_port}")]
    outcome = hymarl(tmp_path, "testbed.policy=latency", *given)
    assert (outcome.code, outcome.err) == (0, "")
    (results,) = (tmp_path / "results" / "testbed").iterdir()
    assert {"table.md", "table.csv", "trials.csv", "report.html", "report.png", "trials"} <= {
        file.name for file in results.iterdir()
    }
    rows = list(csv.DictReader((results / "trials.csv").open(encoding="utf-8")))
    found = {(row["contestant"], row["where"]): float(row["jct_mean"]) for row in rows}
    names = ("leastconn, equal", "leastconn, true", "leastconn, latency")
    assert set(found) == {(name, where) for name in names for where in ("real", "simulated")}
    for name in names:  # the machine may be busy
        assert found[name, "real"] == pytest.approx(found[name, "simulated"], rel=0.5)
    assert found["leastconn, true", "simulated"] < found["leastconn, equal", "simulated"]
    seen, finished = (int(word.replace(",", "")) for word in outcome.out.split("agents saw ")[1].split()[:3:2])
    assert seen == finished > 50
    flows, trial = np.load(results / "trials" / "traffic-0.npz"), np.load(results / "trials" / "leastconn-true-0.npz")
    assert trial["out"][:, client.SCHEDULED] == pytest.approx(flows["times"])
    assert (trial["out"][:, client.SENT] >= trial["out"][:, client.SCHEDULED]).all()
    sizes, took = flows["sizes"], trial["out"][:, client.TOOK]
    assert (took >= sizes - 1e-4)[~np.isnan(took)].all()  # no server is faster than one CPU


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["testbed.load=0.5"], "testbed.load is about a testbed; say what is to be tried: testbed.policy=latency"),
        (["testbed.policy=nowhere"], "nowhere is not a run directory: it does not exist"),
        (["testbed.policy=none", "seed=2"], "testbed.policy plays on real proxies; leave out seed"),
        (
            ["testbed.policy=none", "testbed.rules=[sedd]"],
            "testbed.rules: choose from leastconn, roundrobin, random_n, sed",
        ),
        (["testbed.policy=none", "testbed.env=two_step"], "is no load balancing"),
        (["testbed.policy=none", "testbed.swap_at=50"], "testbed.swap_at=50 must be within the 40 s of a trace"),
        (["testbed.policy=none", "testbed.port=40000"], "must lie below"),
        (
            ["testbed.policy=none", "testbed.haproxy=/no/haproxy"],
            "testbed.haproxy=/no/haproxy: there is no such program",
        ),
    ],
)
def test_mistakes_get_a_sentence(hymarl, tmp_path, haproxy, words, sentence):
    outcome = hymarl(tmp_path, *words)
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not (tmp_path / "results").exists()

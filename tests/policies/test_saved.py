"""Weights files: their form, what they may import, and why they do not fit."""

import dataclasses
import sys

import pytest
import torch

from hymarl.components.files import save
from hymarl.policies.base import Policy
from hymarl.policies.description import PolicyDescription
from hymarl.policies.saved import misfit, read_policy
from hymarl.registry import ConfigError


@pytest.fixture
def description(option, spec):
    controller, network = option("controller", "mac", agent_id=False), option("network", "entity", rnn_dim=4)
    return PolicyDescription(spec, *controller, *network)


@pytest.fixture
def weights(description):
    controller = description.controller().state_dict()
    return {"policy": description.to_plain(), "controller": controller, "mixer": {}, "step": 7}


def without(data, *path):
    """A copy of nested dictionaries without one entry."""
    first, *rest = path
    if not rest:
        return {key: value for key, value in data.items() if key != first}
    return {**data, first: without(data[first], *rest)}


def changed(data, value, *path):
    """A copy of nested dictionaries with one other entry."""
    first, *rest = path
    return {**data, first: changed(data[first], value, *rest) if rest else value}


BROKEN = [
    (lambda w: {"trainer": {}, "replay": [], "tables": {}}, "holds no policy; give best.pt or a weights_*.pt"),
    (lambda w: without(w, "step"), "is no weights file: it has no step"),
    (lambda w: changed(w, "x", "step"), "is no weights file: its step must be a whole number from 0 on, got 'x'"),
    (lambda w: changed(w, [1], "controller"), "is no weights file: its controller must be tensors by name"),
    (lambda w: changed(w, {"a": 1}, "mixer"), "is no weights file: its mixer must be tensors by name"),
    (lambda w: changed(w, 3, "policy"), "is no weights file: its policy cannot be read: "),
    (lambda w: without(w, "policy", "spec", "entities"), "is no weights file: its policy cannot be read: "),
    (lambda w: without(w, "policy", "network_name"), "is no weights file: its policy cannot be read: "),
    (lambda w: changed(w, -3, "policy", "spec", "n_agents"), "its policy cannot be read: n_agents must be a whole"),
    (lambda w: changed(w, [1], "policy", "network_settings"), "cannot be read: names must be texts and settings"),
    (lambda w: changed(w, "x", "policy", "network_settings", "rnn_dim"), "network entity: rnn_dim has the wrong type"),
    (lambda w: changed(w, 1, "policy", "controller_settings", "y"), "controller mac: unknown key 'y'"),
    (lambda w: changed(w, "entitty", "policy", "network_name"), "network: there is no 'entitty'"),
    (lambda w: changed(w, 9, "policy", "network_settings", "rnn_dim"), "does not hold the weights that it describes: "),
    (lambda w: changed(w, {}, "controller"), "does not hold the weights that it describes: the weight "),
]


@pytest.mark.parametrize(("spoil", "sentence"), BROKEN, ids=[sentence for _, sentence in BROKEN])
def test_what_does_not_have_the_form_of_weights_is_refused(tmp_path, weights, spoil, sentence):
    path = tmp_path / "w.pt"
    save(path, spoil(weights))
    with pytest.raises(ConfigError) as refused:
        Policy.load(path)
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A network in a package of the current folder; whether it was imported stands in ``sys.modules``."""
    folder = tmp_path / "elsewhere_package"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "net.py").write_text(
        "from hymarl.modules.agents.mlp import MLPNetwork\nfrom hymarl.registry import register\n\n"
        "@register('network')\nclass Own(MLPNetwork):\n    pass\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    yield "elsewhere_package.net"
    for name in ("elsewhere_package", "elsewhere_package.net"):
        sys.modules.pop(name, None)


def test_a_module_that_a_file_names_is_imported_only_if_it_is_trusted(tmp_path, elsewhere, option, spec):
    description = PolicyDescription(spec, *option("controller", "mac"), *option("network", "mlp"))
    weights = {"controller": description.controller().state_dict(), "mixer": {}, "step": 0}
    path = tmp_path / "w.pt"
    save(path, {**weights, "policy": {**description.to_plain(), "network_name": elsewhere}})
    for trust in ((), ("another",)):
        with pytest.raises(ConfigError, match=r"w\.pt uses the module elsewhere_package\.net, .*trust=\[elsewhere"):
            Policy.load(path, trust=trust)
        assert "elsewhere_package" not in sys.modules
    assert Policy.load(path, trust=["elsewhere_package"]).spec == spec
    assert elsewhere in sys.modules


@pytest.mark.parametrize("name", ["hymarl.main", "hymarl.controllers.mac"])
def test_only_the_networks_of_the_package_are_imported_as_networks(tmp_path, weights, name):
    save(tmp_path / "w.pt", {**weights, "policy": {**weights["policy"], "network_name": name}})
    with pytest.raises(ConfigError, match=rf"w\.pt uses the module {name}, which no option of HyMARL names"):
        Policy.load(tmp_path / "w.pt")


def test_nothing_in_a_weights_file_is_resolved(tmp_path, weights):
    for key in ("network_settings", "controller_settings"):
        settings = {**weights["policy"][key], "x": ["${oc.env:HOME}"]}
        save(tmp_path / "w.pt", {**weights, "policy": {**weights["policy"], key: settings}})
        with pytest.raises(ConfigError, match=r"w\.pt holds '\$\{oc\.env:HOME\}', but a run never writes \$\{…\}"):
            Policy.load(tmp_path / "w.pt")


def test_why_weights_do_not_fit_is_said_in_the_words_of_the_configuration(tmp_path, weights, description, option, spec):
    save(tmp_path / "w.pt", weights)
    saved = read_policy(tmp_path / "w.pt")
    assert misfit(saved, description.controller(), description) is None
    other = dataclasses.replace(description, network_settings={**description.network_settings, "rnn_dim": 9})
    reason = misfit(saved, other.controller(), other)
    assert reason.startswith("network.rnn_dim is 4 there and 9 here; the weight networks.0.")
    assert "has the shape [" in reason
    mlp = PolicyDescription(spec, *option("controller", "mac", agent_id=False), *option("network", "mlp"))
    reason = misfit(saved, mlp.controller(), mlp)
    assert reason.startswith("the network is entity there and mlp here; ")
    assert "none" not in reason.lower().replace("is none there", "")


def test_weights_move_to_other_sizes_where_the_network_can(tmp_path, weights, spec):
    save(tmp_path / "w.pt", weights)
    larger = dataclasses.replace(spec, n_agents=5)
    assert read_policy(tmp_path / "w.pt").policy(larger).spec == larger
    wider = dataclasses.replace(spec, entities=dataclasses.replace(spec.entities, n_features=1))
    with pytest.raises(ConfigError, match="the weights were trained for 2 agents, 9 observations and 5 actions and do"):
        read_policy(tmp_path / "w.pt").policy(wider)


def test_a_device_that_cannot_be_used_is_one_sentence(tmp_path, weights):
    save(tmp_path / "w.pt", weights)
    cannot = {"nonsense": "^device=nonsense is no device; choose cpu, "}
    if not torch.cuda.is_available():
        cannot["cuda"] = "^device=cuda(: this torch has no CUDA; choose device=cpu| cannot be used: )"
    for device, sentence in cannot.items():
        with pytest.raises(ConfigError, match=sentence):
            read_policy(tmp_path / "w.pt").policy(device=device)

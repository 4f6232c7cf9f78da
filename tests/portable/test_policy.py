"""An exported policy: it acts as the original does, alone, and nothing but such a policy is read."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch

import hymarl.portable
from hymarl.components.files import save
from hymarl.policies.description import PolicyDescription
from hymarl.policies.onnx_model import onnx_actor, to_onnx
from hymarl.policies.portable_form import compare, numpy_actor, portable_form
from hymarl.policies.saved import read_policy
from hymarl.portable import PortableError, PortablePolicy
from hymarl.portable.policy import checksum
from hymarl.registry import ConfigError

NO_HINT = {"agent_id": False, "last_action": False}
CASES = [
    ("rnn", {}, {}),
    ("rnn", {"layer_norm": True, "noisy": True}, {"agent_id": False, "normalize_obs": True}),
    ("rnn", {"hidden_dims": []}, {"sharing": "grouped", "groups": [1, 0, 1]}),
    ("mlp", {}, {"normalize_obs": True}),
    ("mlp", {"layer_norm": True}, {**NO_HINT, "sharing": "independent"}),
    ("mlp", {"hidden_dims": [5]}, NO_HINT),
    ("entity", {}, {"agent_id": False}),
    ("entity", {"rnn_dim": 5, "layer_norm": True}, {"agent_id": False, "sharing": "grouped", "groups": [0, 1, 1]}),
    ("entity", {"rnn_dim": 4, "n_layers": 1}, NO_HINT),
]


@pytest.fixture(scope="module")
def make(tmp_path_factory, option, spec):
    """Weights as they are saved, not trained, and the policy made of them."""

    def saved(network, settings, changes, controller="mac"):
        three = dataclasses.replace(spec, n_agents=3)
        parts = option("controller", controller, **changes), option("network", network, **settings)
        description = PolicyDescription(three, *parts[0], *parts[1])
        torch.manual_seed(1)
        made = description.controller()
        with torch.no_grad():
            for weight in made.parameters():
                weight.mul_(2)
            for name, buffer in made.named_buffers():
                if name.endswith(("scaler.shift", "scaler.factor")):
                    buffer.copy_(torch.rand(buffer.shape) * 20)
        path = tmp_path_factory.mktemp("weights") / "w.pt"
        weights = made.state_dict()
        save(path, {"policy": description.to_plain(), "controller": weights, "mixer": {}, "step": 5})
        loaded = read_policy(path)
        return loaded, loaded.policy()

    return saved


@pytest.fixture(scope="module")
def entity(make):
    return make("entity", {"rnn_dim": 4}, {"agent_id": False})


@pytest.mark.parametrize(("network", "settings", "changes"), CASES)
def test_arrays_and_model_act_as_the_original(make, network, settings, changes):
    saved, policy = make(network, settings, changes)
    form = portable_form(saved, policy)
    portable = PortablePolicy.parse(*form.files())
    likeness = compare(policy, numpy_actor(portable))
    assert likeness.holds, likeness
    assert likeness.observations >= 1000
    assert likeness.largest_score > 0.5
    told_apart = changes.get("agent_id", True) or "sharing" in changes
    assert portable.n_agents == (3 if told_apart else None)
    obs = np.random.default_rng(0).standard_normal((4, 2, 3, policy.spec.obs_dim), np.float32)
    state, states, single = None, None, [None] * 3
    alone = [PortablePolicy.parse(*form.files(), [agent]) for agent in range(3)]
    for now in obs:  # two episodes at once, one of them, and every agent in a program of its own
        actions, states = portable.act(now, state=states)
        own, state = portable.act(now[0], state=state)
        assert (own == actions[0]).all()
        for agent in range(3):
            action, single[agent] = alone[agent].act(now[0, agent : agent + 1], state=single[agent])
            assert action.tolist() == [own[agent]]
    if not told_apart:
        many, _ = portable.act(np.tile(obs[0, 0], (3, 1)))
        assert (many == np.tile(portable.act(obs[0, 0])[0], 3)).all()
    pytest.importorskip("onnxruntime", reason="the packages of hymarl[export] are missing")
    pytest.importorskip("onnx", reason="the packages of hymarl[export] are missing")
    model = onnx_actor(to_onnx(form))
    likeness = compare(policy, model)
    assert likeness.holds, likeness
    if not told_apart:
        several = np.tile(obs[0], (1, 3, 1))  # nine agents
        _, found, _ = model(several, np.ones((2, 9, 5), np.bool_), portable.initial_state(9, 2))
        assert (found == portable.act(several)[0]).all()


def test_a_difference_is_noticed(make, entity):
    form = portable_form(*entity)
    bias = form.arrays["networks.0.advantage.bias"]
    bias[0] += 1e-3
    assert not compare(entity[1], numpy_actor(PortablePolicy.parse(*form.files()))).holds
    bias[0] += 3
    likeness = compare(entity[1], numpy_actor(PortablePolicy.parse(*form.files())))
    assert likeness.other_actions > 10

    def unavailable(obs, avail, state):
        scores, actions, hidden = numpy_actor(PortablePolicy.parse(*portable_form(*entity).files()))(obs, avail, state)
        return scores, np.where(avail.all(axis=-1), actions, avail.argmin(axis=-1)), hidden

    assert not compare(entity[1], unavailable).holds


@pytest.mark.parametrize(("controller", "reason"), [("latent", "draws a latent variable for each episode")])
def test_what_has_no_such_form_is_refused(make, controller, reason):
    saved, policy = make("mlp", {}, {}, controller)
    with pytest.raises(ConfigError, match=rf"w\.pt cannot be exported: controller=latent with network=mlp {reason}$"):
        portable_form(saved, policy)


def test_weights_that_are_no_numbers_are_not_exported(make):
    saved, policy = make("mlp", {}, {})
    with torch.no_grad():
        policy.controller.networks[0].head.bias[1] = torch.nan
    with pytest.raises(ConfigError, match=r"cannot be exported: networks\.0\.head\.bias holds numbers that are not"):
        portable_form(saved, policy)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, entity):
    made = tmp_path_factory.mktemp("exported")
    for name, content in zip(("policy.json", "policy.npz"), portable_form(*entity).files(), strict=True):
        (made / name).write_bytes(content)
    return made


def test_an_agent_process_imports_numpy_alone_from_the_package_or_a_copy_of_the_folder(folder, tmp_path):
    shutil.copytree(Path(hymarl.portable.__file__).parent, tmp_path / "copied")
    code = (
        "import sys; from hymarl.portable import PortablePolicy; import copied\n"
        f"policies = [part.load({str(folder)!r}) for part in (PortablePolicy, copied.PortablePolicy)]\n"
        "print(*(policy.act([[0.5] * 9])[0].tolist() for policy in policies))\n"
        "print(sorted(name for name in sys.modules if name.startswith('hymarl')))\n"
        "print({'torch', 'numba', 'hydra', 'omegaconf', 'onnx'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([os.environ.get("PYTHONPATH", ""), str(tmp_path)])},
    )
    assert done.stderr == ""
    actions, modules, others = done.stdout.splitlines()
    assert len(set(actions.split())) == 1
    assert modules == str(["hymarl", *(f"hymarl.portable{name}" for name in ("", ".operations", ".policy"))])
    assert others == "set()"


def test_arrays_of_another_shape_are_refused(folder):
    policy = PortablePolicy.load(folder)
    assert repr(policy) == "PortablePolicy(any number of agents, 9 observations, 5 actions)"
    obs = np.zeros((1, 9), np.float32)
    with pytest.raises(ValueError, match=r"must have the shape \[A, 9\] or \[B, A, 9\], got \[1, 8\]"):
        policy.act(obs[:, :8])
    with pytest.raises(ValueError, match=r"avail must have the shape \[1, 5\], got \[1, 4\]"):
        policy.act(obs, np.ones((1, 4)))
    with pytest.raises(ValueError, match=r"the state is that of \[2\] agents, the observations are of \[1\]"):
        policy.act(obs, state=policy.initial_state(2))
    with pytest.raises(PortableError, match=r"agents=\[3\]: the agents have the numbers 0 to 2"):
        PortablePolicy.load(folder, [3])


# Files of others


def changed(about, path, value):
    """A copy with one other entry; ``None`` in place of the path's last part leaves it out."""
    first, *rest = path
    if not rest:
        return {**about, first: value}
    return {**about, first: changed(about[first], rest, value)}


def without(about, name):
    return {key: value for key, value in about.items() if key != name}


DOUBLED = [["join", ["obs", "obs"], [], "v0"], *(["join", ["v0", "v0"], [], "v0"] for _ in range(40))]
SPOILT = {
    "no format": (lambda d: without(d, "format"), "it has no 'format'"),
    "a later format": (lambda d: {**d, "format": 2}, "its format is 2, and this program reads format 1"),
    "a list": (lambda d: [d], "policy.json cannot be read as JSON: it is no object"),
    "no sizes": (lambda d: {**d, "sizes": 3}, "this is no exported policy, or a damaged one: "),
    "a huge size": (
        lambda d: changed(d, ["sizes", "observation"], 10**12),
        "must be a whole number from 1 to 1,0",
    ),
    "another size": (lambda d: changed(d, ["sizes", "actions"], 4), "do not give the scores and the state that it"),
    "true": (lambda d: changed(d, ["sizes", "actions"], True), "must be a whole number from 1"),
    "no such operation": (lambda d: {**d, "operations": [["__import__", ["obs"], [], "v0"]]}, "has no '__import__'"),
    "no such array": (lambda d: {**d, "operations": [["relu", ["obs"], ["x"], "v0"]]}, "it has no 'x'"),
    "no such value": (lambda d: {**d, "operations": [["relu", ["v9"], [], "v0"]]}, "it has no 'v9'"),
    "a wrong argument": (lambda d: {**d, "operations": [["gru", ["obs"], [], "v0"]]}, "or a damaged one: "),
    "a bomb": (lambda d: {**d, "operations": DOUBLED}, "its values do not fit into memory"),
    "no network": (lambda d: {**d, "networks": []}, "or a damaged one: "),
    "a gap": (lambda d: {**d, "networks": [0, 2]}, "networks are not numbered from 0 on"),
    "a missing network": (lambda d: {**d, "networks": [0, 1]}, "it has no 'networks.1."),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_document_that_is_none_gets_one_sentence(folder, name):
    spoil, sentence = SPOILT[name]
    document = json.dumps(spoil(json.loads((folder / "policy.json").read_bytes()))).encode()
    with pytest.raises(PortableError) as refused:
        PortablePolicy.parse(document, (folder / "policy.npz").read_bytes())
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


def archive(**arrays):
    stream = BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def compressed(content):
    stream = BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a.npy", content)
    return stream.getvalue()


HUGE = b"\x93NUMPY\x01\x00v\x00" + b"{'descr': '<f4', 'fortran_order': False, 'shape': (9000000000000,), }".ljust(118)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is not a zip file"),
        (b"PK\x03\x04 garbage", "is not a zip file"),
        (compressed(bytes(10**7)), "its arrays are compressed"),
        (archive(a=np.array([{}], object)), "cannot be read: "),
        (archive(a=np.zeros(2)), "a must be finite float32 or int64 numbers"),
        (archive(a=np.full(2, np.nan, np.float32)), "a must be finite float32 or int64 numbers"),
        (compressed(HUGE), "cannot be read: "),
    ],
    ids=["empty", "garbage", "compressed", "pickled", "float64", "not a number", "huge"],
)
def test_arrays_that_are_none_get_one_sentence(folder, content, sentence):
    document = {**json.loads((folder / "policy.json").read_bytes()), "checksum": checksum(content)}
    with pytest.raises(PortableError, match=sentence) as refused:
        PortablePolicy.parse(json.dumps(document).encode(), content)
    assert "\n" not in str(refused.value)


def test_files_that_are_missing_cut_off_or_of_two_policies_are_named(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    content = (copy / "policy.npz").read_bytes()
    for damaged in (content[:-1], archive(a=np.zeros(2, np.float32))):
        (copy / "policy.npz").write_bytes(damaged)
        with pytest.raises(PortableError, match=r"copy: policy\.npz is damaged, or is not the file that policy"):
            PortablePolicy.load(copy)
    (copy / "policy.json").write_bytes((copy / "policy.json").read_bytes()[:-9])
    with pytest.raises(PortableError, match=r"copy: policy\.json cannot be read as JSON: "):
        PortablePolicy.load(copy)
    (copy / "policy.npz").unlink()
    with pytest.raises(PortableError, match=r"cannot read .*copy/policy\.npz: No such file or directory"):
        PortablePolicy.load(copy)

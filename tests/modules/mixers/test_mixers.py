"""What every mixer owes: shapes, monotonicity, and that the agents' best actions are the team's."""

import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hymarl import registry
from hymarl.components.spec import EnvSpec
from hymarl.modules.mixers.base import Mixer, MixerInputs

SPEC = EnvSpec(n_agents=3, n_actions=4, obs_dim=2, state_dim=5, episode_limit=6)
WAYS = {
    "qmix": [
        {"hypernet_layers": layers, "positive": positive, "embed_dim": 4, "hypernet_dim": 6}
        for layers in (1, 2)
        for positive in ("abs", "softplus")
    ],
    "qplex": [{"transform": True}, {"transform": False}],
}
CASES = [(name, changes) for name in registry.names("mixer") for changes in WAYS.get(name, [{}])]
every_mixer = pytest.mark.parametrize(("name", "changes"), CASES, ids=[f"{n}{list(c.values())}" for n, c in CASES])


def random_inputs(b, t, spec=SPEC, scale=1.0, dtype=torch.float32):
    values = torch.randn(b, t, spec.n_agents, dtype=dtype) * scale
    return MixerInputs(
        values=values,
        best=values + torch.rand(values.shape, dtype=dtype),
        actions=torch.randint(spec.n_actions, values.shape),
        obs=torch.randn(*values.shape, spec.obs_dim, dtype=dtype),
        state=torch.randn(b, t, spec.state_dim, dtype=dtype) * scale,
    )


@pytest.fixture(scope="session")
def mixer(component):
    def make(name, changes, seed=0, spec=SPEC):
        torch.manual_seed(seed)
        return component("mixer", name, spec, **changes)

    return make


@every_mixer
@pytest.mark.parametrize("shape", [(4, 5), (1, 5), (4, 1), (1, 1)])
@pytest.mark.parametrize("n_agents", [1, 3])
def test_the_result_is_one_value_or_one_per_agent(mixer, name, changes, shape, n_agents):
    spec = EnvSpec(n_agents=n_agents, n_actions=4, obs_dim=2, state_dim=1, episode_limit=6)
    made = mixer(name, changes, spec=spec)
    mixed = made(random_inputs(*shape, spec))
    assert mixed.shape == (*shape, 1 if made.joint else n_agents)
    assert mixed.isfinite().all()


@every_mixer
def test_every_cell_is_mixed_from_its_own_inputs_only(mixer, name, changes):
    made, inputs = mixer(name, changes), random_inputs(3, 4)
    whole = made(inputs)
    for b, t in itertools.product(range(3), range(4)):
        alone = made(MixerInputs(*(x[b : b + 1, t : t + 1] for x in inputs)))
        assert torch.allclose(alone[0, 0], whole[b, t], atol=1e-5)


@every_mixer
@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([0.1, 1.0, 10.0]))
def test_the_joint_value_never_falls_when_an_agents_value_rises(mixer, name, changes, seed, scale):
    made = mixer(name, changes, seed).double()
    inputs = random_inputs(4, 3, scale=scale, dtype=torch.float64)
    inputs.values.requires_grad_()
    (slope,) = torch.autograd.grad(made(inputs).sum(), inputs.values)
    assert (slope >= 0).all()
    assert slope.any()


@every_mixer
@settings(max_examples=20)
@given(st.integers(0, 10**6))
def test_the_agents_best_actions_are_the_best_joint_action(mixer, name, changes, seed):
    made = mixer(name, changes, seed).double()
    q = torch.randn(SPEC.n_agents, SPEC.n_actions, dtype=torch.float64) * 3  # A U
    joint = torch.tensor(list(itertools.product(range(SPEC.n_actions), repeat=SPEC.n_agents)))  # every joint action
    n = len(joint)
    values = q.gather(1, joint.T).T.unsqueeze(1)  # n 1 A
    best = q.max(dim=1).values.expand(n, 1, -1)
    obs = torch.randn(1, 1, SPEC.n_agents, SPEC.obs_dim, dtype=torch.float64).expand(n, -1, -1, -1)
    state = torch.randn(1, 1, SPEC.state_dim, dtype=torch.float64).expand(n, -1, -1)
    mixed = made(MixerInputs(values, best, joint.unsqueeze(1), obs, state)).sum(dim=-1).squeeze(1)
    local = q.argmax(dim=1)
    (row,) = torch.nonzero((joint == local).all(dim=1)).flatten().tolist()
    assert mixed[row] >= mixed.max() - 1e-9
    others = [i for i in range(n) if (joint[i] == local).sum() == SPEC.n_agents - 1]
    assert all(mixed[row] >= mixed[i] for i in others)


@every_mixer
@pytest.mark.parametrize("what", ["values", "state"])
def test_a_wrong_shape_is_named(mixer, name, changes, what):
    inputs = random_inputs(2, 3)
    wrong = inputs._replace(**{what: torch.cat([inputs._asdict()[what]] * 2, dim=-1)})
    with pytest.raises(ValueError, match=rf"^mixer: {what} has shape \(2, 3, \d+\), expected \(2, 3, \d+\)$"):
        mixer(name, changes)(wrong)


@every_mixer
def test_lead_axes_that_do_not_agree_are_named(mixer, name, changes):
    inputs = random_inputs(2, 3)
    with pytest.raises(ValueError, match=r"^mixer: state has shape \(2, 2, 5\), expected \(2, 3, 5\)$"):
        mixer(name, changes)(inputs._replace(state=inputs.state[:, 1:]))


def test_a_mixer_that_returns_the_wrong_shape_is_told():
    class Wrong(Mixer):
        def mix(self, inputs):
            return inputs.values

    with pytest.raises(ValueError, match=r"^mixer: the result has shape \(2, 3, 3\), expected \(2, 3, 1\)$"):
        Wrong(SPEC)(random_inputs(2, 3))


def test_no_mixing_leaves_the_values_as_they_are(mixer):
    inputs = random_inputs(2, 3)
    assert torch.equal(mixer("none", {})(inputs), inputs.values)


def test_vdn_adds(mixer):
    inputs = random_inputs(1, 2)._replace(values=torch.tensor([[[1.0, 2.0, 4.0], [-1.0, 0.5, 0.0]]]))
    assert mixer("vdn", {})(inputs).tolist() == [[[7.0], [-0.5]]]

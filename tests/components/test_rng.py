"""Counter-based randomness: the published generator, and keys that differ wherever they should."""

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hymarl.components import rng
from hymarl.components.rng import Stream

SEEDS = st.integers(0, 2**64 - 1)


def test_draws_of_key_zero_are_the_published_sequence_of_splitmix64():
    zero = np.zeros(1, np.uint64)
    draws = [int(rng.draw(zero, n)[0]) for n in range(3)]
    assert draws == [0xE220A8397B1DCDAF, 0x6E789E6AA1B965F4, 0x06C45D188009454F]


@given(SEEDS, st.integers(0, 1000))
def test_a_draw_equals_the_generator_stepped_one_by_one(seed, n):
    state, mask = seed, 2**64 - 1
    for _ in range(n + 1):  # splitmix64.c by Sebastiano Vigna, on Python's integers
        state = (state + 0x9E3779B97F4A7C15) & mask
    z = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    z ^= z >> 31
    assert int(rng.draw(np.array([seed], np.uint64), n)[0]) == z


def test_mix_compiled_by_numba_equals_numpy():
    compiled = numba.njit(rng.mix64)
    x = rng.draw(np.array([7], np.uint64), np.arange(100))
    assert [int(compiled(v)) for v in x] == rng.mix64(x).tolist()


def test_the_numbers_of_streams_never_change():
    assert {s.name: s.value for s in Stream} == {
        "TRAINING": 1,
        "VALIDATION": 2,
        "TEST": 3,
        "EXPLORATION": 4,
        "REPLAY": 5,
        "INITIALIZATION": 6,
        "PARAMETER_NOISE": 7,
        "UPDATE_NOISE": 8,
        "TARGET_NOISE": 9,
        "LATENT": 10,
        "UPDATE_ACTIONS": 11,
    }


def test_keys_are_part_of_every_result_and_never_change():
    # Worked out with Python's integers: mix(mix(mix(mix(seed + G) ^ stream) * G + G) + index * G), G the odd constant.
    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
        return z ^ (z >> 31)

    golden = 0x9E3779B97F4A7C15
    base = mix(((mix((42 + golden) % 2**64) ^ 3) * golden + golden) % 2**64)
    wanted = [mix((base + index * golden) % 2**64) for index in (0, 5)]
    assert rng.keys(42, Stream.TEST, [0, 5]).tolist() == wanted
    child = mix(((wanted[1] ^ 4) * golden + golden) % 2**64)
    assert rng.derive(rng.keys(42, Stream.TEST, 5), Stream.EXPLORATION).tolist() == [child]


def test_keys_differ_by_seed_stream_and_index():
    index = np.arange(500)
    found = np.concatenate([rng.keys(seed, stream, index) for seed in range(20) for stream in Stream])
    assert found.dtype == np.uint64
    assert len(np.unique(found)) == 20 * len(Stream) * 500


def test_derived_keys_differ_by_parent_and_purpose_and_from_the_parents():
    parents = rng.keys(1, Stream.TRAINING, np.arange(1000))
    found = np.concatenate([parents, *(rng.derive(parents, purpose) for purpose in range(10))])
    assert len(np.unique(found)) == 11 * 1000


@given(SEEDS, st.integers(0, 2**40), st.sampled_from(Stream))
def test_a_key_does_not_depend_on_the_company_it_is_made_in(seed, index, stream):
    alone = rng.keys(seed, stream, index)
    assert alone.shape == (1,)
    assert rng.keys(seed, stream, [0, index, 3])[1] == alone[0]


def test_negative_seed_is_refused():
    with pytest.raises(ValueError, match="a seed must not be negative, got -1"):
        rng.keys(-1, Stream.TRAINING, 0)


def test_keys_and_counters_broadcast():
    key = rng.keys(0, Stream.TRAINING, np.arange(3))
    together = rng.draw(key[:, None], np.arange(4))
    assert together.shape == (3, 4)
    assert together[2, 3] == rng.draw(key[2:], 3)[0]


def test_uniform_uses_the_upper_53_bits_and_never_reaches_one():
    bits = np.array([0, 2**64 - 1, 2**63, 2**11, 2**11 - 1], np.uint64)
    assert rng.uniform(bits).tolist() == [0.0, 1 - 2**-53, 0.5, 2**-53, 0.0]


@pytest.mark.parametrize("along", ["draws of one key", "first draws of many keys"])
def test_uniform_draws_have_the_moments_of_a_uniform_distribution(along):
    n = 100_000
    if along == "draws of one key":
        u = rng.uniform(rng.draw(rng.keys(3, Stream.TRAINING, 0), np.arange(n)))
    else:
        u = rng.uniform(rng.draw(rng.keys(3, Stream.TRAINING, np.arange(n)), 0))
    # Standard errors: mean sqrt(1/12/n) = 0.0009, variance sqrt(1/180/n) = 0.00024, correlation 1/sqrt(n) = 0.003.
    assert abs(u.mean() - 1 / 2) < 5 * 0.0009
    assert abs(u.var() - 1 / 12) < 5 * 0.00024
    assert abs(np.corrcoef(u[1:], u[:-1])[0, 1]) < 5 * 0.0032


def test_neighboring_keys_are_not_correlated():
    a = rng.uniform(rng.draw(rng.keys(1, Stream.TRAINING, 0), np.arange(50_000)))
    for other in (rng.keys(2, Stream.TRAINING, 0), rng.keys(1, Stream.VALIDATION, 0), rng.keys(1, Stream.TRAINING, 1)):
        b = rng.uniform(rng.draw(other, np.arange(50_000)))
        assert abs(np.corrcoef(a, b)[0, 1]) < 5 / np.sqrt(50_000)


def test_generator_is_a_function_of_seed_stream_and_index():
    def numbers(*key):
        return rng.generator(*key).random(4).tolist()

    assert numbers(1, Stream.REPLAY, 2) == numbers(1, Stream.REPLAY, 2)
    others = [(2, Stream.REPLAY, 2), (1, Stream.TEST, 2), (1, Stream.REPLAY, 3)]
    assert all(numbers(*key) != numbers(1, Stream.REPLAY, 2) for key in others)

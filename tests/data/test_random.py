from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import draws, epoch_order
from resnets.data.random import philox, sort_keys

# Random123 (D. E. Shaw Research), tests/kat_vectors, the rows `philox4x32 10`: counter, key, result.
KNOWN = """
00000000 00000000 00000000 00000000 00000000 00000000   6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff   408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0   d16cfe09 94fdcceb 5001e420 24126ea1
"""


def vectors() -> np.ndarray:
    rows = [line.split() for line in KNOWN.strip().splitlines()]
    return np.array([[int(word, 16) for word in row] for row in rows], dtype=np.uint32)


def test_philox_gives_random123_known_answers():
    known = vectors()
    for row in known:
        assert philox(row[:4], row[4:6]).tolist() == row[6:].tolist()
    np.testing.assert_array_equal(philox(known[:, :4], known[:, 4:6]), known[:, 6:])


def test_draws_are_philox_words_of_seed_index_epoch_stream():
    seed, epoch, index, stream = (7 << 32) + 5, 3, 11, 2
    drawn = draws(seed, epoch, [index], stream, 6)
    key = np.array([5, 7], dtype=np.uint32)
    first = philox(np.array([index, epoch, stream, 0], dtype=np.uint32), key)
    second = philox(np.array([index, epoch, stream, 1], dtype=np.uint32), key)
    assert (drawn[0] * 2**32).tolist() == [*first.tolist(), *second[:2].tolist()]


@given(
    seed=st.integers(0, 2**64 - 1),
    epoch=st.integers(0, 10_000),
    indices=st.lists(st.integers(0, 2**31), min_size=1, max_size=20),
    count=st.integers(1, 9),
)
@settings(max_examples=40, deadline=None)
def test_a_draw_depends_on_its_own_sample_only(seed, epoch, indices, count):
    together = draws(seed, epoch, indices, 1, count)
    assert together.shape == (len(indices), count)
    assert together.dtype == np.float64
    assert ((together >= 0) & (together < 1)).all()
    for row, index in enumerate(indices):
        np.testing.assert_array_equal(together[row], draws(seed, epoch, [index], 1, count)[0])
    np.testing.assert_array_equal(together, draws(seed, epoch, indices, 1, count + 3)[:, :count])


@pytest.mark.parametrize("other", [(1, 0, 1), (0, 1, 1), (0, 0, 2)])
def test_seed_epoch_and_stream_each_change_the_draws(other):
    seed, epoch, stream = other
    indices = np.arange(50)
    assert not np.any(draws(0, 0, indices, 1, 4) == draws(seed, epoch, indices, stream, 4))


def test_draws_are_uniform():
    values = draws(0, 0, np.arange(20_000), 1, 4).ravel()
    counts = np.bincount((values * 16).astype(int), minlength=16)
    expected = len(values) / 16
    assert ((counts - expected) ** 2 / expected).sum() < 37.7  # chi-squared, 15 degrees of freedom, p = 0.001


@given(n=st.integers(0, 500), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_order_is_a_permutation(n, seed, epoch):
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(n))


@given(n=st.integers(20, 300), seed=st.integers(0, 2**40), epoch=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_order_differs_by_epoch_and_by_seed_and_repeats(n, seed, epoch):
    order = epoch_order(n, seed=seed, epoch=epoch)
    assert order.tolist() != epoch_order(n, seed=seed, epoch=epoch + 1).tolist()
    assert order.tolist() != epoch_order(n, seed=seed + 1, epoch=epoch).tolist()
    assert order.tolist() == epoch_order(n, seed=seed, epoch=epoch).tolist()


def test_sort_keys_do_not_collide():
    assert len(np.unique(sort_keys(0, 0, np.arange(100_000), 0))) == 100_000

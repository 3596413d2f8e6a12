"""Findings: intervals against SciPy, and verdicts that say no more than their interval."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from resnets.studies.numbers import number
from resnets.studies.seedwise import paired
from resnets.studies.statistics import finding, interval

VALUES = st.lists(st.floats(-50, 50, allow_nan=False).map(lambda value: round(value, 3)), min_size=2, max_size=12)


@given(VALUES)
def test_the_interval_is_the_one_of_the_t_test(values):
    mean, low, high = interval(values)
    if np.std(values) > 1e-9:
        expected = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
        assert (low, high) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-9)
    assert mean == pytest.approx(np.mean(values), abs=1e-12)


@given(VALUES, st.booleans())
def test_a_claim_is_shown_only_where_the_interval_lies_on_its_side(values, positive):
    found = finding("a is more than b", values, unit="points", positive=positive)
    on_its_side = found.low > 0 if positive else found.high < 0
    on_the_other = found.high < 0 if positive else found.low > 0
    assert (found.shown == "shown") == on_its_side and (found.shown == "opposite") == on_the_other
    p = stats.ttest_1samp(values, 0.0).pvalue if np.std(values) > 1e-9 else 1.0
    if found.shown == "not shown" and np.std(values) > 1e-9:
        assert p > 0.05 - 1e-9
    assert f"n = {len(values)} seeds" in found.words and number(found.effect, signed=True) in found.words
    assert ("95 % interval" in found.words) == (max(values) > min(values))


def test_the_effect_size_is_the_mean_by_the_deviation():
    found = finding("it rises", [1.0, 2.0, 3.0], unit="points")
    assert found.size == pytest.approx(2.0 / 1.0) and found.n == 3


@pytest.mark.parametrize("values", [[], [4.2]])
def test_too_few_seeds_decide_nothing(values):
    found = finding("it rises", values, unit="points")
    assert (found.shown, found.low, found.high, found.size) == ("not shown", None, None, None)
    assert ("take more seeds" if values else "Not decided: no value: it rises.") in found.words
    assert math.isnan(found.effect) if not values else found.effect == 4.2


def test_equal_values_have_no_spread_and_no_effect_size():
    found = finding("it rises", [2.0, 2.0], unit="points")
    assert (found.shown, found.low, found.high, found.size) == ("shown", 2.0, 2.0, None)
    assert "all n = 2 seeds alike" in found.words and "interval +" not in found.words
    rounded = finding("it rises", [100 - 99.7, 0.3, 0.3], unit="points")  # these differ in the last digit alone
    assert rounded.size is None and rounded.low == rounded.high
    assert "that is 0 itself" in finding("it rises", [0.0, 0.0, 0.0], unit="points").words


@pytest.mark.parametrize("lost", [[math.inf], [math.nan, -math.inf]])
def test_what_diverged_is_not_left_out_but_leaves_the_claim_undecided(lost):
    found = finding("it rises", [3.0, *lost, 3.1, 2.9], unit="nats")
    assert (found.shown, found.low, found.high, found.size, found.n) == ("not shown", None, None, None, 3 + len(lost))
    assert math.isnan(found.effect)
    n = len(lost)
    assert found.words == f"Not decided: {n} of {3 + n} seeds diverged or have no value: it rises."
    assert interval([1.0, *lost, 2.0]) is None
    assert paired({0: 1.0, 1: math.inf, 2: 5.0}, {1: 2.0, 0: 0.5}) == [0.5, math.inf]

"""Shortcuts as words and as values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.architecture import Shortcut, parse_shortcut, spec
from resnets.errors import InputError


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A", Shortcut("identity", "A")),
        ("b", Shortcut("identity", "B")),
        ("C", Shortcut("projection", "B")),
        ("d", Shortcut("identity", "D")),
        ("1x1", Shortcut("projection", "B")),
        ("none", Shortcut("none", "A")),
        ("scaling", Shortcut("scaling", "A", scale=0.5, residual_scale=0.5)),
        ("scaling:0.3", Shortcut("scaling", "A", scale=0.3, residual_scale=0.5)),
        ("scaling:0.3,0.7", Shortcut("scaling", "A", scale=0.3, residual_scale=0.7)),
        ("Exclusive-Gating", Shortcut("exclusive-gating", "A", gate_bias=-6)),
        ("shortcut-only-gating:-3", Shortcut("shortcut-only-gating", "A", gate_bias=-3)),
        (" dropout:0.2 ", Shortcut("dropout", "A", rate=0.2)),
    ],
)
def test_words(text: str, expected: Shortcut) -> None:
    # What the word leaves unsaid, above all how a change of shape is met, stays as it was.
    assert parse_shortcut(text, Shortcut("identity", "A")) == expected


def test_c_of_a_network_with_pooled_shortcuts_is_pooled() -> None:
    assert parse_shortcut("C", Shortcut("identity", "D")) == Shortcut("projection", "D")


def test_the_papers_constants_are_the_defaults() -> None:
    # 1603.05027, table 1: scaling 0.5 and 0.5, the gates' best bias -6, dropout 0.5.
    default = Shortcut()
    assert (default.scale, default.residual_scale, default.gate_bias, default.rate) == (0.5, 0.5, -6, 0.5)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("E", "one of: A, B, C, D, 1x1, none"),
        ("scalin", "did you mean 'scaling'"),
        ("exclusive-gatin:-6", "exclusive-gating"),
        ("scaling:a", "should be numbers"),
        ("scaling:1,2,3", r"takes 2 number\(s\), not 3"),
        ("A:1", r"takes 0 number\(s\), not 1"),
        ("dropout:1", r"rate must lie in \[0, 1\)"),
        ("dropout:-0.1", "rate must lie"),
        ("scaling:nan", "scale must be a number"),
        ("exclusive-gating:-inf", "gate_bias must be a number"),
    ],
)
def test_refused(text: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        spec("resnet20", shortcut=text)


@given(st.text(max_size=20) | st.from_regex(r"(A|none|scaling|dropout):[0-9.,e+-]{0,8}", fullmatch=True))
@settings(deadline=None, max_examples=100)
def test_any_text_is_a_shortcut_or_refused(text: str) -> None:
    found, refusal = None, ""
    try:
        found = parse_shortcut(text, Shortcut())
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert bool(refusal) is (found is None)

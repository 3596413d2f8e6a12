"""A specification through JSON and back, and what is refused on the way: always with an InputError of one line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from specs import network_specs

from resnets.architecture import NetworkSpec, Shortcut, spec
from resnets.errors import InputError

FIELDS = [field.name for field in dataclasses.fields(NetworkSpec)]
SHORTCUT_FIELDS = [field.name for field in dataclasses.fields(Shortcut)]
WORDS = st.sampled_from(
    ["basic", "bottleneck", "linear", "vgg", "small", "group", "A", "C", "none", "scaling:1", "1x1"]
)
SMALL = {"units": [2, 2], "widths": [16, 32]}
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12) | WORDS
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
)
ANYTHING = (
    JSON
    | st.binary(max_size=4)
    | st.tuples(SCALARS, SCALARS)
    | st.sets(st.integers(-2, 5), max_size=3)
    | st.just(object())
)


def check(make: Any) -> None:
    """`make` gives a whole specification, or says in one line why not."""
    made, refusal = None, ""
    try:
        made = make()
    except InputError as error:
        refusal = str(error)
    assert "\n" not in refusal
    assert bool(refusal) is (made is None)
    if made is not None:
        assert isinstance(made, NetworkSpec)
        assert isinstance(hash(made), int)
        assert NetworkSpec.from_dict(json.loads(json.dumps(made.to_dict()))) == made


@given(network_specs())
@settings(deadline=None, max_examples=100)
def test_json_gives_back_the_same_network(network: NetworkSpec) -> None:
    text = json.dumps(network.to_dict(), allow_nan=False)
    again = NetworkSpec.from_dict(json.loads(text))
    assert again == network
    assert again.name == network.name
    assert hash(again) == hash(network)
    assert json.dumps(again.to_dict()) == text
    assert {type(getattr(again, key)) for key in FIELDS} <= {int, float, str, bool, tuple, type(None), Shortcut}


@given(st.sampled_from([*FIELDS, "depth"]), ANYTHING)
@settings(deadline=None, max_examples=150)
def test_an_ill_typed_field_is_refused(key: str, value: Any) -> None:
    check(lambda: NetworkSpec.from_dict({**SMALL, key: value}))
    check(lambda: spec("resnet20").replace(**{key: value}))


@given(st.dictionaries(st.sampled_from([*FIELDS, "unit "]), ANYTHING, max_size=5))
@settings(deadline=None, max_examples=100)
def test_any_mapping_is_a_network_or_refused(data: dict[str, Any]) -> None:
    check(lambda: NetworkSpec.from_dict(data))


@given(st.dictionaries(st.sampled_from([*SHORTCUT_FIELDS, "skale"]), ANYTHING, max_size=3))
@settings(deadline=None, max_examples=100)
def test_an_ill_typed_shortcut_is_refused(shortcut: dict[str, Any]) -> None:
    check(lambda: NetworkSpec.from_dict({**SMALL, "shortcut": shortcut}))


@given(ANYTHING)
@settings(deadline=None, max_examples=100)
def test_what_is_no_mapping_is_refused(data: Any) -> None:
    check(lambda: NetworkSpec.from_dict(data))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"num_clases": 10}, "unknown network field 'num_clases'; did you mean 'num_classes'"),
        ({**SMALL, "shortcut": {"scael": 1}}, "unknown shortcut field 'scael'; did you mean 'scale'"),
        ({**SMALL, "shortcut": {"kind": "skaling"}}, "unknown shortcut kind 'skaling'; did you mean 'scaling'"),
        ({"widths": [16]}, "needs 'units'"),
        ({"units": [2]}, "needs 'widths'"),
        ([], "JSON object, not list"),
    ],
)  # fmt: skip
def test_refusals_name_the_field(data: Any, words: str) -> None:
    with pytest.raises(InputError, match=words):
        NetworkSpec.from_dict(data)


def test_a_specification_from_before_a_field_reads_as_the_network_that_it_was() -> None:
    new = {"stem_norm", "norm_eps", "head", "head_widths"}
    for name in ("resnet50", "preact-resnet164"):
        data = {key: value for key, value in spec(name).to_dict().items() if key not in new}
        assert NetworkSpec.from_dict(data) == spec(name)


def test_a_shortcut_may_be_a_word_in_json() -> None:
    network = NetworkSpec.from_dict({**SMALL, "shortcut": "dropout:0.2"})
    assert network.shortcut == Shortcut("dropout", rate=0.2)


# files


def test_a_file_is_a_network(tmp_path: Path) -> None:
    wanted = spec("preact-resnet164", shortcut="C", shortcut_units=(0, 53), image_size=(28, 28), norm="group")
    alone, in_run = tmp_path / "spec.json", tmp_path / "run.json"
    alone.write_text(json.dumps(wanted.to_dict()), encoding="utf-8")
    in_run.write_text(json.dumps({"status": "finished", "spec": wanted.to_dict()}), encoding="utf-8")
    for path in (alone, str(alone), in_run):
        assert spec(path) == wanted
    assert spec(alone, num_classes=3) == wanted.replace(num_classes=3)
    assert spec(f"{alone},num_classes=3,norm=batch") == wanted.replace(num_classes=3, norm="batch")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[1, 2]", "JSON object, not list"),
        (b'{"units": [2], "widths": [16], "nrom": "group"}', "did you mean 'norm'"),
        (b'{"units": [2], "widths": [1e9]}', "widths must be"),
        (b'{"units": [2], "widths": [16], "shortcut": {"rate": NaN}}', "rate must be"),
    ],
)
def test_a_damaged_file_is_refused_by_its_name(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "network.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as refusal:
        spec(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert "\n" not in str(refusal.value)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.json").mkdir()
    for name in ("nothing.json", "folder.json"):
        with pytest.raises(InputError, match="cannot read the network specification"):
            spec(tmp_path / name)

"""Weights on disk: what is read is what was written, and a damaged file says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnets.errors import InputError
from resnets.models import create, load_weights, save_weights

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(7), "c": torch.ones(2, dtype=torch.bfloat16)}


@pytest.mark.parametrize(
    "name", ["resnet20", "preact-resnet20", "resnet20-weight", "resmlp10", "resnet8,shortcut=exclusive-gating"]
)
def test_a_network_comes_back(tmp_path: Path, name: str) -> None:
    net = create(name, seed=0)
    net.train()(torch.randn(4, net.spec.in_channels, 8, 8))  # so that the running statistics are not the initial ones
    save_weights(tmp_path / "weights.safetensors", net)
    again = create(name, seed=1)
    again.load_state_dict(load_weights(tmp_path / "weights.safetensors"), strict=True)
    for key, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[key]), key
        assert value.dtype == again.state_dict()[key].dtype


def test_a_mapping_comes_back(tmp_path: Path) -> None:
    save_weights(str(tmp_path / "w"), STATE)
    again = load_weights(str(tmp_path / "w"))
    assert again.keys() == STATE.keys()
    assert all(torch.equal(again[key], STATE[key]) and again[key].dtype == STATE[key].dtype for key in STATE)


def test_shared_strided_and_channels_last_tensors_come_back(tmp_path: Path) -> None:
    whole = torch.randn(4, 3, 5, 5)
    state = {"last": whole.to(memory_format=torch.channels_last), "part": whole[::2], "same": whole, "tied": whole}
    save_weights(tmp_path / "w", state)
    again = load_weights(tmp_path / "w")
    assert all(torch.equal(again[key], state[key]) for key in state)


def test_the_same_weights_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "other"):
        save_weights(tmp_path / name, create("resnet8", seed=3))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_others_may_read_what_the_umask_lets_them(tmp_path: Path) -> None:
    save_weights(tmp_path / "w", STATE)
    (tmp_path / "plain").write_bytes(b"")
    assert os.stat(tmp_path / "w").st_mode == os.stat(tmp_path / "plain").st_mode


def test_writing_where_nothing_can_be_written_is_an_oserror(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        save_weights(tmp_path / "no" / "such" / "folder", STATE)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.safetensors: no such weights file"):
        load_weights(tmp_path / "gone.safetensors")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_weights(tmp_path)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("weights") / "w.safetensors"
    save_weights(path, STATE)
    return path


@given(share=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=40)
def test_a_file_cut_short_is_refused(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    damaged = whole.with_name("cut.safetensors")
    damaged.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="not a readable safetensors file") as refusal:
        load_weights(damaged)
    assert str(damaged) in str(refusal.value)
    assert "\n" not in str(refusal.value)


@given(place=st.integers(0, 400), value=st.integers(0, 255), junk=st.binary(max_size=64))
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(whole: Path, place: int, value: int, junk: bytes) -> None:
    content = bytearray(whole.read_bytes())
    content[place % len(content)] = value
    damaged = whole.with_name("damaged.safetensors")
    for data in (bytes(content), junk, bytes(content) + junk):
        damaged.write_bytes(data)
        try:
            read = load_weights(damaged)
        except InputError:
            continue
        assert all(isinstance(tensor, torch.Tensor) for tensor in read.values())


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    torch.save(STATE, tmp_path / "w.pt")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_weights(tmp_path / "w.pt")


def test_a_header_of_lies_is_refused(tmp_path: Path) -> None:
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 4]}}).encode()
    (tmp_path / "w").write_bytes(len(header).to_bytes(8, "little") + header + b"\0\0\0\0")
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_weights(tmp_path / "w")

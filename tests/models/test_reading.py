"""Foreign weights files: tensors come out, whatever wraps them; everything else is refused in one line."""

from __future__ import annotations

import argparse
import os
import pickle
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from resnets.errors import InputError
from resnets.models import read_state, reading

STATE = {"conv1.weight": torch.randn(4, 3, 3, 3), "bn1.num_batches_tracked": torch.tensor(7), "fc.bias": torch.randn(5)}


def equal(found: dict[str, torch.Tensor]) -> bool:
    return list(found) == list(STATE) and all(
        torch.equal(found[key], STATE[key]) and found[key].dtype == STATE[key].dtype for key in STATE
    )


def saved(folder: Path, content: Any, **options: Any) -> Path:
    torch.save(content, folder / "w.pth", **options)
    return folder / "w.pth"


@pytest.mark.parametrize("zipped", [True, False])
def test_what_torch_saves_comes_back_on_its_own(tmp_path: Path, zipped: bool) -> None:
    path = saved(tmp_path, STATE, _use_new_zipfile_serialization=zipped)
    found, metadata = read_state(path)
    path.write_bytes(b"gone")  # the tensors are no view of the file
    assert equal(found)
    assert metadata == {}


def test_safetensors_come_back_with_their_metadata_whatever_the_suffix(tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_bytes(safetensors.torch.save(STATE, {"format": "pt"}))
    found, metadata = read_state(tmp_path / "w.bin")
    assert found.keys() == STATE.keys() and all(torch.equal(found[key], STATE[key]) for key in STATE)
    assert metadata == {"format": "pt"}


@pytest.mark.parametrize(
    ("content", "within"),
    [
        ({"state_dict": STATE, "epoch": 3, "best_acc1": 70.1}, "state_dict"),
        ({"net": STATE, "acc": 95.2, "epoch": 199}, "net"),  # of github.com/kuangliu/pytorch-cifar
        ({"model": STATE, "optimizer": {"state": {}}, "args": argparse.Namespace(lr=0.1, workers=[1])}, "model"),
        ({"state_dict": {"fc.bias": torch.zeros(5)}, "state_dict_ema": STATE}, "state_dict_ema"),
        ({"model_state": STATE}, "model_state"),
        ({"model": {"state_dict": STATE}}, "model.state_dict"),
        ({"state_dict": {f"module.{key}": value for key, value in STATE.items()}}, "state_dict"),
        ({f"module._orig_mod.{key}": value for key, value in STATE.items()}, None),
        ({key: torch.nn.Parameter(v) if v.is_floating_point() else v for key, v in STATE.items()}, None),
    ],
)
def test_wrappings_are_taken_off(tmp_path: Path, content: Any, within: str | None) -> None:
    found, metadata = read_state(saved(tmp_path, content))
    assert equal(found)
    assert metadata.get("within") == within


def test_a_prefix_of_some_keys_is_part_of_their_names(tmp_path: Path) -> None:
    content = {"module.weight": torch.zeros(1), "weight": torch.zeros(1)}
    assert list(read_state(saved(tmp_path, content))[0]) == list(content)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("owned",)


@pytest.mark.parametrize("zipped", [True, False])
def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, zipped: bool) -> None:
    monkeypatch.chdir(tmp_path)
    path = saved(tmp_path, {"model": STATE, "extra": Evil()}, _use_new_zipfile_serialization=zipped)
    with pytest.raises(InputError, match=r"Python objects \((posix|nt)\.mkdir\).*torch\.save\(model\.state_dict"):
        read_state(path)
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(Evil(), 4))
    with pytest.raises(InputError):
        read_state(tmp_path / "plain.pkl")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (torch.nn.Linear(2, 2), r"Python objects \(torch\.nn\.modules\.linear\.Linear\)"),
        ({"network": STATE, "acc": 1}, "a part 'network'"),
        ({**STATE, "epoch": 3}, "'epoch' is of type int"),
        ([torch.zeros(1)], "holds a list"),
        ({}, "holds nothing"),
        ({"a": torch.eye(2).to_sparse()}, "'a' is a sparse"),
        ({"a": torch.empty(2, device="meta")}, "'a' is a sparse, quantised or empty"),
        ({"a": torch.zeros(1).expand(10**6, 10**6)}, "larger than the file"),
    ],
)
def test_what_is_not_weights_is_refused(tmp_path: Path, content: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_state(saved(tmp_path, content))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "an empty file"),
        (b"junk" * 9, "neither a safetensors file nor"),
        (b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5 file, as Keras writes"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"\n<!DOCTYPE html><html>", "a web page"),
        (b"\x80\x02junk", "damaged, or not a file that torch"),
        (b"\x09" + bytes(7) + b"{}", "not a readable safetensors file"),
        (b"PK\x03\x04junk", "damaged or cut short"),
    ],
)
def test_other_files_are_told_by_their_first_bytes(tmp_path: Path, data: bytes, words: str) -> None:
    (tmp_path / "w.pth").write_bytes(data)
    with pytest.raises(InputError, match=words) as caught:
        read_state(tmp_path / "w.pth")
    assert "\n" not in str(caught.value)


def test_archives_of_others_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.zeros(3))
    saved(tmp_path, STATE)
    with zipfile.ZipFile(tmp_path / "w.pth") as whole, zipfile.ZipFile(tmp_path / "bomb", "w", 8) as bomb:
        for name in whole.namelist():
            bomb.writestr(name, whole.read(name))
    for name in ("w.npz", "bomb"):  # torch never compresses: what is compressed can hide more than it has bytes
        with pytest.raises(InputError, match="a zip archive, but not one that torch"):
            read_state(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "script", "w") as script:
        script.writestr("w/data.pkl", b"")
        script.writestr("w/constants.pkl", b"")
    with pytest.raises(InputError, match="a TorchScript program"):
        read_state(tmp_path / "script")
    with tarfile.open(tmp_path / "old.tar", "w") as old:
        old.add(tmp_path / "w.pth", "storages")
    with pytest.raises(InputError, match="tar format of before 2017"):
        read_state(tmp_path / "old.tar")


def test_missing_folders_and_large_ones_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"gone\.pth: no such weights file"):
        read_state(tmp_path / "gone.pth")
    with pytest.raises(InputError, match="a folder, not a weights file"):
        read_state(tmp_path)
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(reading.LARGEST + 1)  # sparse: takes no room
    with pytest.raises(InputError, match="of up to 8 GiB are read"):
        read_state(tmp_path / "huge")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("weights"), STATE)


@given(share=st.floats(0, 1, exclude_max=True))
@settings(deadline=None, max_examples=40)
def test_a_file_cut_short_is_refused(whole: Path, share: float) -> None:
    content = whole.read_bytes()
    cut = whole.with_name("cut")
    cut.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError) as caught:
        read_state(cut)
    assert "\n" not in str(caught.value)


@given(place=st.integers(0, 5000), value=st.integers(0, 255))
@settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_damaged_file_is_read_or_refused(whole: Path, place: int, value: int) -> None:
    content = bytearray(whole.read_bytes())
    content[place % len(content)] = value
    damaged = whole.with_name("damaged")
    damaged.write_bytes(content)
    try:
        found, _ = read_state(damaged)
    except InputError as error:
        assert "\n" not in str(error)
    else:
        assert all(isinstance(tensor, torch.Tensor) for tensor in found.values())

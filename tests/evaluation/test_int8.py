"""int8: calibrated on the run's own images, measured beside fp32, and kept in the cache folder as long as it fits."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from resnets import InputError, files
from resnets.evaluation import Run, backends, predictor, quantisation, quantised
from resnets.models import save_weights

HELD_OUT = {"fraction": 0.2, "seed": 0}


@pytest.fixture(autouse=True)
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where networks in int8 are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "resnets" / "int8"


def only(shelf: Path) -> Path:
    """The one that is kept."""
    (place,) = shelf.iterdir()
    return place


@pytest.fixture
def held_out(make_source: Any, make_run: Any) -> Run:
    """A run with a validation split of six images."""
    return Run.open(make_run(make_source(), held_out=HELD_OUT))


@pytest.fixture
def quantised_how_often(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The backends for which a network was made int8, as often as it was."""
    seen: list[str] = []
    plain = quantisation.quantise
    monkeypatch.setattr(quantisation, "quantise", lambda name, *given: seen.append(name) or plain(name, *given))
    return seen


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_int8_is_measured_beside_fp32_and_kept(held_out: Run, backend: str, quantised_how_often: list[str]) -> None:
    if reason := backends.missing(backend, "int8"):
        pytest.skip(reason)
    before = {path: path.stat().st_mtime_ns for path in held_out.path.rglob("*")}
    made = held_out.predictor(backend=backend, precision="int8")
    assert (made.backend, made.precision, made.notes) == (backend, "int8", ())
    assert made.accuracy is not None
    assert (made.accuracy["split"], made.accuracy["n"]) == ("validation", 6)
    assert made.accuracy["fp32"] == held_out.evaluate(split="validation").top1
    assert abs(made.accuracy["int8"] - made.accuracy["fp32"]) <= 100 / 6 + 1e-6  # one image of six
    assert made.accuracy["loss"] == made.accuracy["fp32"] - made.accuracy["int8"]
    assert 0 < made.error < predictor.TOLERANCE["int8"]
    images = torch.randn(5, 3, 8, 8, generator=torch.Generator().manual_seed(4))
    shutil.rmtree(held_out.source["path"])  # what is kept needs no images any more
    again = held_out.predictor(backend=backend, precision="int8", batch=2)
    assert quantised_how_often == [backend]
    assert again.accuracy == made.accuracy
    assert torch.allclose(again.logits(images), made.logits(images), atol=1e-4 * float(made.logits(images).std()))
    assert {path: path.stat().st_mtime_ns for path in held_out.path.rglob("*")} == before  # a run is only read


def turned(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


STALE = {
    "model": lambda place, run, edit: turned(place / "model.onnx"),
    "manifest": lambda place, run, edit: (place / "manifest.json").unlink(),
    "no folder": lambda place, run, edit: (shutil.rmtree(place), place.write_text("")),
    "other weights": lambda place, run, edit: other_weights(run, edit),
    "other preprocessing": lambda place, run, edit: edit(run, other_preprocessing),
    "brought along": lambda place, run, edit: place.rename(run / "int8-onnxruntime"),
    "none": lambda place, run, edit: None,
}  # fmt: skip


def other_preprocessing(info: dict[str, Any]) -> None:
    info["preprocessing"]["std"] = [0.31] * 3


def other_weights(folder: Path, edit: Any) -> None:
    file = folder / "weights.safetensors"
    net = Run.open(folder).model()
    with torch.no_grad():
        net.fc.weight.mul_(-1)
    file.unlink()
    save_weights(file, net)
    edit(folder, lambda info: info["weights"].update(sha256=hashlib.sha256(file.read_bytes()).hexdigest()))


@pytest.mark.parametrize("kind", STALE)
def test_int8_of_other_weights_or_damaged_is_made_again(
    held_out: Run, edit: Any, kind: str, quantised_how_often: list[str], shelf: Path
) -> None:
    if reason := backends.missing("onnxruntime", "int8"):
        pytest.skip(reason)
    held_out.predictor(backend="onnxruntime", precision="int8")
    STALE[kind](only(shelf), held_out.path, edit)
    for _ in range(2):
        run = Run.open(held_out.path)
        made = run.predictor(backend="onnxruntime", precision="int8")
        assert made.accuracy is not None
        assert made.accuracy["fp32"] == run.evaluate(split="validation").top1
    # A file in the folder's place is not ours to remove: then it is made every time.
    assert len(quantised_how_often) == {"none": 1, "no folder": 3}.get(kind, 2)


def cannot_save(*given: Any, **more: Any) -> None:
    raise RuntimeError("Can't save\nthe model")


def half_saved(model: Any, path: str, **more: Any) -> None:
    Path(path).write_text("half")
    cannot_save()


@pytest.mark.parametrize("fault", ["library", "folder"])
@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_int8_that_cannot_be_kept_works_all_the_same(
    held_out: Run, backend: str, fault: str, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if reason := backends.missing(backend, "int8"):
        pytest.skip(reason)
    if fault == "folder":
        shelf.parent.parent.write_text("")
    elif backend == "openvino":
        monkeypatch.setattr(backends.openvino(), "save_model", half_saved)
    else:  # after the model itself
        monkeypatch.setattr("safetensors.torch.save_file", half_saved)
    made = held_out.predictor(backend=backend, precision="int8")
    assert made.accuracy is not None
    reason = "RuntimeError: Can't save the model" if fault == "library" else "NotADirectoryError: "
    assert made.notes[0].startswith(f"int8 could not be kept ({reason}")
    assert made.notes[0].endswith("): it is made again each time")
    assert not shelf.exists() or not list(shelf.iterdir())


def test_the_least_recently_used_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantised, "KEPT", 2)
    for age, name in enumerate(["new", "used", "old", "older", ".fresh.1.part", ".litter.2.part"]):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("")
        when = time.time() - (100_000 * (name == ".litter.2.part") + age)
        os.utime(tmp_path / name, (when, when))
    quantised._make_room(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"new", "used", ".fresh.1.part"}


def test_int8_takes_the_next_backend_where_one_fails(held_out: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in ("openvino", "onnxruntime"):
        if reason := backends.missing(backend, "int8"):
            pytest.skip(reason)
    plain = quantisation.quantise
    failing = {"openvino"}

    def make(backend: str, *given: Any) -> Any:
        return cannot_save() if backend in failing else plain(backend, *given)

    monkeypatch.setattr(quantisation, "quantise", make)
    made = held_out.predictor(precision="int8")
    assert (made.backend, made.images_per_second) == ("onnxruntime", {})
    assert made.notes[0].startswith(
        "openvino was not taken: openvino cannot make this network int8 (RuntimeError: Can't"
    )
    failing.add("onnxruntime")
    shutil.rmtree(files.cache_folder())
    with pytest.raises(InputError, match=r"^openvino cannot make .*; use fp32; onnxruntime cannot make .*; use fp32$"):
        held_out.predictor(precision="int8")


def test_int8_that_costs_too_much_warns(held_out: Run, monkeypatch: pytest.MonkeyPatch, shelf: Path) -> None:
    if reason := backends.missing("onnxruntime", "int8"):
        pytest.skip(reason)
    found = {"split": "validation", "n": 1000, "fp32": 91.0, "int8": 90.5, "loss": 0.5}
    monkeypatch.setattr(quantisation, "accuracies", lambda *given: found)
    said = "int8 loses 0.50 points of top-1 (91.00 % to 90.50 %, 1,000 images of the validation split), more than 0.3"
    with pytest.warns(UserWarning, match=re.escape(said)) as warned:
        made = held_out.predictor(backend="onnxruntime", precision="int8")
    assert Path(warned[0].filename) == Path(__file__)
    assert said in made.notes[0]
    assert said in str(made)
    found["loss"] = 0.29
    shutil.rmtree(only(shelf))
    assert held_out.predictor(backend="onnxruntime", precision="int8").notes == ()


def test_int8_without_a_validation_split_has_no_accuracy(run: Run, quantised_how_often: list[str]) -> None:
    if reason := backends.missing("onnxruntime", "int8"):
        pytest.skip(reason)
    for _ in range(2):
        assert run.predictor(backend="onnxruntime", precision="int8").accuracy is None
    assert quantised_how_often == ["onnxruntime"]


def test_a_library_that_cannot_make_int8_is_one_line(held_out: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*given: Any) -> None:
        raise RuntimeError("a fault\nof the library")

    monkeypatch.setattr(backends, "missing", lambda name, precision: None)
    monkeypatch.setattr(quantisation, "quantise", fail)
    with pytest.raises(InputError, match=r"^onnxruntime cannot make this network int8 \(RuntimeError: a fault of the"):
        held_out.predictor(backend="onnxruntime", precision="int8")


def test_int8_is_calibrated_on_training_images_alone(make_source: Any, make_run: Any, monkeypatch: Any) -> None:
    run = Run.open(make_run(make_source(splits={"train": 10, "val": 4, "test": 4})))
    seen = []
    plain = quantisation.load_split
    monkeypatch.setattr(quantisation, "load_split", lambda split, *a, **k: seen.append(split) or plain(split, *a, **k))
    source = quantisation.own_source(run.path, run.source)
    images = quantisation.calibration_images(source, run.info, run.preprocessing, count=7)
    names = [split.name(index) for split in seen for index in range(len(split))]
    assert len(images) == len(names) == 7
    assert all("/train/" in name for name in names)
    assert {Path(name).parent.name for name in names} == set(run.classes)


def test_int8_is_refused_in_one_line_when_the_source_is_gone(run: Run, monkeypatch: Any) -> None:
    monkeypatch.setattr(backends, "missing", lambda name, precision: None)
    shutil.rmtree(run.source["path"])
    with pytest.raises(InputError, match=r"calibrated on the run's own images, and .*source is not there any more"):
        run.predictor(precision="int8")


def test_int8_of_imported_weights_is_refused(run: Run, edit: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr(backends, "missing", lambda name, precision: None)

    def imported(info: dict[str, Any]) -> None:
        info["imported"] = {"from": "elsewhere"}
        del info["source"], info["recipe"]

    with pytest.raises(InputError, match="has no images to calibrate int8 on"):
        Run.open(edit(run.path, imported)).predictor(precision="int8")

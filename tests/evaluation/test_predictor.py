"""Predictors: the run's own answers, the fastest backend that gives them, remembered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from resnets import InputError
from resnets.architecture import spec as make_spec
from resnets.evaluation import Run, backends, predictor, remembered, speed
from resnets.evaluation.backends import Runner, Task
from resnets.models import build
from resnets.models.folding import fold

RATES = {"eager": 0.3, "onnxruntime": 0.1, "openvino": 0.2}  # seconds


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(predictor, "_SECONDS", 0.02)
    return tmp_path / "cache" / "resnets" / "backends"


@pytest.fixture
def stubs(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """All backends as torch's own, with races that `RATES` decide; tells how often each was made and raced."""
    seen: dict[str, Any] = {"made": [], "races": 0, "spoil": {}}
    plain = backends.make

    def make(name: str, precision: str, task: Task) -> Runner:
        run = plain("eager", "fp32", task)
        seen["made"].append(name)
        spoil = seen["spoil"].get(name, lambda images, logits: logits)
        return lambda images: spoil(images, run(images))

    def race(runs: dict[str, Any], *, seconds: float) -> dict[str, float]:
        seen["races"] += 1
        for run in runs.values():
            run()
        return {name: RATES[name] for name in runs}

    monkeypatch.setattr(backends, "make", make)
    monkeypatch.setattr(backends, "missing", lambda name, precision: None)
    monkeypatch.setattr(backends, "multiplies_bf16", lambda kind: False)
    monkeypatch.setattr(speed, "race", race)
    return seen


def expected(run: Run, images: Tensor) -> Tensor:
    with torch.no_grad():
        return run.model()(images)


@pytest.mark.parametrize("batch", [1, 4])
def test_the_logits_are_the_runs(run: Run, batch: int) -> None:
    made = run.predictor(precision="fp32", batch=batch)
    pixels = torch.randint(0, 256, (6, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = run.preprocessing.normalise(pixels)
    found = made.logits(images)
    torch.testing.assert_close(found, expected(run, images), rtol=1e-3, atol=1e-3)
    assert torch.equal(made.logits(pixels), found)
    assert made.error <= 1e-3
    assert made.backend in made.images_per_second


@pytest.mark.parametrize("backend", ["eager", "onnxruntime", "openvino"])
@pytest.mark.parametrize("count", [2, 5])
def test_logits_are_ordinary_tensors(run: Run, backend: str, count: int) -> None:
    if reason := backends.missing(backend, "fp32"):
        pytest.skip(reason)
    found = run.predictor(backend=backend, precision="fp32", batch=2).logits(torch.zeros(count, 3, 8, 8))
    weight = torch.ones((), requires_grad=True)
    (found.mul_(2) * weight).sum().backward()
    assert weight.grad == pytest.approx(float(found.sum()), rel=1e-5)


@pytest.mark.parametrize("kind", [torch.int64, torch.int8, torch.bool, torch.complex64])
def test_pixels_of_other_types_are_refused(run: Run, stubs: dict[str, Any], kind: torch.dtype) -> None:
    said = f"images are {str(kind).removeprefix('torch.')}; give uint8 ones as decoded, or normalised ones (float32)"
    with pytest.raises(InputError) as caught:
        run.predictor().logits(torch.ones(1, 3, 8, 8).to(kind))
    assert str(caught.value) == said


def test_what_is_remembered_is_of_the_strides_too() -> None:
    spec = make_spec("resnet50").replace(units=(1, 1, 1, 1))
    keys = [
        remembered.key_of(Task(fold(build(spec.replace(stride_in=place), seed=0)), (3, 64, 64), 1, 1), "fp32")
        for place in ("3x3", "1x1", "3x3")
    ]
    assert keys[0] == keys[2] != keys[1]


def test_predictions_are_the_runs(run: Run) -> None:
    files = sorted(Path(run.source["path"]).rglob("test/*/*.png"))
    found, wanted = run.predictor(precision="fp32").predict(files, top=2), run.predict(files, top=2)
    assert [each.path for each in found] == [each.path for each in wanted]
    for ours, theirs in zip(found, wanted, strict=True):
        assert [name for name, _ in ours.top] == [name for name, _ in theirs.top]
        assert [p for _, p in ours.top] == pytest.approx([p for _, p in theirs.top], abs=1e-4)


def test_auto_takes_the_fastest_and_remembers_it(run: Run, stubs: dict[str, Any], cache: Path) -> None:
    first = run.predictor()
    assert (first.backend, stubs["races"]) == ("onnxruntime", 1)
    assert first.images_per_second == {"eager": 8 / 0.3, "onnxruntime": 8 / 0.1, "openvino": 8 / 0.2}
    stubs["made"].clear()
    again = run.predictor()
    assert (again.backend, stubs["races"]) == ("onnxruntime", 1)
    assert "openvino" not in stubs["made"]  # the others need not even be made ready
    run.predictor(batch=3)
    assert stubs["races"] == 2
    threads = torch.get_num_threads()
    torch.set_num_threads(threads + 1)
    run.predictor()
    torch.set_num_threads(threads)
    assert stubs["races"] == 3
    assert len(list(cache.iterdir())) == 3


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b"\x00\xff"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text('{"key": 1, "images_per_second": {"eager": 1}}'),
        lambda path: path.write_text(path.read_text().replace("80.0", "NaN")),
        lambda path: path.write_text(path.read_text().replace("80.0", '"fast"')),
        lambda path: path.write_text(path.read_text().replace("openvino", "opencv")),
        lambda path: (path.unlink(), path.mkdir()),
    ],
    ids=["bytes", "list", "other key", "nan", "word", "other backends", "folder"],
)
def test_a_damaged_memory_only_means_measuring_again(run: Run, stubs: dict[str, Any], cache: Path, damage: Any) -> None:
    run.predictor()
    damage(next(cache.iterdir()))
    assert run.predictor().backend == "onnxruntime"
    assert stubs["races"] == 2


def test_a_memory_that_cannot_be_written_too(
    run: Run, stubs: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [run.predictor().backend for _ in range(2)] == ["onnxruntime"] * 2
    assert stubs["races"] == 2


def failing(images: Tensor, logits: Tensor) -> Tensor:
    raise RuntimeError("a fault\nof the library")


SPOILT = {
    "wrong": lambda images, logits: logits + 0.01 * logits.std(),
    "at eight": lambda images, logits: logits.flip(0) if len(images) == 8 else logits,
    "at one": lambda images, logits: 1.01 * logits if len(images) == 1 else logits,
    "nan": lambda images, logits: logits * float("nan"),
    "shape": lambda images, logits: logits[:, :-1],
    "fault": failing,
}


@pytest.mark.parametrize("kind", SPOILT)
def test_a_backend_with_other_logits_is_not_taken(run: Run, stubs: dict[str, Any], kind: str) -> None:
    stubs["spoil"]["onnxruntime"] = SPOILT[kind]
    for _ in range(2):  # measured, and remembered
        made = run.predictor()
        assert made.backend == "openvino"
    assert stubs["races"] == 1
    with pytest.raises(InputError, match="no backend gives this network's logits at fp32: onnxruntime: "):
        run.predictor(backend="onnxruntime")


def test_one_that_was_remembered_is_held_against_the_logits_again(run: Run, stubs: dict[str, Any]) -> None:
    assert run.predictor().backend == "onnxruntime"
    stubs["spoil"]["onnxruntime"] = SPOILT["wrong"]
    made = run.predictor()
    assert made.backend == "openvino"
    assert "onnxruntime" in made.refused


def test_the_choice_in_words(run: Run, stubs: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(run.predictor()) == "onnxruntime at fp32, batch 8; images/s: onnxruntime 80, openvino 40, eager 27"
    stubs["spoil"]["onnxruntime"] = failing
    first, second = str(run.predictor()).splitlines()
    assert first.startswith("openvino at fp32, batch 8")
    assert second == "onnxruntime was not taken: RuntimeError: a fault of the library"


def test_without_the_libraries_torch_is_used_and_says_what_to_install(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backends.importlib.util, "find_spec", lambda name: None)
    made = run.predictor(precision="fp32")
    assert made.backend == "eager"
    assert made.notes == (
        "not tried: openvino at fp32 needs onnx and openvino: pip install 'resnets[openvino]'",
        "not tried: onnxruntime at fp32 needs onnx and onnxruntime: pip install 'resnets[onnx]'",
    )
    assert run.predictor(backend="eager").notes == ()


def test_bad_input(run: Run, stubs: dict[str, Any]) -> None:
    for words, said in [({"batch": 0}, "batch"), ({"backend": "x"}, "backend 'x'"), ({"precision": "x"}, "'x'")]:
        with pytest.raises(InputError, match=said):
            run.predictor(**words)
    bare = predictor.ready(run.model(), (3, 8, 8))
    with pytest.raises(InputError, match="nothing says how images are prepared"):
        bare.logits(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(InputError, match="nothing says how images are prepared"):
        bare.predict("x.png")
    for shape in [(3, 8, 8), (1, 3, 8, 9), (1, 1, 8, 8), (0, 3, 8, 8)]:
        with pytest.raises(InputError, match=r"images must be \[B, 3, 8, 8\], at least one, not \["):
            bare.logits(torch.zeros(shape))


def test_a_network_without_finite_logits_is_named_as_such(run: Run, stubs: dict[str, Any]) -> None:
    net = run.model()
    with torch.no_grad():
        net.fc.bias[0] = float("nan")
    with pytest.raises(InputError, match="output is not finite; its weights are damaged"):
        predictor.ready(net, (3, 8, 8))


def test_the_network_is_left_as_it_was(run: Run, stubs: dict[str, Any]) -> None:
    net = run.model().double().train()
    before = json.dumps({key: value.sum().item() for key, value in net.state_dict().items()})
    predictor.ready(net, (3, 8, 8))
    assert net.training
    assert json.dumps({key: value.sum().item() for key, value in net.state_dict().items()}) == before
    assert all(weight.dtype == torch.float64 and weight.requires_grad for weight in net.parameters())


def test_of_backends_that_are_near_each_other_the_one_that_was_faster_elsewhere_is_taken() -> None:
    order = predictor.in_order
    assert order({"eager": 10.0, "onnxruntime": 105.0, "openvino": 100.0}) == ["openvino", "onnxruntime", "eager"]
    assert order({"eager": 10.0, "onnxruntime": 130.0, "openvino": 100.0}) == ["onnxruntime", "openvino", "eager"]
    assert order({"eager": 99.0, "onnxruntime": 0.0, "openvino": 0.0})[0] == "eager"

"""`resnets bench` and what it measures with."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from resnets import cli, inspect
from resnets.architecture import spec as make_spec
from resnets.cli import bench
from resnets.evaluation import predictor, speed
from resnets.models import build
from resnets.training import normalised

PEAK = 1e12


@pytest.fixture(autouse=True)
def quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(predictor, "_SECONDS", 0.02)
    monkeypatch.setattr(bench, "_SECONDS", 0.02)
    monkeypatch.setattr(speed, "matrix_peak", lambda precision, device: PEAK)
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def run(*words: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = cli.main(["bench", *map(str, words)])
        return (code, *capfd.readouterr())

    return run


def test_the_figures_of_a_network(command: Any) -> None:
    code, out, _ = command("resnet8", "--batch", "1", "3", "--precision", "fp32", "--threads", "1", "--json")
    document = json.loads(out)
    documents = document.pop("batches")
    assert code == 0 and document == documents[0]
    assert [row["batch"] for row in documents] == [1, 3]
    for row in documents:
        assert (row["mode"], row["precision"], row["size"], row["threads"]) == ("inference", "fp32", [32, 32], 1)
        assert row["images_per_second"] == pytest.approx(row["batch"] * 1000 / row["latency_ms"]["p50"])
        assert row["latency_ms"]["p99"] >= row["latency_ms"]["p50"] > 0
        operations = 2 * inspect("resnet8").multiply_adds
        assert row["peak_fraction"] == pytest.approx(row["images_per_second"] * operations / PEAK)
        assert row["memory_bytes"] > 50e6
        assert row["backend"] in row["tried"] or len(row["tried"]) == 0
        assert 0 <= row["largest_error"] <= 1e-3


def test_one_batch_is_one_document_and_the_size_counts(command: Any) -> None:
    figures = [
        json.loads(command("resnet8", "--batch", "1", "--backend", "eager", "--size", side, "--json")[1])
        for side in (16, 32)
    ]
    assert [row["size"] for row in figures] == [[16, 16], [32, 32]]
    assert figures[1]["gflop_per_image"] == pytest.approx(4 * figures[0]["gflop_per_image"], rel=0.01)
    assert figures[0]["backend"] == "eager"


def test_training_counts_three_times_the_operations(command: Any) -> None:
    code, out, _ = command("resnet8", "--train", "--batch", "4", "--precision", "fp32", "--json")
    row = json.loads(out)
    assert code == 0
    assert (row["mode"], row["precision"]) == ("training", "fp32")
    operations = 6 * inspect("resnet8").multiply_adds
    assert row["gflop_per_image"] == pytest.approx(operations / 1e9)
    assert row["peak_fraction"] == pytest.approx(row["images_per_second"] * operations / PEAK)


def test_a_table_for_people(command: Any) -> None:
    code, out, err = command("resnet8", "--batch", "1", "2", "--backend", "eager", "--precision", "fp32")
    assert (code, err) == (0, "")
    rows = [line.split() for line in out.splitlines()]
    assert [row[:3] for row in rows if row and row[0] in "12"] == [["1", "eager", "fp32"], ["2", "eager", "fp32"]]
    assert "images/s" in out
    assert "matrix product" in out


def test_a_run_is_measured_with_its_own_images(command: Any, make_source: Any, make_run: Any) -> None:
    if reason := predictor.backends.missing("onnxruntime", "int8"):
        pytest.skip(reason)
    run = make_run(make_source(), held_out={"fraction": 0.2, "seed": 0})
    code, out, _ = command(run, "--batch", "1", "--backend", "onnxruntime", "--precision", "int8")
    assert code == 0
    assert "top-1 on the 6 images of the validation split: int8" in out
    assert "points lost" in out


def test_a_run_at_another_size_is_measured_with_random_weights_and_says_so(
    command: Any, make_source: Any, make_run: Any
) -> None:
    run = make_run(make_source())
    said = "at 16x16, not the 8x8 of the run, its network is measured with random weights"
    for size, other in ((8, False), (16, True)):
        _, out, _ = command(run, "--batch", "1", "--backend", "eager", "--size", size, "--json")
        assert any(said in note for note in json.loads(out)["notes"]) is other


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_training_is_measured_as_it_is_done(command: Any, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    used: list[str] = []
    real = normalised.normalised
    monkeypatch.setattr(normalised, "normalised", lambda *given, **how: used.append("n") or real(*given, **how))
    row = json.loads(command("resnet8", "--train", "--batch", "4", "--precision", precision, "--json")[1])
    assert row["native"] == (normalised.kernels() is not None) == bool(used)


@pytest.mark.parametrize("train", [False, True])
def test_a_batch_that_cannot_fit_is_refused_before_anything_is_measured(
    command: Any, monkeypatch: pytest.MonkeyPatch, train: bool
) -> None:
    monkeypatch.setattr(torch, "randn", lambda *shape, **more: pytest.fail("allocated"))
    code, out, err = command("resnet8", "--batch", "1", "100000000", *(["--train"] if train else []))
    assert (code, out) == (2, "")
    sizes = r"needs about [\d,]+ GiB and [\d.,]+ GiB are free"
    assert re.fullmatch(f"error: a batch of 100,000,000 images {sizes}; use a smaller --batch\n", err)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("resnet8", "--batch", "0"), "--batch"),
        (("resnet8", "--backend", "tensorrt"), "--backend"),
        (("resnet8", "--train", "--backend", "openvino"), "takes no --backend"),
        (("resnet8", "--train", "--precision", "int8"), "no --precision int8"),
        (("resnet8", "--backend", "eager", "--precision", "int8"), "eager has no int8"),
        (("resent110",), "did you mean 'resnet110'"),
        (("resnet152", "--size", "1"), "too deep"),
        ((), "NAME"),
    ],
)
def test_slips_get_one_line(command: Any, words: tuple[str, ...], said: str) -> None:
    code, out, err = command(*words)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert said in err


class Clock:
    """Time that passes only in what is measured."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(speed.time, "perf_counter", lambda: self.now)

    def taking(self, *seconds: float) -> Callable[[], None]:
        left = iter(seconds)

        def run() -> None:
            self.now += next(left, seconds[-1])

        return run


def test_percentiles_of_what_came_after_the_warming_up(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    found = speed.measure(clock.taking(50.0, 50.0, 1.0, 2.0, 2.0, 2.0, 11.0), 4, seconds=0.0, least=5)
    assert (found.runs, found.p50, found.images_per_second) == (5, 2.0, 2.0)
    assert found.p99 == pytest.approx(11.0 - 0.04 * 9.0)
    assert speed.measure(clock.taking(1.0), 4, seconds=20.0).runs == 20


def test_a_race_takes_the_median_time_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    runs = {"a": clock.taking(0.1, 3.0, 2.0, 2.5), "b": clock.taking(0.1, 2.5, 2.8, 1.9)}
    assert speed.race(runs, seconds=1.0) == pytest.approx({"a": 2.5, "b": 2.5})  # three rounds, however long they take
    assert speed.race({"a": clock.taking(1.0, 1.0, 1.0, 1.0, 0.5)}, seconds=4.5) == pytest.approx({"a": 1.0})


def test_a_race_goes_on_without_those_far_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    runs = {"a": clock.taking(1.0), "b": clock.taking(1.2, 1.2, 0.9), "far": clock.taking(9.0)}
    assert speed.race(runs, seconds=26.0) == pytest.approx({"a": 1.0, "b": 0.9, "far": 9.0})
    assert clock.now == pytest.approx(2 * 11.2 + 2 * 1.9)  # all twice; then the two that are near
    began = clock.now
    assert speed.race({"a": clock.taking(1.0), "far": clock.taking(9.0)}, seconds=100.0) == {"a": 1.0, "far": 9.0}
    assert clock.now == pytest.approx(began + 20.0)  # nothing is left to decide


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_peak_counts_multiplications_and_additions(precision: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    clock = Clock(monkeypatch)
    shapes = []
    for name in ("mm", "_int_mm"):
        plain = getattr(torch, name)

        def product(one: Any, other: Any, plain: Any = plain) -> Any:
            clock.now += 0.5
            shapes.append((*one.shape, other.shape[1], one.dtype))
            return plain(one, other)

        monkeypatch.setattr(torch, name, product)
    found = speed.matrix_peak(precision, seconds=0.1)
    rows, inner, columns, kind = shapes[-1]
    assert found == 2 * rows * inner * columns / 0.5
    assert kind == (torch.int8 if precision == "int8" else torch.float32)


def test_a_training_step_trains() -> None:
    net = build(make_spec("resnet8"), seed=0)
    before = net.conv1.weight.detach().clone()
    seen: list[float] = []
    step = speed.training_step(net, (3, 32, 32), 8, classes=10)
    net.register_forward_hook(lambda module, given, logits: seen.append(logits.detach().float()))
    for _ in range(25):
        step()
    targets = torch.arange(8) % 10
    losses = [torch.nn.functional.cross_entropy(logits, targets).item() for logits in seen]
    assert losses[-1] < losses[0]
    assert not torch.equal(net.conv1.weight, before)

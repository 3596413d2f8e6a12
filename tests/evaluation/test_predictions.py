"""What a run keeps of every case: whole, read back to the last bit, whatever the names."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.errors import InputError
from resnets.evaluation import Run
from resnets.evaluation.predictions import (
    ClassPredictions,
    TargetPredictions,
    parse,
    predictions_of,
    read_predictions,
    write_predictions,
)
from resnets.models.folder import close_run
from resnets.verification import verify_run

HOSTILE = ['a,"b"', "line\nbreak\r", "\r", "=1+1", "日本", "\udcff.png", "\ud800", " space ", "", "nul\0", "'", "a\tb"]


def classes(names: list[str], seed: int = 0) -> ClassPredictions:
    numbers = np.random.default_rng(seed).random((3, len(names))).astype(np.float32)
    return ClassPredictions(names, names[::-1], names[1:] + names[:1], *numbers)


@given(st.lists(st.text(st.characters(), max_size=8) | st.sampled_from(HOSTILE), max_size=5), st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_what_is_read_is_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, names: list[str], seed: int
) -> None:
    folder = tmp_path_factory.getbasetemp()
    written = classes(names, seed)
    read = parse(write_predictions(folder, "test", written).read_bytes(), "it")
    assert isinstance(read, ClassPredictions)
    for field in ("names", "true", "predicted"):
        assert list(getattr(read, field)) == list(getattr(written, field))
    for field in ("confidence", "p_true", "loss"):
        assert np.array_equal(getattr(read, field), getattr(written, field))


def test_numbers_of_a_regression_are_read_to_the_last_bit(tmp_path: Path) -> None:
    cells = np.random.default_rng(1).normal(size=(4, 6, 2)) * 10.0 ** np.arange(-8, 4).reshape(6, 2)
    cells[2, 0], cells[3, 0] = -np.inf, np.inf
    written = TargetPredictions([f"t.csv line {k}" for k in range(2, 8)], ["price, €", "x observed"], *cells)
    read = parse(write_predictions(tmp_path, "validation", written).read_bytes(), "it")
    assert isinstance(read, TargetPredictions)
    assert read.targets == ["price, €", "x observed"]
    assert list(read.names) == list(written.names)
    for field in ("observed", "fitted", "low", "high"):
        assert np.array_equal(getattr(read, field), getattr(written, field))
    with (tmp_path / "predictions-validation.csv").open(newline="", encoding="utf-8") as file:
        head = next(csv.reader(file))
    assert head[:5] == ["name", "price, € observed", "price, € fitted", "price, € low", "price, € high"]


@pytest.mark.parametrize(
    "data",
    [b"", b"name,true\r\n", b"\xff\xfe", b"a,b\r\n1,2\r\n", b'name,true,predicted,confidence,p_true,loss\r\n"x',
     b"name,true,predicted,confidence,p_true,loss\r\nx,a,b,1,1\r\n",
     b"name,true,predicted,confidence,p_true,loss\r\nx,a,b,1,1,many\r\n",
     b"name,y observed,z fitted,y low,y high\r\nx,1,2,3,4\r\n"],
)  # fmt: skip
def test_what_is_no_such_file_is_refused_in_one_line(data: bytes) -> None:
    with pytest.raises(InputError, match="holds no predictions of a run") as caught:
        parse(data, "file.csv")
    assert "\n" not in str(caught.value)


def test_a_run_keeps_them_and_its_manifest_covers_them(run: Run) -> None:
    assert read_predictions(run.path, "test") is None
    evaluation = run.evaluate()
    write_predictions(run.path, "test", predictions_of(evaluation))
    assert read_predictions(run.path, "test") is None  # nothing says yet that these are the bytes
    info = json.loads((run.path / "run.json").read_text(encoding="utf-8"))
    close_run(run.path, {**info, "format": 2})
    listed = {file.path: file for file in verify_run(run.path).files}
    assert listed["predictions-test.csv"].state == "sound"
    assert "each image or row of the test split" in listed["predictions-test.csv"].what

    kept = read_predictions(run.path, "test")
    assert isinstance(kept, ClassPredictions)
    right = np.array([a == b for a, b in zip(kept.true, kept.predicted, strict=True)])
    assert 100 * int(right.sum()) / len(right) == evaluation.top1
    assert float(kept.loss.mean(dtype=np.float64)) == evaluation.loss
    assert sorted(kept.names) == sorted(str(path) for path in Path(run.source["path"], "test").rglob("*.png"))
    assert [Path(name).parent.name for name in kept.names] == list(kept.true)
    assert np.allclose(kept.p_true, np.exp(-kept.loss.astype(float)))
    assert (kept.p_true <= kept.confidence * (1 + 1e-6)).all()
    assert np.array_equal(right, np.isclose(kept.p_true, kept.confidence))

    file = run.path / "predictions-test.csv"
    file.write_bytes(file.read_bytes().replace(b"blue", b"grey", 1))
    with pytest.raises(InputError, match=r"predictions-test\.csv is damaged"):
        read_predictions(run.path, "test")
    assert not verify_run(run.path).ok

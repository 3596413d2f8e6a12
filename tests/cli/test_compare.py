"""`resnets compare`, `--calibrated`: what they print, write and refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from resnets.models.folder import close_run


@pytest.fixture
def twin(finished: Path, tmp_path: Path) -> Path:
    """The same run in another folder."""
    return Path(shutil.copytree(finished, tmp_path / "twin"))


def test_compare_prints_tables_words_and_a_page(command, finished, twin, tmp_path):
    found = command("compare", finished, twin, "--out", tmp_path / "page.html")
    assert found.code == 0, found.err
    assert "top-1: no difference shown between run and twin (0.00 points" in found.out
    assert "loss: no difference shown" in found.out
    assert "digits, test: " in found.out
    assert "not that of the seeds" in found.err
    assert "<h1>run, twin: compared</h1>" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_compare_prints_one_document_whose_figures_are_those_of_the_runs(command, finished, twin):
    found = command("compare", finished, twin, "--json")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    results = json.loads((finished / "run.json").read_text(encoding="utf-8"))["results"]["test"]
    for entry in document["runs"]:
        assert entry["top1"] == results["top1"]
        for key in ("loss", "ece"):  # summed in another order
            assert entry[key] == pytest.approx(results[key], rel=1e-12), key
        for key in ("top1", "loss"):
            assert entry["intervals"][key] == pytest.approx(results["intervals"][key], rel=1e-12)
    assert [pair["better"] for pair in document["pairs"]] == [None, None]
    assert document["n"] == results["n"]


def test_compare_refuses_in_one_line(command, finished, twin, tmp_path):
    for words, reason in [
        (("compare",), "no runs to compare"),
        (("compare", finished), "two to 8 runs, not 1"),
        (("compare", finished, finished), "named twice"),
        (("compare", finished, twin, "--out", tmp_path / "no" / "page.html"), "is no place for a page"),
        (("compare", finished, twin, "--out", tmp_path), "is no place for a page"),
    ]:
        found = command(*words)
        assert found.code == 2
        assert reason in found.error
        assert len(found.err.splitlines()) == 1


def test_calibrated_figures_and_predictions(command, twin):
    info = json.loads((twin / "run.json").read_text(encoding="utf-8"))
    del info["sha256"]
    info["results"]["calibration"] = {"temperature": 0.5}
    close_run(twin, info)
    plain, calibrated = (json.loads(command("evaluate", twin, "--json", *more).out) for more in ((), ("--calibrated",)))
    assert calibrated["top1"] == plain["top1"]
    assert calibrated["confusion"] == plain["confusion"]
    assert calibrated["loss"] != plain["loss"]
    assert calibrated["ece"] != plain["ece"]
    del info["results"]["calibration"]
    close_run(twin, info)
    for words in (("evaluate", twin), ("predict", twin, "x.png")):
        found = command(*words, "--calibrated")
        assert found.code == 2
        assert "has no temperature to calibrate by; make one: resnets report" in found.error

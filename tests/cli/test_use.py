"""Train, evaluate, predict and examine, through the real command."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import ENVIRONMENT, images, resnets
from PIL import Image

from resnets import cli


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> Path:
    """Two grey 8x8 images in a folder, a deeper and a hidden one, and a damaged file."""
    folder = tmp_path_factory.mktemp("pictures")
    for name in ("one.png", "two.png", "below/three.png", ".hidden/four.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        Image.new("L", (8, 8), 40 * len(name) % 256).save(folder / name)
    (folder / "below" / "notes.txt").write_text("no image")
    return folder


def test_train_prints_one_document(trained):
    run, outcome = trained
    document = json.loads(outcome.out)
    info = json.loads((run / "run.json").read_text())
    assert document["run"] == str(run)
    assert document["weights_sha256"] == hashlib.sha256((run / "weights.safetensors").read_bytes()).hexdigest()
    assert document["test"]["top1"] == info["results"]["test"]["top1"]
    assert document["seed"] == info["seed"] == 3
    assert document["arch"] == "resnet8"


def test_train_talks_on_standard_error_in_plain_lines(trained):
    _, outcome = trained
    assert "\x1b" not in outcome.err
    epochs = [line for line in outcome.err.splitlines() if line.startswith("epoch 1/1")]
    assert epochs
    assert "validation" in epochs[-1]
    assert "images/s" in epochs[-1]


def test_evaluate_reports_what_the_run_ended_with(trained):
    run, outcome = trained
    found = resnets("evaluate", run, "--json")
    assert found.code == 0, found.err
    document, ended = json.loads(found.out), json.loads(outcome.out)["test"]
    for key in ("top1", "top5", "loss", "n", "per_class", "confusion"):
        assert document[key] == ended[key], key


def test_evaluate_as_a_table(command, finished):
    found = command("evaluate", finished, "--split", "validation", "--flips")
    assert found.code == 0, found.err
    assert "top-1 %" in found.out
    assert "validation" in found.out
    assert all(f"\n{digit} " in found.out.replace("\n ", "\n") for digit in range(10))
    assert "held out" in found.err


def test_predict_files_folders_patterns_and_a_list(finished, pictures):
    words = ["one.png", "below", "*.png", "-"]
    found = resnets("predict", finished, *words, "--json", "--top", 3, cwd=pictures, stdin="two.png\n\n")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert [Path(item["path"]).as_posix() for item in document] == ["one.png", "below/three.png", "two.png"]
    for item in document:
        assert len(item["top"]) == 3
        chances = [guess["probability"] for guess in item["top"]]
        assert chances == sorted(chances, reverse=True)
        assert 0 < sum(chances) <= 1.00001
        assert {guess["class"] for guess in item["top"]} <= set("0123456789")


def test_predict_names_a_damaged_file_and_goes_on(command, finished, pictures, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes((pictures / "one.png").read_bytes()[:40])
    words = ["predict", finished, broken, pictures / "one.png", tmp_path / "missing.png"]
    found = command(*words, "--flips")
    assert found.code == 2
    assert "Traceback" not in found.err
    errors = [line for line in found.err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert str(broken) in errors[0]
    assert "missing.png" in errors[1]
    assert found.out.startswith(f"{pictures / 'one.png'}: ")
    assert found.out.count("%") == 5

    (tmp_path / "table.csv").write_text("x\n1\n")
    assert "it is a table, and this run takes images" in command("predict", finished, tmp_path / "table.csv").err

    found = command(*words, "--json")
    document = json.loads(found.out)
    assert found.code == 2
    assert [set(item) for item in document] == [{"path", "error"}, {"path", "top"}, {"path", "error"}]


def test_data_examines_a_source(command, tmp_path):
    images(tmp_path / "photos" / "train", ["cat", "dog"], 6)
    images(tmp_path / "photos" / "test", ["cat", "dog"], 2, seed=1)
    copied = tmp_path / "photos" / "train" / "cat" / "000.png"
    (tmp_path / "photos" / "test" / "cat" / "copy.png").write_bytes(copied.read_bytes())
    (tmp_path / "photos" / "train" / "dog" / "broken.png").write_bytes(b"broken")
    found = command("data", tmp_path / "photos", "--json", "--montage", tmp_path / "sheet.png")
    assert found.code == 0, found.err
    document = json.loads(found.out)
    assert {"splits", "classes", "unreadable", "empty_classes", "duplicates"} <= set(document)
    assert "broken.png" in json.dumps(document["unreadable"])
    assert "copy.png" in json.dumps(document["duplicates"])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"

    found = command("data", tmp_path / "photos")
    assert found.code == 0, found.err
    for expected in ("train", "test", "cat", "dog", "12x12", "broken.png", "copy.png"):
        assert expected in found.out


@pytest.mark.slow  # the short form: tests/reliability/test_signals.py and test_kills.py
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_and_the_run_goes_on(tmp_path, number, code):
    run = tmp_path / "run"
    words = ["train", "digits", "--arch", "resnet8", "--epochs", "400", "--threads", "1", "--out", str(run)]
    process = subprocess.Popen(
        [sys.executable, "-m", "resnets", *words], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    try:
        deadline = time.monotonic() + 120
        while not process.stderr.readline().startswith("epoch 1/") and time.monotonic() < deadline:
            pass
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(60) == code
    finally:
        process.kill()
        process.stderr.close()
    assert "Traceback" not in rest
    assert f"--resume --out {run}" in rest
    info = json.loads((run / "run.json").read_text())
    assert info["status"] == "interrupted"
    assert list((run / "checkpoints").glob("step-*"))
    assert not (run / "weights.safetensors").exists()


def test_resuming_a_finished_run_says_its_figures(command, finished):
    found = command("train", "--resume", "--out", finished)
    assert found.code == 0, found.err
    assert "test top-1" in found.out


def test_the_examples_that_need_no_data_of_ones_own_work(command, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = cli._COMMANDS["data"][2].splitlines()[0].split()
    found = command(*example[1:])
    assert found.code == 0, found.err
    assert "1,797" in found.out or "1,437" in found.out
    assert os.listdir(tmp_path) == []

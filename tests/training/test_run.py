"""Whole runs by the real command: killed, stopped and resumed; the same bits whatever happened."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from commandline import resnets
from PIL import Image

from resnets import cli

SHORT = ["--arch", "resnet8", "--epochs", "3", "--set", "batch_size=64", "--deterministic", "--threads", "1"]


def start(*words, **options):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "error"}
    return subprocess.Popen(
        [sys.executable, "-m", "resnets", "train", *map(str, words)], env=environment, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options,
    )  # fmt: skip


def finish(process):
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    return json.loads(out)


def wait_for_step(run, step, process):
    """Until metrics.jsonl speaks of `step`."""
    file = run / "metrics.jsonl"
    for _ in range(2400):
        if file.exists() and any(json.loads(line)["step"] >= step for line in file.read_text().splitlines()):
            return
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.02)
    raise AssertionError("the run did not get there")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return finish(start("digits", *SHORT, "--json", "--out", tmp_path_factory.mktemp("whole") / "run"))


def test_a_finished_run_is_a_folder_a_person_can_read(whole):
    run = Path(whole["run"])
    info = json.loads((run / "run.json").read_text())
    assert info["status"] == "finished"
    assert info["results"]["test"]["top1"] == whole["test"]["top1"]
    assert info["weights"]["sha256"] == whole["weights_sha256"]
    assert {
        "report.html", "metrics.jsonl", "weights.safetensors", "checkpoints", "run.json", "manifest.json",
        "suspects.csv", "predictions-validation.csv", "predictions-test.csv",
    } == {p.name for p in run.iterdir()}  # fmt: skip
    assert info["source"]["splits"]["validation"] > 0 and info["source"]["held_out"] == {"fraction": 0.1, "seed": 0}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines if line["kind"] == "epoch"] == [0, 1, 2]
    best = max(line["validation"]["top1"] for line in lines if line["kind"] == "epoch")
    assert info["results"]["validation"]["top1"] == pytest.approx(best)


def test_evaluating_the_run_later_gives_the_figures_it_ended_with(whole):
    later = json.loads(resnets("evaluate", whole["run"], "--json").out)
    for key in ("top1", "top5", "loss", "n", "per_class"):
        assert later[key] == whole["test"][key], key


@pytest.mark.slow  # the short form: tests/reliability/test_signals.py and test_kills.py
def test_killed_in_the_middle_of_an_epoch_and_resumed_ends_in_the_same_weights(whole, tmp_path):
    run = tmp_path / "run"
    process = start("digits", *SHORT, "--json", "--out", run)
    wait_for_step(run, 27, process)  # 20 steps an epoch: in the middle of the second
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert json.loads((run / "run.json").read_text())["status"] == "running"
    again = finish(start("--resume", "--out", run, "--threads", "1", "--json"))
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert again["test"] == whole["test"]


@pytest.mark.slow  # the short form: tests/reliability/test_signals.py and test_kills.py
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_stopped_by_a_signal_saves_at_that_step_and_goes_on(whole, tmp_path, number, code):
    run = tmp_path / "run"
    process = start("digits", *SHORT, "--out", run)
    wait_for_step(run, 5, process)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, err
    assert f"resnets train --resume --out {run}" in err and "Traceback" not in err
    assert json.loads((run / "run.json").read_text())["status"] == "interrupted"
    (saved,) = (run / "checkpoints").glob("step-*")
    assert 5 <= json.loads((saved / "state.json").read_text())["step"] < 60
    again = finish(start("--resume", "--out", run, "--threads", "1", "--json"))
    assert again["weights_sha256"] == whole["weights_sha256"]


@pytest.mark.slow  # the short form: tests/reliability/test_signals.py and test_kills.py
def test_workers_do_not_change_the_weights(tmp_path):
    # 96 pixels: these stream from disk, decoded in workers, with random resized crops of the originals.
    for k in range(24):
        folder = tmp_path / "photos" / "train" / ("warm" if k % 2 else "cold")
        folder.mkdir(parents=True, exist_ok=True)
        shade = (200 - k, 60, 40 + k) if k % 2 else (40 + k, 60, 200 - k)
        Image.effect_noise((110 + k, 100), 60).convert("RGB").save(folder / f"{k}.png")
        Image.blend(Image.open(folder / f"{k}.png"), Image.new("RGB", (110 + k, 100), shade), 0.5).save(
            folder / f"{k}.png"
        )
    words = [
        tmp_path / "photos", "--arch", "resnet8", "--epochs", "2", "--size", "96", "--deterministic", "--threads", "1",
        "--set", "batch_size=6", "crop=resized", "validation=0.25", "--json",
    ]  # fmt: skip
    alone = finish(start(*words, "--workers", "0", "--out", tmp_path / "alone"))
    helped = finish(start(*words, "--workers", "2", "--out", tmp_path / "helped"))
    assert helped["weights_sha256"] == alone["weights_sha256"]


def test_a_finished_run_is_not_trained_again(whole):
    before = os.stat(os.path.join(whole["run"], "weights.safetensors")).st_mtime_ns
    again = json.loads(resnets("train", "--resume", "--out", whole["run"], "--json").out)
    assert again["weights_sha256"] == whole["weights_sha256"]
    assert os.stat(os.path.join(whole["run"], "weights.safetensors")).st_mtime_ns == before


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--arch", "resnet14"], "is a run of resnet8, not of resnet14"),
        (["--recipe", "paper"], "follows the recipe fast, not paper"),
        (["--epochs", "9"], "has epochs=3"),
        (["--seed", "1"], "has seed 0, not 1"),
    ],
)
def test_resuming_with_other_settings_is_refused(whole, words, message, capfd):
    info = Path(whole["run"]) / "run.json"
    before = info.read_text()
    assert cli.main(["train", "--resume", "--out", whole["run"], *words]) == 2
    err = capfd.readouterr().err
    assert message in err and err.strip().splitlines()[-1].startswith("error: ")
    assert info.read_text() == before

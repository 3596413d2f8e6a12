"""Bad input: one `error:` line that helps, exit 2, and nothing on disk changed.

Some kinds of bad input are given to the real command in a process of its own (PROCESSES, one of them a fresh one); all
others go through `cli.main` in this process.
"""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import pytest
from commandline import Outcome, fingerprint, images, resnets

from resnets.models.folder import read_info, write_info

DAMAGED = [f"damaged/{name}/broken{index:02}.jpg" for name in ("cat", "dog") for index in range(10)]

# The words of the command (in the prepared folder), and what its error line must contain.
REAL: dict[str, tuple[str, list[str]]] = {
    "missing source": ("train nowhere", ["nowhere"]),
    "empty source": ("train empty", ["empty"]),
    "one class only": ("train single", ["single", "cat"]),
    "unreadable images": ("train damaged", ["20 unreadable", "--skip-unreadable", *DAMAGED]),
    "classes differ between splits": ("train differing", ["fox"]),
    "unknown network": ("train digits --arch resnt18", ["resnt18", "did you mean 'resnet18'?"]),
    "unknown recipe": ("train digits --recipe fats", ["fats", "did you mean 'fast'?"]),
    "unknown override": ("train digits --set epoch=3", ["epoch", "did you mean 'epochs'?"]),
    "a bad option value": ("train digits --precision fp8", ["fp8", "bf16"]),
    "a run is there already": ("train digits --out finished", ["finished", "--resume"]),
    "resume with another network": (
        "train --resume --out stopped --arch resnet14",
        ["resnet8", "resnet14"],
    ),
    "network too deep": ("train digits --arch resnet50-imagenet --size 2", ["too deep", "2x2"]),
    "too little memory": ("train photos --arch resnet110 --size 1024", ["GiB", "batch_size"]),
    "not a run folder": ("evaluate photos", ["photos", "run.json"]),
}
MORE: dict[str, tuple[str, list[str]]] = {
    # sources
    "misspelt built-in source": ("train digit", ["digit", "did you mean 'digits'?"]),
    "class folders without images": ("train hollow", ["hollow"]),
    "an empty class": ("train gap", ["fox"]),
    "an unreadable test image": ("train late", ["late/test/cat/broken.png"]),
    "a file as source": ("train photos/cat/000.png", ["000.png"]),
    "a run as source": ("train finished", ["train --resume --out finished"]),
    "data: missing source": ("data nowhere", ["nowhere"]),
    "data: empty folder": ("data empty", ["empty"]),
    # names and values
    "no such depth": ("train digits --arch resnet19", ["resnet20"]),
    "unknown network field": ("train digits --arch resnet20,nrom=group", ["nrom", "did you mean 'norm'?"]),
    "override without a value": ("train digits --set epochs", ["key=value"]),
    "override of the wrong type": ("train digits --set epochs=many", ["epochs", "whole number"]),
    "override out of range": ("train digits --set momentum=2", ["momentum"]),
    "unknown device": ("train digits --device gpu", ["gpu", "cpu"]),
    "fp16 on a processor": ("train digits --device cpu --precision fp16", ["fp16", "bf16"]),
    # run folders
    "out is a file": ("train digits --out photos/cat/000.png", ["000.png"]),
    "nothing to resume": ("train --resume --out empty", ["empty", "without --resume"]),
    "resume with another recipe": ("train --resume --out stopped --recipe paper", ["fast", "paper"]),
    "resume with another setting": ("train --resume --out stopped --epochs 7", ["epochs=1"]),
    "resume with another seed": ("train --resume --out stopped --seed 4", ["seed 3"]),
    "resume with another source": ("train photos --resume --out stopped", ["digits", "photos"]),
    "evaluate: no such folder": ("evaluate nowhere", ["nowhere"]),
    "evaluate: not finished": ("evaluate stopped", ["stopped", "--resume"]),
    "evaluate: other classes": ("evaluate finished photos", ["cat"]),
    "evaluate: missing source": ("evaluate finished nowhere", ["nowhere"]),
    "evaluate: no such split": ("evaluate finished photos --split validation", ["photos"]),
    "evaluate: damaged weights": ("evaluate bent", ["weights.safetensors", "damaged"]),
    "predict: not a run": ("predict photos photos/cat/000.png", ["photos", "run.json"]),
    "predict: a folder without images": ("predict finished empty", ["empty"]),
    "predict: a pattern that matches nothing": ("predict finished photos/*.xyz", ["photos/*.xyz"]),
    "predict: nothing on standard input": ("predict finished -", ["standard input"]),
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, finished: Path) -> Path:
    """A folder with one of every mistake in it."""
    folder = tmp_path_factory.mktemp("world")
    (folder / "empty").mkdir()
    for name in ("cat", "dog"):
        (folder / "hollow" / name).mkdir(parents=True)
    images(folder / "photos", ["cat", "dog"], 20)
    images(folder / "gap", ["cat", "dog"], 20)
    (folder / "gap" / "fox").mkdir()
    images(folder / "single", ["cat"], 20)
    images(folder / "damaged", ["cat", "dog"], 20)
    whole = (folder / "damaged" / "cat" / "000.png").read_bytes()
    for number, name in enumerate(DAMAGED):
        (folder / name).write_bytes([b"", b"not an image", whole[: len(whole) // 2]][number % 3])
    images(folder / "differing" / "train", ["cat", "dog"], 20)
    images(folder / "differing" / "test", ["cat", "fox"], 5, seed=1)
    images(folder / "late" / "train", ["cat", "dog"], 20)
    images(folder / "late" / "test", ["cat", "dog"], 5, seed=1)
    (folder / "late" / "test" / "cat" / "broken.png").write_bytes(whole[: len(whole) // 2])
    for name in ("finished", "stopped", "bent"):
        shutil.copytree(finished, folder / name)
    write_info(folder / "stopped", {**read_info(folder / "stopped"), "status": "interrupted"})
    weights = folder / "bent" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"bent")
    return folder


def check(outcome: Outcome, expected: list[str]) -> None:
    assert outcome.code == 2, outcome.err
    assert outcome.out == ""
    for words in expected:
        assert words in outcome.error
    assert len(outcome.error) < 2500


PROCESSES = ("missing source", "unreadable images", "a run is there already", "too little memory")


@pytest.mark.parametrize("case", PROCESSES)
def test_the_real_command(world, case):
    before = fingerprint(world)
    words, expected = REAL[case]
    outcome = resnets(*words.split(), cwd=world, fresh=case == PROCESSES[0])
    check(outcome, expected)
    assert fingerprint(world) == before


@pytest.mark.parametrize("case", [case for case in (*REAL, *MORE) if case not in PROCESSES])
def test_variations(world, command, monkeypatch, case):
    monkeypatch.chdir(world)
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    before = fingerprint(world)
    words, expected = {**REAL, **MORE}[case]
    check(command(*words.split()), expected)
    assert fingerprint(world) == before

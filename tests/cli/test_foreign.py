"""`resnets import` and `resnets export` as a person uses them."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
import torch
import torchvision
from commandline import fingerprint, images, resnets
from naive import randomise


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    net = torchvision.models.resnet18(num_classes=3)
    randomise(net)
    path = tmp_path_factory.mktemp("foreign") / "w.pth"
    torch.save(net.state_dict(), path)
    return path


def test_in_used_and_out_again(command, file, tmp_path):
    run, names = tmp_path / "run", tmp_path / "names.txt"
    names.write_text("cat\ndog\nelk\n")
    words = ("--mean", 0.46, 0.44, 0.4, "--std", 0.23, 0.22, 0.21, "--size", 64, "--classes", names, "--json")
    outcome = command("import", file, "--out", run, *words)
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert told["run"] == str(run) and told["classes"] == 3 and told["parameters"] == 11_178_051
    assert told["preprocessing"]["mean"] == [0.46, 0.44, 0.4]
    assert told["imported"]["parity"] <= 1e-5
    assert "taken for torchvision's: images are prepared" in outcome.err
    assert "Largest difference of the logits" in outcome.err

    photos = images(tmp_path / "photos", ["cat", "dog", "elk"], 2, side=70)
    outcome = command("predict", run, photos, "--json")
    assert outcome.code == 0, outcome.err
    assert {top["class"] for row in json.loads(outcome.out) for top in row["top"]} == {"cat", "dog", "elk"}
    outcome = command("evaluate", run, photos, "--json")
    assert outcome.code == 0 and json.loads(outcome.out)["n"] == 6
    outcome = command("evaluate", run)
    assert outcome.code == 2 and "name some: resnets evaluate" in outcome.error
    before = fingerprint(run)
    outcome = command("train", "--resume", "--out", run)
    assert outcome.code == 2 and "no training to resume" in outcome.error
    assert fingerprint(run) == before

    outcome = command("export", run, "--to", "torchvision", "--out", tmp_path / "back.pth", "--json")
    assert outcome.code == 0, outcome.err
    told = json.loads(outcome.out)
    assert told["load"] in outcome.err and "torchvision.models.resnet18(num_classes=3)" in told["load"]
    again = torch.load(tmp_path / "back.pth", weights_only=True)
    expected = torch.load(file, weights_only=True)
    assert again.keys() == expected.keys() and all(torch.equal(again[key], expected[key]) for key in expected)


@pytest.fixture(scope="module")
def world(file: Path) -> Path:
    """The folder of `file`, with one of every mistake in it."""
    state = torch.load(file, weights_only=True)
    del state["layer1.0.conv2.weight"]
    torch.save(state, file.parent / "broken.pth")
    (file.parent / "taken").write_text("")
    return file.parent


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("import gone.pth --out run", "gone.pth: no such weights file"),
        ("import w.pth", "--out"),
        ("import w.pth --out taken", "already there"),
        ("import w.pth --out run --origin tmim", 'Did you mean "timm"?'),
        ("import w.pth --out run --crop 1.2", "--crop"),
        ("import w.pth --out run --mean 0.5 0.5", "one value for each of 3 channels"),
        ("import w.pth --out run --mean 118 112 103", "--value-range 255"),
        ("import w.pth --out run --classes gone.txt", "gone.txt"),
        ("import broken.pth --out run", "layer1.0.conv2.weight"),
        ("export gone --to torchvision --out x.pth", "no such run folder"),
        ("export gone --to torchvision", "--out names the file"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(command, world, monkeypatch, words, expected):
    monkeypatch.chdir(world)
    before = fingerprint(world)
    outcome = command(*shlex.split(words))
    assert outcome.code == 2 and outcome.out == ""
    assert expected in outcome.error
    assert fingerprint(world) == before


def test_the_real_command_refuses_a_pickle_without_running_it(tmp_path):
    class Evil:
        def __reduce__(self):
            import os

            return os.mkdir, (str(tmp_path / "owned"),)

    torch.save({"model": Evil()}, tmp_path / "w.pth")
    outcome = resnets("import", tmp_path / "w.pth", "--out", tmp_path / "run")
    assert outcome.code == 2 and "would run code" in outcome.error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["w.pth"]

"""`resnets inspect`: the papers' figures through the command, on a terminal, in a pipe and as JSON."""

from __future__ import annotations

import json
import re
import time

import pytest
from commandline import resnets

from resnets import ZOO, spec

# shared/REFERENCE.md: parameters to the last digit, multiply-adds in G as published (1512.03385, torchvision)
PUBLISHED = {
    "resnet18": (11_689_512, 1.814), "resnet34": (21_797_672, 3.664), "resnet50": (25_557_032, 4.089),
    "resnet101": (44_549_160, 7.801), "resnet152": (60_192_808, 11.514), "plain18": (11_515_688, None),
    "plain34": (21_623_848, None), "resnet34-A": (21_623_848, None), "resnet34-C": (22_716_840, None),
    "vgg19": (143_667_240, 19.6), "resnet20": (269_722, None), "resnet32": (464_154, None),
    "resnet44": (658_586, None), "resnet56": (853_018, None), "resnet110": (1_727_962, None),
    "resnet20-B": (269_722 + 2_752, None),
}  # fmt: skip


@pytest.fixture(scope="module")
def documents():
    """The documents of all published networks, from one command."""
    outcome = resnets("inspect", *PUBLISHED, "--json")
    assert (outcome.code, outcome.err) == (0, "")
    return {document["name"]: document for document in json.loads(outcome.out)}


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_figures(documents, name):
    document = documents[name]
    parameters, giga = PUBLISHED[name]
    assert document["parameters"] == parameters == sum(layer["parameters"] for layer in document["layers"])
    assert document["multiply_adds"] == sum(layer["multiply_adds"] for layer in document["layers"])
    if giga is not None:
        digits = len(str(giga).partition(".")[2])
        assert round(document["multiply_adds"] / 1e9, digits) == giga
    assert document["depth"] == spec(name).depth
    assert str(document["depth"]) in re.findall(r"\d+", name) or name == "vgg19"


def test_one_name_gives_one_document(command):
    document = json.loads(command("inspect", "resnet101", "--json").out)
    assert document["depth_sum"] == "1 + 3x(3+4+23+3) + 1 = 101"
    assert document["receptive_field"] == {"min": 11, "max": 971}
    assert {"name", "depth", "parameters", "multiply_adds", "layers", "stages", "memory", "paths"} <= set(document)
    keys = "name kind output kernel stride groups parameters multiply_adds memory receptive_field inputs"
    assert all(set(layer) == set(keys.split()) for layer in document["layers"])


def test_paths_are_safe_for_every_reader_of_json(documents):
    paths = documents["resnet110"]["paths"]
    assert int(paths["count"]) == 2**54
    assert (paths["log2_count"], paths["units"]) == (54, 54)
    assert sum(paths["shares"]) == pytest.approx(1)
    doubles = json.dumps(documents["resnet110"])
    assert max(int(number) for number in re.findall(r"(?<![\w.\"])\d+(?![\w.\"])", doubles)) < 2**53


def test_a_screen_without_colours_in_a_pipe(command):
    start = time.process_time()
    outcome = command("inspect", "resnet1202")
    assert time.process_time() - start < 10  # about 2 s on an idle machine; the room above it is for a busy one
    assert (outcome.code, outcome.err) == (0, "")
    lines = outcome.out.splitlines()
    assert len(lines) <= 24 and max(map(len, lines)) <= 110
    assert "\x1b" not in outcome.out
    assert "2^600 paths" in outcome.out
    assert "19,421,274" in outcome.out


def test_three_side_by_side(command):
    lines = command("inspect", "vgg19", "plain34", "resnet34").out.splitlines()
    assert lines[0].split() == ["vgg19", "plain34", "resnet34"]
    assert max(map(len, lines)) <= 120
    assert len(lines) <= 24


def test_layers_follow_the_figures(command):
    printed = command("inspect", "resnet20", "--layers").out
    assert printed.index("1 + 2x(3+3+3) + 1 = 20") < printed.index("layer1.0.conv1")
    both = command("inspect", "resnet20", "plain20", "--layers").out
    assert both.count("layer3.0.conv1") == 2


def test_size_is_that_of_the_images(command):
    document = json.loads(command("inspect", "resnet20", "--size", "64", "--json").out)
    assert document["input"] == [3, 64, 64]
    assert document["multiply_adds"] == 4 * (ZOO["resnet20"].multiply_adds - 640) + 640


def test_run_folders_specifications_and_weights_files(command, finished, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(spec("resnet20", norm="group").to_dict()))
    outcome = command("inspect", finished, path, finished / "weights.safetensors", "--json")
    run, mine, weights = json.loads(outcome.out)
    described = json.loads((finished / "run.json").read_text())
    assert run["name"] == finished.name
    assert run["depth"] == 8
    assert run["parameters"] == weights["parameters"] == described["parameters"]
    assert run["input"] == weights["input"]
    assert (mine["name"], mine["parameters"]) == ("mine", ZOO["resnet20"].parameters)


@pytest.mark.parametrize(
    ("words", "help"),
    [
        ("inspect", "resnet50"),
        ("inspect resnt50", "did you mean 'resnet50'?"),
        ("inspect resnet20 resnet19", "resnet20"),
        ("inspect resnet50-imagenet --size 8", "too deep for images of 8x8"),
        ("inspect resnet20 --size 0", "--size"),
        ("inspect resnet20,nrom=group", "did you mean 'norm'?"),
        ("inspect missing.json", "missing.json"),
        ("inspect missing.pth", "missing.pth"),
        ("inspect resnet20 --layer", "--layer"),
    ],
)
def test_bad_input_is_one_line(command, words, help):
    outcome = command(*words.split())
    assert outcome.code == 2
    assert help in outcome.error
    assert outcome.out == ""


def test_a_folder_that_is_no_run(command, tmp_path):
    outcome = command("inspect", tmp_path)
    assert outcome.code == 2
    assert "run.json" in outcome.error

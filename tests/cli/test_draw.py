"""`resnets draw`: where files go, what is said, and that the pictures of the docs are what their commands draw."""

from __future__ import annotations

import json
import re
import shlex
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from resnets import cli

PAGE = Path(__file__).parents[2] / "docs" / "DRAWINGS.md"
COMMANDS = re.findall(r"^```bash\n(resnets draw .*?)```", PAGE.read_text(encoding="utf-8"), re.S | re.M)


def run(capsys, *words):
    code = cli.main(["draw", *map(str, words)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def words_of(path):
    """What an SVG says, in its order: matplotlib leaves outlined texts as comments."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.parse(path, parser).getroot()
    return [node.text.strip() for node in root.iter() if node.tag is ElementTree.Comment]


def test_without_out_the_file_is_called_like_the_networks(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run(capsys, "resnet8", "resnet14,norm=group") == (0, "resnet8-resnet14-norm-group.svg\n", "")
    assert run(capsys, "resnet8", "--unit", "2.1") == (0, "resnet8-unit-2.1.svg\n", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "resnet8-resnet14-norm-group.svg", "resnet8-unit-2.1.svg",
    ]  # fmt: skip


def test_a_file_is_replaced_only_when_it_is_named(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    there = tmp_path / "resnet8.svg"
    there.write_text("mine")
    code, out, err = run(capsys, "resnet8")
    assert (code, out, there.read_text()) == (2, "", "mine")
    assert err.startswith("error: resnet8.svg is there already") and "--out" in err and err.count("\n") == 1
    assert run(capsys, "resnet8", "--out", there)[0] == 0
    assert "<svg" in there.read_text()


def test_json_is_one_document(capsys, tmp_path):
    path = tmp_path / "unit.png"
    code, out, err = run(capsys, "resnet8", "--unit", "typical", "--out", path, "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"out": str(path), "networks": ["resnet8"], "unit": "typical"}
    assert path.read_bytes().startswith(b"\x89PNG")


def test_the_images_size_is_what_was_asked(capsys, tmp_path):
    run(capsys, "resnet18", "--size", "96", "--out", tmp_path / "x.svg")
    assert [word for word in words_of(tmp_path / "x.svg") if word.startswith("size")] == [
        f"size: {side}" for side in (96, 48, 24, 12, 6, 3, 1)
    ]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "no network to draw"),
        (["resnt18"], "did you mean 'resnet18'"),
        (["resnet8", "--unit", "5.1"], "it has 3 stages"),
        (["resnet8", "--unit"], "--unit"),
        (["resnet8", "--out", "x.gif"], "ends in .svg, .png or .pdf"),
        (["resnet8", "--out", "no/such/x.svg"], "there is no folder no/such"),
        (["resnet18", "--size", "0"], "--size"),
        (["resnet8", "--unti", "1.1"], "Did you mean --unit?"),
    ],
    ids=" ".join,
)
def test_slips_are_told_in_one_line(capsys, tmp_path, monkeypatch, words, expected):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *words)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ") and expected in err
    assert list(tmp_path.iterdir()) == []


def test_every_picture_of_the_page_has_its_command():
    pictures = re.findall(r"\]\((images/[^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert [shlex.split(command)[-1] for command in COMMANDS] == [f"docs/{picture}" for picture in pictures]
    assert len(pictures) > 5


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: Path(shlex.split(command)[-1]).stem)
def test_the_pictures_of_the_page_are_what_their_commands_draw(capsys, tmp_path, command):
    *words, out = shlex.split(command.replace("\\\n", " "))[2:]
    assert run(capsys, *words, tmp_path / "drawn.svg")[0] == 0
    committed = PAGE.parents[1] / out
    assert words_of(tmp_path / "drawn.svg") == words_of(committed)

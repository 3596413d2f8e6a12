"""The files that drawings are written to: their bytes, their measures, and what is refused."""

from __future__ import annotations

import subprocess
import sys

import pytest
from drawings import Drawn
from PIL import Image

import resnets
from resnets import InputError
from resnets.inspection.drawing import DPI


def drawn(tmp_path, what, **options):
    return Drawn(resnets.draw(what, tmp_path / "drawing.svg", **options))


@pytest.mark.slow
def test_the_same_drawing_has_the_same_bytes(tmp_path):
    command = "import resnets, sys; resnets.draw(['resnet20', 'resnet110'], sys.argv[1])"
    for suffix in ("svg", "png", "pdf"):
        here, there = tmp_path / f"here.{suffix}", tmp_path / f"there.{suffix}"
        resnets.draw(["resnet20", "resnet110"], here)
        if suffix == "svg":  # another process hashes differently
            subprocess.run([sys.executable, "-c", command, str(there)], check=True, timeout=240)
        else:
            resnets.draw(["resnet20", "resnet110"], there)
        assert here.read_bytes() == there.read_bytes()


def test_a_png_has_the_svgs_measures_at_200_dots_an_inch(tmp_path):
    width, height = drawn(tmp_path, "resnet18").size
    image = Image.open(resnets.draw("resnet18", tmp_path / "drawing.PNG"))
    assert image.size == pytest.approx((width / 72 * 200, height / 72 * 200), abs=1)
    assert DPI == 200
    colours = image.convert("RGB").getcolors(1 << 24)
    assert len(colours) > 50 and max(colours)[1] == (255, 255, 255)


def test_a_name_is_drawn_as_it_stands(tmp_path):
    figure = drawn(tmp_path, resnets.spec("resnet20").replace(name="$x_1$ <&> 残差\n" + "y" * 90))
    assert figure.words["title-0:0"].startswith("$x_1$")
    assert figure.words["title-0:0"].endswith("y…")


@pytest.mark.parametrize(
    ("what", "options", "expected"),
    [
        ("resnet20", {"unit": "5.1"}, "no stage 5 in resnet20: it has 3 stages"),
        ("resnet20", {"unit": "2.9"}, "no unit 2.9 in resnet20: its stage 2 has 3"),
        ("resnet20", {"unit": "0.1"}, "no stage 0"),
        ("resnet20", {"unit": "layer2.7"}, "unknown unit 'layer2.7' of resnet20; did you mean 'layer2.[0-2]'"),
        ("vgg19", {"unit": "typical"}, "vgg19 has no units"),
        ("resnt20", {}, "did you mean 'resnet20'"),
        ([], {}, "nothing to draw"),
    ],
)
def test_errors_teach_and_nothing_is_written(tmp_path, what, options, expected):
    with pytest.raises(InputError, match=expected):
        resnets.draw(what, tmp_path / "x.svg", **options)
    assert list(tmp_path.iterdir()) == []


def test_units_have_three_names(tmp_path):
    found = [drawn(tmp_path, "resnet20", unit=word).ids for word in ("2.1", "stage2.unit1", "layer2.0")]
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("place", ["x.jpg", "x", "missing/x.svg"])
def test_impossible_files_are_refused(tmp_path, place):
    with pytest.raises(InputError, match=r"ends in \.svg, \.png or \.pdf|there is no folder"):
        resnets.draw("resnet20", tmp_path / place)


def test_a_folder_in_the_way(tmp_path):
    (tmp_path / "x.svg").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        resnets.draw("resnet20", tmp_path / "x.svg")
    assert [path.name for path in tmp_path.iterdir()] == ["x.svg"]

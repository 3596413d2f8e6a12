from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from resnets.data import examine, montage, open_source
from resnets.errors import InputError


@pytest.fixture
def damaged(class_folders, make_picture):
    """A folder with one of each trouble."""
    root = class_folders(
        {"train/ant": 4, "train/bee": 3, "train/empty": 0, "train/cat": 2, "test/ant": 2, "test/dog": 1}, size=(20, 10)
    )
    train = root / "train"
    (train / "ant" / "001.png").write_bytes(b"not an image")
    (train / "bee" / "000.png").write_bytes((train / "bee" / "000.png").read_bytes()[:70])
    shutil.copy(train / "ant" / "002.png", root / "test" / "ant" / "copy.png")
    Image.open(train / "ant" / "003.png").save(train / "bee" / "same.bmp")  # the same pixels, another class and format
    make_picture(99, (64, 48)).convert("CMYK").save(train / "cat" / "big.jpg")
    (train / "cat" / "notes.txt").write_text("x")
    return root


def test_the_doctor_examines_what_training_refuses(damaged):
    with pytest.raises(InputError):
        open_source(damaged)
    report = json.loads(json.dumps(examine(str(damaged))))
    assert report["name"] == str(damaged)
    assert report["splits"]["train"] == {"n": 11, "classes": {"ant": 4, "bee": 4, "cat": 3, "dog": 0, "empty": 0}}
    assert report["splits"]["test"]["n"] == 4
    assert report["classes"] == ["ant", "bee", "cat", "dog", "empty"]
    assert [entry["path"] for entry in report["unreadable"]] == [
        str(damaged / "train" / "ant" / "001.png"),
        str(damaged / "train" / "bee" / "000.png"),
    ]
    assert all(entry["reason"] for entry in report["unreadable"])
    assert report["empty_classes"] == [{"split": "train", "class": "empty"}]
    assert report["class_differences"] == {"test": {"missing": ["bee", "cat", "empty"], "extra": ["dog"]}}
    assert report["ignored_files"] == 1
    assert report["modes"] == {"RGB": 12, "CMYK": 1}
    assert report["formats"] == {"PNG": 11, "BMP": 1, "JPEG": 1}
    assert report["sizes"]["counts"] == {"20x10": 12, "64x48": 1}
    assert (report["sizes"]["min"], report["sizes"]["median"], report["sizes"]["max"]) == ([20, 10], [20, 10], [64, 48])


def test_duplicates_across_splits_come_first(damaged):
    across, within = examine(str(damaged))["duplicates"]
    assert across == {
        "splits": ["train", "test"],
        "paths": [str(damaged / "train" / "ant" / "002.png"), str(damaged / "test" / "ant" / "copy.png")],
        "classes": ["ant"],
        "across": True,
    }
    assert within["splits"] == ["train"]
    assert within["classes"] == ["ant", "bee"]
    assert not within["across"]


def test_a_sound_source_has_nothing_to_tell():
    report = examine(open_source("digits"))
    assert report["splits"]["train"]["n"] + report["splits"]["test"]["n"] == 1797
    assert report["sizes"]["counts"] == {"8x8": 1797}
    assert report["modes"] == {"L": 1797}
    assert not any(report[key] for key in ("unreadable", "empty_classes", "class_differences", "duplicates", "notes"))


def test_nothing_readable_at_all(class_folders):
    root = class_folders({"cat": 1})
    (root / "cat" / "000.png").write_bytes(b"")
    report = examine(root)
    assert len(report["unreadable"]) == 1
    assert report["sizes"] == {"counts": {}, "distinct": 0, "min": None, "median": None, "max": None}


def test_no_source_at_all(tmp_path):
    for text in (tmp_path / "nowhere", tmp_path):
        with pytest.raises(InputError):
            examine(text)


def test_the_montage_shows_a_row_for_each_class(damaged, tmp_path):
    path = tmp_path / "new" / "sheet.png"
    montage(str(damaged), path, columns=3, tile=20)
    with Image.open(path) as sheet:
        assert sheet.format == "PNG"
        pixels = np.asarray(sheet.convert("RGB"))
    assert pixels.shape[0] == 24 + 4 + 5 * 24
    assert ((pixels == (200, 30, 30)).all(axis=-1)).sum() > 20  # the crosses of the unreadable ones


def test_the_montage_of_many_classes_shows_some(class_folders, tmp_path):
    root = class_folders({f"class {k:02}": 1 for k in range(30)})
    montage(open_source(root), tmp_path / "sheet.png", rows=5, tile=16)
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height < 150


def test_a_montage_that_cannot_be_written(class_folders, tmp_path):
    root = class_folders({"a": 1, "b": 1})
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="cannot be written"):
        montage(root, tmp_path / "file" / "sheet.png")

"""CSV files: how they are read, images and their targets, splits, what the doctor says."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from resnets.cli import main
from resnets.data import (
    Augmentation,
    Target,
    choose_preprocessing,
    eval_batches,
    examine,
    hold_out,
    load_split,
    open_source,
    train_batches,
)
from resnets.data.packed import Streamed
from resnets.data.random import sort_keys
from resnets.data.targets import parse_header
from resnets.errors import InputError
from resnets.sheet import read_sheet


def picture(path: Path, value: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((6, 6), value, np.uint8)).save(path)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Forty grey pictures whose value is the target `value (grey)`, and a second target."""
    lines = ["file,value (grey),half [%]"]
    for k in range(40):
        picture(tmp_path / "pictures" / f"{k:02}.png", k)
        lines.append(f"pictures/{k:02}.png,{k},{k / 2}")
    (tmp_path / "photos.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "photos.csv"


# Reading


@pytest.mark.parametrize(
    ("header", "target"),
    [
        ("angle (deg)", Target("angle", "deg")),
        ("angle [deg]", Target("angle", "deg")),
        (" load  ( kN/m ) ", Target("load", "kN/m")),
        ("log(y)", Target("log(y)")),
        ("x[0]", Target("x[0]")),
        ("(deg)", Target("(deg)")),
        ("angle ()", Target("angle ()")),
        ("a (b) (c)", Target("a (b)", "c")),
    ],
)
def test_units_stand_in_the_header(header, target):
    assert parse_header(header) == target


CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\x00\ufeff"), max_size=12)


@given(
    rows=st.lists(st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=8),
    ends=st.sampled_from(["\n", "\r\n"]),
)
@settings(max_examples=60, deadline=None)
def test_what_the_csv_module_writes_is_read_again(tmp_path_factory, rows, ends):
    path = tmp_path_factory.mktemp("csv") / "x.csv"
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator=ends).writerows([["a", "b", "c"], *rows])
    path.write_bytes(text.getvalue().encode("utf-8-sig"))
    wanted = [[cell.strip() for cell in row] for row in rows]
    wanted = [row for row in wanted if any(row)]
    if not wanted:
        with pytest.raises(InputError, match="no rows"):
            read_sheet(path, "x.csv")
        return
    sheet = read_sheet(path, "x.csv")
    assert sheet.headers == ("a", "b", "c")
    assert [list(row) for row in zip(*sheet.columns, strict=True)] == wanted


def test_lines_are_counted_as_an_editor_does(tmp_path):
    (tmp_path / "x.csv").write_bytes(b'\r\na,b\r\n1,"two\r\nlines"\r\n\r\n3,4\r\n')
    sheet = read_sheet(tmp_path / "x.csv", "x.csv")
    assert sheet.lines.tolist() == [3, 6]
    assert sheet.column("b").tolist() == ["two\r\nlines", "4"]


@pytest.mark.parametrize("separator", [";", "\t"])
def test_decimal_commas_are_said_aloud(tmp_path, separator):
    lines = [["x", "y (m)", "word"], *([f"{k},5", f"{k}", "1,234"] for k in range(20))]
    (tmp_path / "x.csv").write_text("\n".join(map(separator.join, lines)))
    source = open_source(tmp_path / "x.csv", target="x", cut=False)
    assert source.splits["train"].labels[:, 0].tolist() == [k + 0.5 for k in range(20)]
    assert any("decimal commas are read as points (40 numbers)" in note for note in source.notes)


def test_a_file_with_points_has_no_decimal_commas(tmp_path):
    (tmp_path / "x.csv").write_text("x;y\n" + "".join(f"{k}.5;{k},5\n" for k in range(20)))
    with pytest.raises(InputError, match=r"line 2, target column 'y': '0,5' is no number"):
        open_source(tmp_path / "x.csv", target="y")


def test_thousands_or_fractions(tmp_path):
    (tmp_path / "x.csv").write_text("x;y\n" + "".join(f"{k};{k + 1},500\n" for k in range(20)))
    with pytest.raises(InputError, match=r"line 2, column 'y': 1,500 may mean one thousand or a fraction"):
        open_source(tmp_path / "x.csv", target="y")


# Images and targets


def test_images_and_targets_stay_together_on_every_way(photos):
    source = open_source(photos)
    assert source.task == "regression"
    assert source.classes == ()
    assert source.targets == (Target("value", "grey"), Target("half", "%"))
    assert not source.mirrors
    cut = hold_out(source, 0.25, 1)
    assert {name: len(split) for name, split in cut.splits.items()} == {"train": 24, "validation": 8, "test": 8}
    chosen = choose_preprocessing(cut.splits["train"])
    seen = []
    for name, split in cut.splits.items():
        assert split.labels.dtype == np.float64
        for limit in (None, 0):
            data = load_split(split, chosen, training=False, memory_limit=limit)
            assert isinstance(data, Streamed) == (limit == 0)
            batches = [*eval_batches(data, preprocessing=chosen, batch_size=5)]
            if name == "train":
                batches += train_batches(
                    data,
                    preprocessing=chosen,
                    augmentation=Augmentation(),
                    batch_size=6,
                    seed=3,
                    epoch=1,
                    num_classes=0,
                )
            for batch in batches:
                assert batch.targets.dtype == torch.float64
                pixels = (batch.images * chosen.std[0] + chosen.mean[0]) * 255
                torch.testing.assert_close(pixels.mean((1, 2, 3)), batch.targets[:, 0].float(), atol=1e-3, rtol=0)
                torch.testing.assert_close(batch.targets[:, 1], batch.targets[:, 0] / 2)
        seen += split.labels[:, 0].tolist()
    assert sorted(seen) == list(range(40))


def test_the_targets_that_are_chosen(photos):
    for words in ("half", ["half [%]"]):
        source = open_source(photos, target=words)
        assert source.targets == (Target("half", "%"),)
        assert any("ignored beside the images" in note and "value (grey)" in note for note in source.notes)
    whole, part = open_source(photos), open_source(photos, target="half")
    np.testing.assert_array_equal(whole.splits["test"].labels[:, 1:], part.splits["test"].labels)


def test_targets_cannot_be_mixed(photos):
    source = open_source(photos)
    chosen = choose_preprocessing(source.splits["train"])
    data = load_split(source.splits["train"], chosen, training=True)
    with pytest.raises(InputError, match="mixup and cutmix mix classes"):
        next(
            train_batches(
                data, preprocessing=chosen, augmentation=Augmentation(mixup=0.2), batch_size=6, seed=0, epoch=0,
                num_classes=2,
            )
        )  # fmt: skip


def test_files_may_be_absolute_and_named_differently(photos, tmp_path):
    lines = photos.read_text().splitlines()[1:]
    elsewhere = tmp_path / "lists" / "other.csv"
    elsewhere.parent.mkdir()
    elsewhere.write_text("Image,y\n" + "".join(f"{tmp_path}/{line.rsplit(',', 1)[0]}\n" for line in lines))
    source = open_source(elsewhere, cut=False)
    assert source.splits["train"].name(3) == str(tmp_path / "pictures" / "03.png")
    assert len(source.splits["train"]) == 40


def test_rows_of_one_image_stay_in_one_split(photos, tmp_path):
    rows = [f"./pictures/{k % 15:02}.png,{k % 7}" for k in range(60)]
    photos.write_text("file,y\n" + "\n".join(rows))
    cut = hold_out(open_source(photos), 0.3, 5)
    names = {part: {split.name(k) for k in range(len(split))} for part, split in cut.splits.items()}
    assert sum(len(split) for split in cut.splits.values()) == 60
    assert {part: len(found) for part, found in names.items()} == {"train": 8, "validation": 4, "test": 3}
    assert not (names["train"] & names["test"] or names["train"] & names["validation"])


def test_a_split_column(photos):
    words = ["train"] * 20 + ["Val"] * 10 + ["test"] * 10
    lines = photos.read_text().splitlines()
    photos.write_text("\n".join(f"{line},{word}" for line, word in zip(lines, ["split", *words], strict=True)))
    source = open_source(photos)
    assert {name: split.labels[0, 0] for name, split in source.splits.items()} == {
        "train": 0,
        "validation": 20,
        "test": 30,
    }
    assert source.notes == ()
    photos.write_text(photos.read_text().replace("Val", "vall", 1))
    with pytest.raises(InputError, match="line 22, column 'split': 'vall' is no split"):
        open_source(photos)


def test_a_folder_of_csv_files(photos, tmp_path, class_folders):
    lines = photos.read_text().splitlines()
    for name, part in {"train": lines[1:21], "val": lines[21:31], "test": lines[31:]}.items():
        (tmp_path / f"{name}.csv").write_text("\n".join([lines[0], *part]))
    source = open_source(tmp_path)
    assert {name: len(split) for name, split in source.splits.items()} == {"train": 20, "validation": 10, "test": 10}
    (tmp_path / "test.csv").write_text("file\npictures/01.png\n")
    source = open_source(tmp_path)
    assert list(source.splits) == ["train", "validation"]
    assert any("nothing can be tested on it" in note for note in source.notes)
    (tmp_path / "valid.csv").write_text("x")
    with pytest.raises(InputError, match=r"both val\.csv and valid\.csv"):
        open_source(tmp_path)
    (tmp_path / "valid.csv").unlink()
    (tmp_path / "train.csv").unlink()
    with pytest.raises(InputError, match=r"no train\.csv"):
        open_source(tmp_path)


def test_class_folders_come_before_a_train_csv(class_folders):
    root = class_folders({"train/cat": 2, "train/dog": 2})
    (root / "train.csv").write_text("a,b\n" + "1,2\n2,3\n" * 10)
    assert open_source(root).classes == ("cat", "dog")
    assert open_source(root, target="b").targets == (Target("b"),)


def test_missing_images_are_named(photos):
    for k in (3, 5):
        (photos.parent / "pictures" / f"{k:02}.png").unlink()
    with pytest.raises(InputError) as problem:
        open_source(photos)
    assert "2 images are not there: pictures/03.png (line 5), pictures/05.png (line 7)" in str(problem.value)
    assert str(photos.parent) in str(problem.value)
    report = examine(photos)
    assert [Path(item["path"]).name for item in report["unreadable"]] == ["03.png", "05.png"]


def test_unreadable_images_behave_as_elsewhere(photos):
    (photos.parent / "pictures" / "04.png").write_bytes(b"no picture")
    train = open_source(photos, cut=False).splits["train"]
    chosen = choose_preprocessing(train)
    with pytest.raises(InputError, match=r"1 unreadable image of 40: .*04\.png"):
        load_split(train, chosen, training=False)
    data = load_split(train, chosen, training=False, skip_unreadable=True)
    assert data.labels[:, 0].tolist() == [k for k in range(40) if k != 4]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("file,label\n" + "pictures/01.png,cat\n" * 12, "line 2, column 'label': 'cat' is no number; choose what"),
        ("file\npictures/01.png\n", "a column of images but none to predict"),
        ("file,y\n" + "pictures/01.png,inf\n" * 12, "line 2, column 'y': 'inf' is not finite"),
        ("file,y\n" + "pictures/01.png,\n" * 12, "every value of the target 'y' is missing"),
        ("file,y\n" + "pictures/01.png,1\n" * 12, "the target 'y' is 1 in every training row"),
        ("file,y\npictures/01.png,1\n", "has 1 row with a target; a regression needs 10 or more"),
    ],
)
def test_lists_of_images_that_are_refused_in_one_line(photos, content, message):
    photos.write_text(content)
    with pytest.raises(InputError, match=message) as problem:
        open_source(photos)
    assert "\n" not in str(problem.value)


@pytest.mark.parametrize("target", ["file", "split"])
def test_columns_that_are_no_target(photos, target):
    lines = photos.read_text().splitlines()
    photos.write_text("\n".join(f"{line},{word}" for line, word in zip(lines, ["split", *["train"] * 40], strict=True)))
    with pytest.raises(InputError, match=f"the column '{target}' names the"):
        open_source(photos, target=target)


# Cutting


@given(
    values=st.lists(st.integers(0, 30), min_size=12, max_size=60),
    fraction=st.floats(0.02, 0.9),
    seed=st.integers(0, 2**63),
)
@settings(max_examples=50, deadline=None)
def test_holding_out_of_a_regression_is_exact_spread_and_disjoint(tmp_path_factory, values, fraction, seed):
    values = [0, 30, *values]
    path = tmp_path_factory.mktemp("table") / "x.csv"
    path.write_text("x,y\n" + "".join(f"{k},{value}\n" for k, value in enumerate(values)))
    source = open_source(path, target="y", cut=False)
    n, wanted = len(values), max(1, round(fraction * len(values)))
    cut = hold_out(source, fraction, seed)
    train, validation = cut.splits["train"], cut.splits["validation"]
    assert (len(validation), len(train)) == (wanted, n - wanted)
    names = [split.name(k) for split in (train, validation) for k in range(len(split))]
    assert sorted(names) == sorted(source.splits["train"].name(k) for k in range(n))
    # One of each run of neighbours: the k-th of those held out lies in the k-th of `wanted` equal parts of all values.
    for value, part in zip(np.sort(validation.labels[:, 0]), np.array_split(np.sort(values), wanted), strict=True):
        assert part[0] <= value <= part[-1]
    again = hold_out(source, fraction, seed).splits["validation"]
    assert [again.name(k) for k in range(wanted)] == [validation.name(k) for k in range(wanted)]


def test_the_test_split_is_a_fixed_fifth(photos, tmp_path):
    test = open_source(photos).splits["test"]
    chosen = np.argsort(sort_keys(0, 0, np.arange(40), 8))[:8]  # the rule, which must never change
    np.testing.assert_array_equal(test.labels[:, 0], np.sort(chosen))
    # It depends on the place of a row alone: neither on the target nor on the name of the file.
    (tmp_path / "other.csv").write_text("a,b\n" + "".join(f"{k},{-k}\n" for k in range(40)))
    other = open_source(tmp_path / "other.csv", target="b").splits["test"]
    np.testing.assert_array_equal(other.labels[:, 0], -test.labels[:, 0])


# The doctor


def test_the_doctor_of_a_list_of_images(photos, capsys, tmp_path):
    picture(tmp_path / "pictures" / "07.png", 0)  # row 7 is now the picture of row 0
    report = examine(photos)
    value = report["targets"][0]
    assert (value["name"], value["unit"], value["n"]) == ("value", "grey", 40)
    assert (value["mean"], value["min"], value["max"]) == (19.5, 0, 39)
    assert value["sd"] == pytest.approx(np.arange(40).std())
    assert value["splits"]["test"]["n"] == report["splits"]["test"]["n"] == 8
    (duplicate,) = report["duplicates"]
    assert duplicate["across"]
    assert sorted(duplicate["targets"]) == [[0, 0], [7, 3.5]]
    assert report["sizes"]["counts"] == {"6x6": 40}
    assert not main(["data", str(photos), "--montage", str(tmp_path / "sheet.png")])
    said = capsys.readouterr().out
    assert "value (grey)" in said
    assert "duplicates across splits: 1" in said
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.height > 10 * 64


def test_the_row_counter_that_pandas_writes_is_left_out_aloud(tmp_path):
    file = tmp_path / "frame.csv"
    file.write_text(",x,,y\n0,5,1,1.5\n1,7,1,2.5\n2,9,1,3.5\n", encoding="utf-8")
    sheet = read_sheet(file, "frame.csv")
    assert sheet.headers == ("x", "column 3", "y")  # the other nameless column does not count
    assert list(sheet.column("x")) == ["5", "7", "9"]
    assert "only counts the rows" in sheet.notes[0]

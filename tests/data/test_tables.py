"""Tables as sources: what is read, refused, left out and said."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from resnets.cli import main
from resnets.data import (
    BUILTIN,
    Augmentation,
    Preprocessing,
    TableSplit,
    Target,
    choose_preprocessing,
    eval_batches,
    examine,
    fit_encoding,
    hold_out,
    load_split,
    montage,
    numbers,
    open_source,
    train_batches,
)
from resnets.data.random import epoch_order
from resnets.errors import InputError


def rows(n: int = 20, header: str = "x,y", line: str = "{k},{k}.5") -> str:
    return header + "\n" + "".join(line.format(k=k) + "\n" for k in range(n))


def test_columns_lines_and_units(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text("colour,x,load [kN],split\nred,1,10,train\n\nblue,2,20,test\n" + "red,3,30,train\n" * 9)
    source = open_source(path, target="load")
    assert source.tabular
    assert source.task == "regression"
    assert source.targets == (Target("load", "kN"),)
    train, test = source.splits["train"], source.splits["test"]
    assert isinstance(train, TableSplit)
    assert list(train.columns) == ["colour", "x"]
    assert (train.name(1), test.name(0)) == (f"{path} line 5", f"{path} line 4")
    assert test.labels.tolist() == [[20.0]]
    assert numbers(test, "x").tolist() == [2.0]
    assert numbers(test, "colour") is None


def test_rows_without_a_target_are_left_out_aloud(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(rows() + "20,NA\n21,\n22,?\n23,null\n")
    source = open_source(path, target="y")
    assert sum(len(split) for split in source.splits.values()) == 20
    assert f"{path}: 4 rows without a target left out (lines 22, 23, 24, …)" in source.notes


@pytest.mark.parametrize(
    ("content", "target", "message"),
    [
        (rows(), "z", r"has no column 'z' \(it has x, y\)"),
        (rows(header="x,price"), "prise", "did you mean 'price'"),
        (rows(), None, r"is a table: say which column to predict with --target \(it has x, y\)"),
        (rows(), ["y", "y"], "the target 'y' is given twice"),
        (rows(line="{k},a{k}"), "y", r"line 2, target column 'y': 'a0' is no number"),
        (rows(line="{k},1_{k}"), "y", "'1_0' is no number"),
        (rows(line="{k},"), "y", "every value of the target 'y' is missing"),
        (rows() + "1,nan\n", "y", "line 22, target column 'y': 'nan' is not finite"),
        (rows() + "1,-inf\n", "y", "line 22, target column 'y': '-inf' is not finite"),
        (rows() + "1,1e999\n", "y", "'1e999' is not finite"),
        (rows(1), "y", "has 1 row with a target; a regression needs 10 or more"),
        (rows(9), "y", "has 9 rows with a target"),
        (rows(0), "y", "a header but no rows"),
        ("", "y", "is empty; expected a header line"),
        ("\n\n , \n", "y", "is empty; expected a header line"),
        (rows(header="y,y"), "y", r"line 1 has the header 'y' twice \(columns 1 and 2\)"),
        (rows(header="x,y (m)", line="{k},{k}") + "3\n", "y", "line 22 has 1 cell, the header 2"),
        (rows() + "3,4,5\n", "y", "line 22 has 3 cells, the header 2"),
        (rows() + '3,"4\n', "y", "line 22 cannot be read as CSV"),
        (rows(line="{k},7"), "y", "the target 'y' is 7 in every training row"),
        (rows(line="{k},{k}"), "y", "the column 'x' is the target 'y' once more"),
        (rows(header="y (m),y (s)", line="{k},1{k}"), "y", r"'y' could be y \(m\) or y \(s\)"),
        (rows() + "1,-1e60\n", "y", r"line 22, target column 'y': '-1e60' is beyond 1e\+50; correct it"),
        (rows(line="{k},0.1", n=30), "y", "the target 'y' is 0.1 in every training row"),  # whose deviation is 1e-17
        (rows(line="{k},{k}e-300"), "y", "the target 'y' is too small to reckon with.*give it another unit"),
        (rows(line="{k},1.00000000000000{k:02}"), "y", "is 1 in every training row but for rounding"),
        (rows(header="split,y", line="test,{k}"), "y", "no row is for training, only test"),
        (rows().encode() + b"\xff,1\n", "y", "line 22 is not UTF-8 text"),
        (rows().encode("utf-16"), "y", "is no text file"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "y", "is no text file"),
    ],
)
def test_tables_that_are_refused_in_one_line(tmp_path, content, target, message):
    path = tmp_path / "table.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InputError, match=message) as problem:
        open_source(path, target=target)
    assert "\n" not in str(problem.value)
    assert str(path) in str(problem.value)


@pytest.mark.parametrize(
    ("content", "target"), [(rows(), "z"), (rows(line="{k},a"), "y"), (rows(1), "y"), (rows(header="y,y"), "y")]
)
def test_the_command_refuses_them_in_one_line(tmp_path, capsys, content, target):
    path = tmp_path / "table.csv"
    path.write_text(content)
    assert main(["train", str(path), "--target", target, "--arch", "resmlp", "--out", str(tmp_path / "run")]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("\n") == 1
    assert said.err.startswith(f"error: {path}")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("word", ["inf", "-Infinity", "1e999"])
def test_an_infinite_predictor_is_refused_with_its_line(tmp_path, word):
    path = tmp_path / "table.csv"
    path.write_text(rows() + f"{word},3\n")
    train = open_source(path, target="y", cut=False).splits["train"]
    with pytest.raises(InputError, match=f"table.csv line 22, column 'x': '{word}' is not finite"):
        fit_encoding(train)


@pytest.mark.parametrize("word", ["nan", "NaN", "-nan"])
@pytest.mark.parametrize("line", ["{k},{k}.5", "red{k},{k}.5"])
def test_an_explicit_nan_is_no_missing_value(tmp_path, word, line):
    (tmp_path / "table.csv").write_text(rows(line=line) + f"{word},3\n")
    train = open_source(tmp_path / "table.csv", target="y", cut=False).splits["train"]
    with pytest.raises(InputError, match=f"line 22, column 'x': '{word}' is no number; correct it, or leave the cell"):
        fit_encoding(train)


def test_a_table_that_is_only_evaluated_may_be_small(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(rows(1))
    assert len(open_source(path, target="y", cut=False).splits["train"]) == 1
    path.write_text(rows(2, line="{k},{k}"))  # that a column is the target may be chance
    assert len(open_source(path, target="y", cut=False).splits["train"]) == 2


@pytest.mark.parametrize("words", ["b, total (kg)", ["b, total"], "a,b, total (kg)", ["a", "b, total (kg)"], "a, x"])
def test_a_header_may_have_a_comma(tmp_path, words):
    path = tmp_path / "table.csv"
    path.write_text(rows(header='a,"b, total (kg)",x', line="{k}.5,1{k},3{k}"))
    if words == "a,b, total (kg)":  # not to be told from three columns
        with pytest.raises(InputError, match="has no column 'b'"):
            open_source(path, target=words)
        return
    expected = {"a, x": [Target("a"), Target("x")]}.get(str(words), [Target("b, total", "kg")])
    source = open_source(path, target=words)
    assert list(source.targets) == ([Target("a"), *expected] if len(words) == 2 else expected)
    assert [target["name"] for target in examine(path, target=words)["targets"]] == [t.name for t in source.targets]


def test_a_folder_without_a_source_is_told_of_csv_files(tmp_path):
    with pytest.raises(InputError, match=r"is empty: expected .* or train\.csv; or name a CSV file"):
        open_source(tmp_path)
    (tmp_path / "loads.csv").write_text(rows())
    with pytest.raises(InputError, match=r"no train\.csv; name the file that you mean, such as .*loads\.csv"):
        open_source(tmp_path)


def test_headers_that_would_be_called_the_same_keep_their_units(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(rows(header="y (m),y (s)", line="{k},1{k}"))
    (target,) = open_source(path, target="y (s)").targets
    assert target == Target("y (s)", "s")
    assert open_source(path, target=target.name).targets == (target,)  # as a resumed run asks for it


def test_a_target_of_what_is_no_csv_file(class_folders):
    root = class_folders({"cat": 2, "dog": 2})
    for source in ("digits", root):
        with pytest.raises(InputError, match="has classes; --target 'y' is for CSV files"):
            open_source(source, target="y")


def test_diabetes_is_scikit_learns():
    from sklearn.datasets import load_diabetes

    assert "diabetes" in BUILTIN
    source = open_source("diabetes")
    assert source.targets == (Target("progression"),)
    assert open_source("diabetes", target="progression").targets == source.targets
    with pytest.raises(InputError, match=r"no column 'progess'.*did you mean 'progression'"):
        open_source("diabetes", target="progess")
    bunch = load_diabetes(scaled=False)
    parts = {"train": np.arange(442) % 5 != 4, "test": np.arange(442) % 5 == 4}
    for name, chosen in parts.items():
        split = source.splits[name]
        assert isinstance(split, TableSplit)
        assert list(split.columns) == list(bunch.feature_names)
        np.testing.assert_array_equal(np.column_stack(list(split.columns.values())), bunch.data[chosen])
        np.testing.assert_array_equal(split.labels[:, 0], bunch.target[chosen])
    assert (source.splits["test"].name(0), source.splits["train"].name(4)) == ("diabetes[4]", "diabetes[5]")


def test_batches_are_rows_in_the_epochs_order():
    train = hold_out(open_source("diabetes")).splits["train"]
    encoding = fit_encoding(train)
    data = load_split(train, encoding, training=True)
    assert data.features.shape == (len(train), 1, 1, 10)
    given = {"preprocessing": encoding, "batch_size": 50}
    batches = [*train_batches(data, augmentation=Augmentation(), seed=7, epoch=2, num_classes=0, **given)]
    order = np.concatenate([batch.indices.numpy() for batch in batches])
    np.testing.assert_array_equal(order, epoch_order(len(train), seed=7, epoch=2)[: len(order)])
    assert len(batches) == len(train) // 50
    for batch in batches:
        assert torch.equal(batch.images, data.features[batch.indices])
        np.testing.assert_array_equal(batch.targets.numpy(), train.labels[batch.indices.numpy()])
    later = [*train_batches(data, augmentation=Augmentation(), seed=7, epoch=2, num_classes=0, start=3, **given)]
    assert torch.equal(later[0].images, batches[3].images)
    whole = torch.cat([batch.images for batch in eval_batches(data, **given)])
    assert torch.equal(whole, data.features)
    assert data.to("cpu").name(0) == train.name(0)


def test_rows_are_no_images_and_images_no_rows(class_folders):
    table, pictures = open_source("diabetes").splits["train"], open_source("digits").splits["train"]
    encoding, chosen = fit_encoding(table), Preprocessing(8, 1, (0.5,), (0.5,))
    with pytest.raises(InputError, match="diabetes is a table, and the network takes images"):
        load_split(table, chosen, training=False)
    with pytest.raises(InputError, match="is an image, and the network takes rows of a table"):
        load_split(pictures, encoding, training=False)
    with pytest.raises(InputError, match="is an image, and the network takes rows of a table"):
        next(eval_batches(load_split(pictures, chosen, training=False), preprocessing=encoding, batch_size=4))
    with pytest.raises(InputError, match=r"diabetes\[\d+\] is a row of a table, not an image"):
        choose_preprocessing(table)


def test_the_doctor_of_a_table(tmp_path, capsys):
    path = tmp_path / "table.csv"
    lines = [f"{k},{'red' if k % 3 else 'blue'},{'' if k == 4 else k},5,{k}" for k in range(30)]
    path.write_text("x,colour,gap,same,y\n" + "\n".join([*lines, *["99,red,1,5,0"] * 20]))
    report = examine(path, target="y")
    columns = {column["name"]: column for column in report["columns"]}
    assert [column["kind"] for column in columns.values()] == ["numeric", "category", "numeric", "left out"]
    assert columns["same"]["reason"] == "every value is 5"
    assert columns["gap"]["missing"] == 1
    assert columns["colour"]["levels"] == {"red": 40, "blue": 10}
    assert (columns["x"]["min"], columns["x"]["max"]) == (0, 99)
    (duplicate,) = report["duplicates"]
    assert duplicate["across"]
    assert len(duplicate["paths"]) == 20
    assert report["targets"][0]["n"] == 50
    assert not main(["data", str(path)])  # without a target: all its columns
    said = capsys.readouterr().out
    assert "2 levels: red 40, blue 10" in said
    assert "every value is 5" in said
    with pytest.raises(InputError, match="no images to draw"):
        montage(open_source(path, target="y"), tmp_path / "sheet.png")


def test_the_doctor_is_not_stopped_by_an_infinity(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text(rows(30, "x,y", "{k},{k}") + "inf,3\n")
    report = examine(path)
    assert any("'inf' is not finite" in note for note in report["notes"])

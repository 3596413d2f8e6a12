"""CSV files of observed and fitted values: read as csv and numpy read them, refused in one line that names the line."""

from __future__ import annotations

import csv
from datetime import date, timedelta

import numpy as np
import pytest

from resnets.errors import InputError
from resnets.residuals.reading import LEVELS, read_cases

HEADER = ["y", "yhat", "x", "colour", "day", "id"]


def rows(count=12):
    generator = np.random.default_rng(1)
    return [
        [f"{1.5 * k:.3f}", f"{1.4 * k:.3f}", repr(float(generator.normal())), "red" if k % 3 else "blue",
         str(date(2026, 1, 1) + timedelta(days=2 * k)), f"case-{k}"]
        for k in range(count)
    ]  # fmt: skip


@pytest.fixture
def write(tmp_path):
    def made(header=HEADER, body=None):
        path = tmp_path / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *(rows() if body is None else body)])
        return path

    return made


def refusal(path, **asked):
    with pytest.raises(InputError) as caught:
        read_cases(path, **({"observed": "y", "fitted": "yhat"} | asked))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_column_gets_its_place(write):
    body = rows()
    cases = read_cases(write(), observed="y", fitted="yhat", predictors=["x", "x"], order="day")
    columns = dict(zip(HEADER, zip(*body, strict=True), strict=True))
    for found, name in ((cases.observed, "y"), (cases.fitted, "yhat"), (cases.predictors["x"], "x")):
        np.testing.assert_array_equal(found, np.array(columns[name], np.float64))
    assert list(cases.predictors) == ["x"]
    assert list(cases.unused) == ["colour = red"]  # the other of two levels would say the same
    np.testing.assert_array_equal(cases.unused["colour = red"], [word == "red" for word in columns["colour"]])
    np.testing.assert_array_equal(cases.order, 2.0 * np.arange(len(body)))
    assert cases.order_label == "day (days since 2026-01-01)"
    assert cases.names == columns["id"]
    assert cases.notes == ()


def test_a_category_is_a_design_without_its_first_level(write):
    body = [[*row[:3], "abc"[k % 3], *row[4:]] for k, row in enumerate(rows())]
    cases = read_cases(write(body=body), observed="y", fitted="yhat", predictors=["colour"])
    assert list(cases.predictors) == ["colour = b", "colour = c"]
    assert list(read_cases(write(body=body), observed="y", fitted="yhat").unused) == [
        "x", "colour = a", "colour = b", "colour = c",
    ]  # fmt: skip


def test_what_is_left_out_is_said(write):
    extra = [[str(k), "same", "1e999" if k == 4 else "1", "" if k == 5 else "2", f"word {k}"] for k in range(30)]
    body = [[*row, *more] for row, more in zip(rows(30), extra, strict=True)]
    path = write([*HEADER, "", "same", "huge", "gaps", "words"], body)
    cases = read_cases(path, observed="y", fitted="yhat")
    assert list(cases.unused) == ["x", "colour = red"]
    said = "\n".join(cases.notes)
    for words in (
        "a column without a name",
        "'same'",
        "'huge' was left out: line 6",
        "'gaps'",
        "1 of its 30",
        "'words'",
    ):
        assert words in said
    assert "'day'" in said and "--order" in said
    assert "no --predictor was given" in said and len(cases.notes) == 7


def test_a_runs_predictions_have_no_unused_predictors(write):
    header = ["name", *(f"{name} {part}" for name in ("a b", "c") for part in ("observed", "fitted", "low", "high"))]
    body = [[f"row {k}", *map(str, range(k, k + 8))] for k in range(10)]
    cases = read_cases(write(header, body), observed="c observed", fitted="c fitted")
    assert dict(cases.unused) == {} and "a run's predictions" in cases.notes[0]
    np.testing.assert_array_equal(cases.observed, np.arange(4, 14))
    header[-1] = "another"
    assert len(read_cases(write(header, body), observed="c observed", fitted="c fitted").unused) == 6


def test_lines_are_counted_as_an_editor_counts(tmp_path):
    path = tmp_path / "table.csv"
    path.write_text('y,yhat,remark\n1,2,"two\nlines"\n\n3,4,one\n5,oops,one\n', encoding="utf-8-sig")
    assert "line 6: 'yhat' is 'oops'" in refusal(path)
    path.write_text(path.read_text("utf-8-sig").replace("oops", "6"))
    assert read_cases(path, observed="y", fitted="yhat").names == ("line 2", "line 5", "line 6")


@pytest.mark.parametrize("value", ["", "nan", "inf", "-1e200", "-Infinity", "1_000", "0x10", "3,5", "none"])
def test_needed_columns_hold_finite_numbers(write, value):
    for place, name in enumerate(("y", "yhat", "x")):
        body = rows()
        body[3][place] = value
        assert f"line 5: '{name}' is " in refusal(write(body=body), predictors=["x"])


def test_numbers_too_small_to_be_squared(write):
    body = [[*row[:2], f"{k + 1}e-300", *row[3:]] for k, row in enumerate(rows())]
    assert "all of 'x' is below 1e-50" in refusal(write(body=body), predictors=["x"])
    assert "'x' was left out" in read_cases(write(body=body), observed="y", fitted="yhat").notes[1]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"observed": "Y"}, "no column 'Y' (--observed); did you mean 'y'?"),
        ({"fitted": "price"}, "its columns are y, yhat, x"),
        ({"predictors": ["x", "weight"]}, "no column 'weight' (--predictor)"),
        ({"order": "time"}, "no column 'time' (--order)"),
        ({"fitted": "y"}, "'y' is given as --observed and as --fitted"),
        ({"predictors": ["yhat"]}, "'yhat' is given as --fitted and as --predictor"),
        ({"order": "colour"}, "line 2: 'colour' is 'blue', where a number or an ISO date"),
        ({"observed": "colour"}, "line 2: 'colour' is 'blue'"),
    ],
)
def test_columns_that_will_not_do(write, asked, words):
    assert words in refusal(write(), **asked)


def test_a_predictor_of_many_words_is_no_category(write):
    assert f"30 different words, such as 'case-0', more than a category's {LEVELS}" in refusal(
        write(body=rows(30)), predictors=["id"]
    )


def test_files_that_will_not_do(tmp_path, write):
    assert refusal(tmp_path / "no.csv") == f"no such file: {tmp_path / 'no.csv'}"
    assert "Is a directory" in refusal(tmp_path)
    assert "header 'y' twice" in refusal(write(["y", "yhat", "x", "y ", "day", "id"]))
    assert "line 4 has 2 cells, the header 6" in refusal(write(body=[*rows(2), ["1", "2"]]))
    assert "no rows" in refusal(write(body=[]))
    path = tmp_path / "table.csv"
    for content, words in (
        (b"", "is empty"),
        (b"y,yhat\n\xff\xfe,1\n", "not UTF-8"),
        (b'y,yhat\n"1,2\n', "cannot be read as CSV"),
    ):
        path.write_bytes(content)
        assert words in refusal(path)


def test_dates_with_and_without_a_zone_are_ordered(write):
    body = rows(3)
    for row, day in zip(body, ("2026-01-01T12:00", "2026-01-01T12:00+12:00", "2026-01-02"), strict=True):
        row[4] = day
    cases = read_cases(write(body=body), observed="y", fitted="yhat", order="day")
    np.testing.assert_allclose(cases.order, [0.5, 0.0, 1.0])

"""The encoding of tables against scikit-learn, its JSON, and what it says of other tables."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resnets.data import TableEncoding, TableSplit, fit_encoding, open_rows, open_source
from resnets.data.columns import MOST_LEVELS, Category, Numeric
from resnets.errors import InputError


def table(columns: dict[str, list[str]]) -> TableSplit:
    n = len(next(iter(columns.values())))
    cells = {}
    for name, words in columns.items():
        cells[name] = np.empty(n, dtype=object)
        cells[name][:] = words
    return TableSplit(cells, np.zeros((n, 0)), "table.csv", np.arange(n) + 2)


@st.composite
def mixed_columns(draw) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The same columns for training and for new rows, numbers and words with gaps."""
    number = st.floats(-1e6, 1e6, allow_subnormal=False).map(repr)
    word = st.sampled_from(["red", "green", "blue", "7", "True"])
    parts = []
    for n in (draw(st.integers(4, 30)), draw(st.integers(1, 10))):
        gap = st.sampled_from(["", "NA", "?", "null"])
        parts.append(
            {
                "a": draw(st.lists(st.one_of(number, number, number, gap), min_size=n, max_size=n)),
                "b": draw(st.lists(number, min_size=n, max_size=n)),
                "c": draw(st.lists(st.one_of(word, word, gap), min_size=n, max_size=n)),
            }
        )
    train, new = parts
    train["a"][:2], train["b"][:2], train["c"][:3] = ["0.5", "-3"], ["1", "2"], ["red", "red", "blue"]
    return train, new


@given(mixed_columns())
@settings(max_examples=40, deadline=None)
def test_scikit_learn_encodes_the_same(parts):
    from sklearn.impute import SimpleImputer
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    train, new = parts
    encoding = fit_encoding(table(train))
    gaps = {"", "NA", "?", "null"}
    expected = []
    for name in "ab":
        before, after = (
            np.array([[np.nan if word in gaps else float(word)] for word in part[name]]) for part in (train, new)
        )
        imputer = SimpleImputer(strategy="median").fit(before)
        scaler = StandardScaler().fit(imputer.transform(before))
        expected.append(scaler.transform(imputer.transform(after)))
        if np.isnan(before).any():
            expected.append(np.isnan(after))
    before, after = (np.array([["zz" if word in gaps else word] for word in part["c"]]) for part in (train, new))
    expected.append(OneHotEncoder(handle_unknown="ignore", sparse_output=False).fit(before).transform(after))
    matrix = encoding.rows(table(new))
    assert matrix.dtype == np.float32
    assert matrix.shape == (len(new["a"]), len(encoding)) == (len(new["a"]), len(encoding.features))
    np.testing.assert_allclose(matrix, np.hstack(expected), rtol=1e-5, atol=1e-5)


def test_what_is_done_is_said():
    n = 60
    columns = {
        "x": [str(k) for k in range(n)],
        "gap": ["" if k % 10 == 0 else str(k * k) for k in range(n)],
        "id": [f"case {k}" for k in range(n)],
        "same": ["5.0"] * n,
        "none": ["NA", ""] * (n // 2),
        "word": ["one"] * n,
        "slip": ["1,5" if k == 7 else str(k % 4) for k in range(n)],
        "flag": ["true", "false", ""] * (n // 3),
    }
    encoding = fit_encoding(table(columns))
    assert dict(encoding.left_out) == {
        "id": "text that differs in every row, such as 'case 0'",
        "same": "every value is 5",
        "none": "every value is missing",
        "word": "every value is 'one'",
    }
    assert encoding.features == (
        "x", "gap", "gap missing", "slip=0", "slip=1", "slip=1,5", "slip=2", "slip=3", "flag=false", "flag=true",
        "flag=missing",
    )  # fmt: skip
    said = " / ".join(encoding.notes)
    assert "column 'gap' is missing in 6 of 60 training rows: the median" in said
    assert "column 'slip' is taken as words: table.csv line 9 has '1,5' among 59 numbers" in said
    assert "column 'flag' is missing in 20 of 60 training rows: a level of its own" in said
    for name in ("id", "same", "none", "word"):
        assert f"column '{name}' left out" in said


def test_only_the_commonest_levels_are_kept():
    words = [f"w{k:03}" for k in range(MOST_LEVELS + 30) for _ in range(3 if k >= 30 else 2)]
    encoding = fit_encoding(table({"word": words}))
    (column,) = encoding.columns
    assert isinstance(column, Category)
    assert column.levels == tuple(f"w{k:03}" for k in range(30, MOST_LEVELS + 30))
    assert f"has {MOST_LEVELS + 30} levels: the {MOST_LEVELS} commonest are kept (71 % of rows)" in encoding.notes[0]
    matrix, notes = encoding.encode(table({"word": ["w000", "w030"]}))
    assert matrix.sum(axis=1).tolist() == [0, 1]
    assert notes == ()


def test_nothing_to_predict_from():
    with pytest.raises(InputError, match=r"no column to predict from .*'id': text that differs in every row"):
        fit_encoding(table({"id": ["a", "b", "c"]}))
    with pytest.raises(InputError, match="no column to predict from"):
        fit_encoding(TableSplit({}, np.zeros((3, 1)), "table.csv", np.arange(3)))


def test_a_word_among_measurements_is_a_slip():
    words = [str(k / 2) for k in range(30)]
    with pytest.raises(InputError, match=r"table\.csv line 19, column 'x': '8,5' among 29 numbers; correct it"):
        fit_encoding(table({"x": [word.replace("8.5", "8,5") for word in words]}))
    fit_encoding(table({"x": ["a" if k % 3 else word for k, word in enumerate(words)]}))  # most are words


def test_numbers_too_large_are_refused():
    with pytest.raises(InputError, match="column 'x' are too large"):
        fit_encoding(table({"x": ["1e308", "-1e308", "1e308", "1e308"]}))
    encoding = fit_encoding(table({"x": ["1", "2", "3"]}))
    with pytest.raises(InputError, match=r"line 2, column 'x': 1e\+200 is too large"):
        encoding.rows(table({"x": ["1e200"]}))


# Another table


def test_columns_go_by_name(tmp_path):
    train = table({"x": ["1", "2", "4"], "colour": ["red", "blue", "red"], "id": ["p", "q", "r"]})
    encoding = fit_encoding(train)
    new = tmp_path / "new.csv"
    new.write_text("other;colour;id;x\n0;green;z;\n1;blue;y;2\n")
    matrix, notes = encoding.encode(open_rows(new))
    np.testing.assert_array_equal(matrix[1], encoding.rows(train)[1])
    np.testing.assert_allclose(matrix[0], [(2 - 7 / 3) / np.std([1, 2, 4]), 0, 0], rtol=1e-6)
    assert notes == (
        f"{new}: column 'x' is missing in 1 of 2 rows, but never was in the training rows:"
        " their median 2 stands for it",
        f"{new}: column 'colour' has 'green', which the training rows do not, in 1 of 2 rows: none of its levels",
        f"{new}: the network does not take the column 'other': ignored",
    )


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"colour": ["red"]}, r"lacks the column x, which the network takes \(it has colour\)"),
        ({"z": ["red"]}, "lacks the columns x, colour"),
        ({"x": ["1", "two"], "colour": ["red", "red"]}, "line 3, column 'x': 'two' is no number"),
        ({"x": ["inf"], "colour": ["red"]}, "line 2, column 'x': 'inf' is not finite"),
        ({"x": ["1", "NaN"], "colour": ["red", "red"]}, "line 3, column 'x': 'NaN' is no number; correct it, or leave"),
        ({"x": ["1"], "colour": ["nan"]}, "line 2, column 'colour': 'nan' is no number"),
    ],
)
def test_tables_that_do_not_fit(columns, message):
    encoding = fit_encoding(table({"x": ["1", "2", "4"], "colour": ["red", "blue", "red"]}))
    with pytest.raises(InputError, match=message):
        encoding.rows(table(columns))


# JSON


def test_json_comes_back_and_encodes_the_same():
    train = open_source("diabetes").splits["train"]
    encoding = fit_encoding(train)
    again = TableEncoding.from_dict(json.loads(json.dumps(encoding.to_dict())))
    assert again == encoding
    assert hash(again) == hash(encoding)
    np.testing.assert_array_equal(again.rows(train), encoding.rows(train))
    mixed = fit_encoding(table({"x": ["1", "", "4"], "c": ["a", "a", "?"], "id": ["p", "q", "r"], "s": ["1"] * 3}))
    assert TableEncoding.from_dict(json.loads(json.dumps(mixed.to_dict()))) == mixed


SOUND = TableEncoding((Numeric("x", 1.0, 2.0, 1.5), Category("c", ("a", "b"))), (("id", "text"),)).to_dict()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "image"}, "kind must be 'table'"),
        ({"colums": []}, "unknown key 'colums'.*did you mean 'columns'"),
        ({"columns": []}, "columns must name one or more"),
        ({"columns": {}}, "columns must be a list"),
        ({"columns": [3]}, "kind must be 'numeric' or 'category', not None"),
        ({"columns": [{"kind": "numeric", "name": "x"}]}, "it lacks mean, std, median, indicator"),
        ({"columns": [{**SOUND["columns"][0], "std": 0}]}, "std must be positive"),
        ({"columns": [{**SOUND["columns"][0], "mean": float("nan")}]}, "mean must be a finite number, not nan"),
        ({"columns": [{**SOUND["columns"][0], "median": 10**400}]}, "median must be a finite number"),
        ({"columns": [{**SOUND["columns"][0], "mean": True}]}, "mean must be a finite number"),
        ({"columns": [{**SOUND["columns"][0], "indicator": 1}]}, "indicator must be true or false"),
        ({"columns": [{**SOUND["columns"][0], "name": 3}]}, "name must be text"),
        ({"columns": [{**SOUND["columns"][1], "levels": ["a", "a"]}]}, "levels must be words, each another"),
        ({"columns": [{**SOUND["columns"][1], "levels": [["a"]]}]}, "levels must be words"),
        ({"columns": [{**SOUND["columns"][1], "levels": "ab"}]}, "levels must be words"),
        ({"columns": [{**SOUND["columns"][1], "levels": []}]}, "levels must name one or more"),
        ({"columns": [{**SOUND["columns"][1], "levels": list(map(str, range(99)))}]}, "50 or fewer, not 99"),
        ({"columns": [SOUND["columns"][0]] * 2}, "column 'x' is there twice"),
        ({"left_out": [{"name": "x", "reason": "r"}]}, "column 'x' is there twice"),
        ({"left_out": [{"name": "z"}]}, "it lacks reason"),
        ({"left_out": [{"name": [], "reason": "r"}]}, "must be text"),
    ],
)
def test_hostile_json_is_refused_in_one_line(change, message):
    with pytest.raises(InputError, match=message) as problem:
        TableEncoding.from_dict({**SOUND, **change})
    assert "\n" not in str(problem.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=8,
)


@given(
    path=st.sampled_from([(), ("columns",), ("columns", 0), ("columns", 1), ("left_out",), ("left_out", 0)]),
    value=JSON,
    data=st.data(),
)
@settings(max_examples=150, deadline=None)
def test_any_json_is_an_encoding_or_an_input_error(path, value, data):
    """Whatever is put at whatever place: nothing but `InputError` is raised."""
    document = json.loads(json.dumps(SOUND))
    here = document
    for step in path:
        here = here[step]
    if isinstance(here, dict):
        here[data.draw(st.sampled_from(sorted(here)))] = value
    else:
        here.append(value)
    for given_document in (document, value):
        try:
            TableEncoding.from_dict(given_document)
        except InputError as problem:
            assert "\n" not in str(problem)

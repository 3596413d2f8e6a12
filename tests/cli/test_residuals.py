"""`resnets residuals`: the analysis of a CSV file, in words, as JSON and as a folder; one line for bad input."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from commandline import fingerprint

from resnets.residuals import folder, page
from resnets.residuals.analysis import residual_analysis
from resnets.residuals.findings import ASSUMPTIONS
from resnets.residuals.plots import plots

COLUMNS = ("--observed", "y", "--fitted", "yhat")


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """A file whose residuals bend with x and go with z, which the model did not have; its columns."""
    generator = np.random.default_rng(3)
    x, z = generator.uniform(0, 10, 150), generator.normal(size=150)
    y = 2 * x + 0.3 * (x - 5) ** 2 + 1.5 * z + generator.normal(size=150)
    columns = {"x": x, "z": z, "y": y, "yhat": np.polyval(np.polyfit(x, y, 1), x)}
    path = tmp_path_factory.mktemp("table") / "table.csv"
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *np.column_stack(list(columns.values())).tolist()])
    return path, columns


def test_the_document_is_the_analysis(command, table):
    path, columns = table
    done = command("residuals", path, *COLUMNS, "--predictor", "x", "--json")
    assert done.code == 0 and done.err == ""
    document = json.loads(done.out)
    again = residual_analysis(
        columns["y"], columns["yhat"], predictors={"x": columns["x"]}, unused={"z": columns["z"]},
        names=[f"line {k + 2}" for k in range(150)],
    )  # fmt: skip
    assert {key: document[key] for key in again.to_dict()} == json.loads(json.dumps(again.to_dict()))
    assert {one["fault"] for one in document["findings"]} == {"nonlinearity", "missing predictor"}
    for one in document["findings"]:
        assert {"assumption", "verdict", "p_value", "effect", "remedy"} <= set(one)
    assert (document["file"], document["observed"], document["fitted"]) == (str(path), "y", "yhat")


def test_a_line_for_each_assumption_and_then_what_to_do(command, table):
    done = command("residuals", table[0], *COLUMNS, "--predictor", "x")
    lines = done.out.splitlines()
    assert done.code == 0 and lines[0].startswith("150 cases")
    assert [line.split()[0] for line in lines[1:7]] == list(ASSUMPTIONS)
    assert "nonlinearity" in lines[2] and "consequence of nonlinearity" in lines[5]
    start = lines.index("What to do:")
    assert len(lines) - start == 3
    assert "z" in next(line for line in lines[start:] if line.startswith("  missing predictor:"))


def test_clean_residuals_say_so(command, tmp_path):
    generator = np.random.default_rng(0)
    fitted = np.linspace(0, 9, 80)
    rows = np.column_stack([fitted, fitted + generator.normal(size=80)]).tolist()
    path = tmp_path / "clean.csv"
    path.write_text("yhat,y\n" + "\n".join(f"{a!r},{b!r}" for a, b in rows))
    done = command("residuals", path, *COLUMNS)
    assert done.code == 0 and "Nothing is wrong" in done.out and "What to do" not in done.out
    assert json.loads(command("residuals", path, *COLUMNS, "--json").out)["findings"] == []


@pytest.fixture
def few_plots(monkeypatch):
    """Two of the plots: drawing all of them takes seconds."""
    for module in (folder, page):
        monkeypatch.setattr(
            module, "plots", lambda *given: [one for one in plots(*given) if one.name in ("fitted", "leverage")]
        )


@pytest.mark.usefixtures("few_plots")
def test_the_folder_is_ours_and_nothing_else_is(command, table, tmp_path):
    out = tmp_path / "residuals"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    words = ("residuals", table[0], *COLUMNS, "--out", out)
    done = command(*words, "--predictor", "x", "--json")
    assert done.code == 0 and done.err.splitlines()[-1] == f"report: {out / 'report.html'}"
    kept = json.loads((out / "residuals.json").read_text())
    assert {path for path in fingerprint(out) if "." in path} == {*kept["files"], "notes.txt"}
    assert {key: kept[key] for key in kept if key not in ("tool", "files")} == json.loads(done.out)
    assert (out / "figures" / "leverage.svg").exists()

    assert command(*words).code == 0  # without a design there is no leverage: its old figure goes
    kept = json.loads((out / "residuals.json").read_text())
    assert not (out / "figures" / "leverage.svg").exists()
    assert {path for path in fingerprint(out) if "." in path} == {*kept["files"], "notes.txt"}

    (out / "figures" / "mine.svg").write_text("mine")
    before = fingerprint(out)
    assert "mine.svg is not of the earlier analysis" in command(*words).error
    assert fingerprint(out) == before


@pytest.mark.parametrize("name", ["report.html", "residuals.json", "figures/mine.svg"])
def test_files_of_others_stay(command, table, tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text('{"tool": "another", "files": ["residuals.json"]}')
    before = fingerprint(tmp_path)
    done = command("residuals", table[0], *COLUMNS, "--out", tmp_path)
    assert done.code == 2 and "name another folder with --out" in done.error
    assert fingerprint(tmp_path) == before


def test_bad_input_is_one_line_and_writes_nothing(command, table, tmp_path):
    path, out = table[0], tmp_path / "out"
    (tmp_path / "short.csv").write_text("y,yhat\n1,2\n3,5\n")
    cases = [
        ((tmp_path / "no.csv", *COLUMNS), "no such file"),
        ((path, "--observed", "Y", "--fitted", "yhat"), "did you mean 'y'?"),
        ((path, "--observed", "y"), "--fitted"),
        ((tmp_path / "short.csv", *COLUMNS), "at least 8 cases"),
        ((path, *COLUMNS, "--predictor", "y"), "as --observed and as --predictor"),
    ]
    for words, said in cases:
        done = command("residuals", *words, "--out", out)
        assert done.code == 2 and done.out == "" and said in done.error
        assert not out.exists()
    assert "is a file" in command("residuals", path, *COLUMNS, "--out", path).error

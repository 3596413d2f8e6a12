"""Every figure of the README's table comes from a result file."""

import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = sorted((ROOT / "benchmarks" / "results").glob("accuracy-*.json"))


@pytest.fixture
def benchmarks(benchmark_module):
    return benchmark_module("tables")


def test_the_readme_is_what_the_result_files_say(benchmarks):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert benchmarks.replaced(text) == text, "run: python -m benchmarks tables"


def test_the_page_of_benchmarks_is_what_the_result_files_say(benchmarks):
    text = (ROOT / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert benchmarks.page(text) == text, "run: python -m benchmarks tables"
    assert all(text.count(f"<!-- {name}:begin -->") == 1 for name in benchmarks.SECTIONS)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_a_result_tells_how_it_was_made(path):
    result = json.loads(path.read_text(encoding="utf-8"))
    for key in ("commit", "command", "versions", "hardware", "seeds", "n", "test_top1"):
        assert result[key], key
    assert len(result["seeds"]) == result["n"] == len(result["test_top1"]) == len(set(result["seeds"]))
    assert result["test_top1_mean"] == pytest.approx(sum(result["test_top1"]) / result["n"])


def test_the_figures_of_reliability_are_what_the_result_file_says(benchmarks):
    from benchmarks import reliability

    text = reliability.PAGE.read_text(encoding="utf-8")
    assert reliability.replaced(text) == text, "run: python -m benchmarks.reliability"
    kept = json.loads(reliability.FILE.read_text(encoding="utf-8"))
    assert kept.keys() == reliability.LONG.keys()
    for item in kept.values():
        file, test = item["test"].split("::")
        assert f"def {test}(" in (ROOT / "tests" / "reliability" / file).read_text(encoding="utf-8")

"""Every figure of the README's table comes from a result file."""

import json
import re
from pathlib import Path

import matplotlib
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


@pytest.mark.parametrize("name", ["residuals", "learnt"])
def test_other_pages_are_what_the_result_files_say(benchmark_module, name):
    generator = benchmark_module(name)
    text = generator.PAGE.read_text(encoding="utf-8")
    assert generator.page(text) == text, "run: python -m benchmarks tables"


def test_the_plots_are_what_the_result_files_say(benchmark_module):
    plots = benchmark_module("plots")
    made = plots.plots()
    assert {path.name for path in plots.FOLDER.iterdir()} == {f"{name}.svg" for name in made} and made
    pinned = re.search(r"^matplotlib==(.+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.M)
    for name, content in made.items():
        kept = (plots.FOLDER / f"{name}.svg").read_bytes()
        if pinned and pinned[1] == matplotlib.__version__:
            assert kept == content, "run: python -m benchmarks tables"
        else:  # another matplotlib draws the same words elsewhere
            assert re.findall(rb"<!-- (.*?) -->", kept) == re.findall(rb"<!-- (.*?) -->", content)


def test_a_plots_bars_are_the_ratios(benchmark_module):
    plots = benchmark_module("plots")
    for name, count in (("inference", 16), ("training", 18), ("photographs", 3)):
        chart = plots.PLOTS[name](plots.read(name))
        text = (ROOT / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
        shown = [bar for line in chart.lines for bar in zip(line.y, line.low, line.high, strict=True)]
        assert len(shown) >= count
        assert all(f"{middle:.2f} ({least:.2f}–{most:.2f})" in text for middle, least, most in shown)
        assert f"](benchmarks/{name}.svg)" in text


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


def test_the_page_of_studies_is_what_the_result_files_say(benchmark_module):
    studies = benchmark_module("studies")
    text = studies.PAGE.read_text(encoding="utf-8")
    assert studies.page(text) == text, "run: python -m benchmarks tables"
    recorded = sorted((ROOT / "benchmarks" / "results").glob("study-*.json"))
    assert recorded
    for path in recorded:
        found = json.loads(path.read_text(encoding="utf-8"))
        assert f"](studies/{path.stem}.svg)" in text and (ROOT / "docs" / "studies" / f"{path.stem}.svg").exists()
        assert found["commit"] and found["versions"] and found["seeds"] and found["verdict"] in text
        # What is called shown has an interval on one side of its boundary, from as many values as it says.
        for item in found["findings"]:
            assert item["n"] <= len(found["seeds"]) and (
                item["shown"] == "not shown" or item["low"] <= item["effect"] <= item["high"]
            )

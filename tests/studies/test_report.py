"""The report of a study: its numbers are study.json's, it stands alone, and it can be read at every width."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import asdict

import pytest
import study
from hypothesis import example, given
from hypothesis import strategies as st
from webpage import HOSTILE, Page, Tables, browsed

from resnets.architecture import ORDERINGS, Shortcut, parse_shortcut
from resnets.architecture.zoo import ZOO
from resnets.studies import papers
from resnets.studies.numbers import number
from resnets.studies.report import write_report
from resnets.studies.statistics import finding
from resnets.studies.store import plain


def page_of(folder, document):
    path = write_report(folder, json.loads(json.dumps(document, allow_nan=False)))
    assert path == folder / "report.html" and list(folder.iterdir()) == [path]
    return path.read_text(encoding="utf-8")


def few(document, *names):
    """The same with these charts alone: charts take the time."""
    return document | {"charts": [chart for chart in document["charts"] if chart["name"] in names]}


DOCUMENT = few(study.document(), "curves", "shortcuts", "landscape", "gradients")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("study"), DOCUMENT)


def says(shown, value):
    """Whether the words are the value, rounded."""
    if value is None:
        return shown == "–"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return shown == {True: "yes", False: "no"}.get(value, value)
    read = float(shown.replace(",", ""))
    return read == value if isinstance(value, int) else math.isclose(read, value, rel_tol=0.005, abs_tol=0.005)


@given(st.floats(-1e300, 1e300) | st.integers(), st.booleans())
@example(0.0999999, True)
@example(999999.999, False)
@example(-0.0, True)
def test_a_number_reads_back_as_itself(value, signed):
    text = number(value, signed=signed)
    read = float(text.replace(",", ""))
    rounding = 0.00501 if 0.1 <= abs(value) < 1e6 else 0.00501 * abs(value)
    assert abs(read - value) <= (0 if isinstance(value, int) else rounding)
    assert len(text) < 15 or isinstance(value, int)
    assert text.startswith(("+", "-")) or not signed


def test_every_table_is_the_documents(whole):
    document, found = DOCUMENT, Tables(whole).found
    for table in document["tables"]:
        caption = next(caption for caption in found if caption.startswith(table["title"]))
        head, *rows = found[caption]
        assert head == list(table["columns"])
        assert len(rows) == len(table["rows"])
        for row, wanted in zip(rows, table["rows"], strict=True):
            assert all(says(shown, value) for shown, value in zip(row, wanted, strict=True)), row
        assert (": the paper's figures" in caption) == bool(table["paper"])


def test_every_run_and_network_is_the_documents(whole):
    document, found = DOCUMENT, Tables(whole).found
    runs = next(rows for caption, rows in found.items() if caption.startswith("Every run"))[1:]
    keys = ("case", "seed", "test_error", "validation_error", "training_error", "training_loss", "seconds")
    for shown, run in zip(runs, document["runs"], strict=True):
        wanted = [*(run[key] for key in keys), run["diverged"] or "finished", run["path"]]
        assert all(says(*pair) for pair in zip(shown, wanted, strict=True)), shown
    cases = next(rows for caption, rows in found.items() if caption.startswith("What was trained"))[1:]
    for shown, case in zip(cases, document["cases"], strict=True):
        wanted = [case["name"], case["depth"], case["parameters"], case["multiply_adds"], case["facts"]["kind"]]
        assert all(says(*pair) for pair in zip(shown, wanted, strict=True)), shown


def test_every_finding_has_its_figures_and_the_papers(whole):
    text = Page(whole).text.split("Findings")[-1]
    for found in DOCUMENT["findings"]:
        part = text[text.index(found["claim"][1:]) :]
        part = part[: part.index(found["words"]) + len(found["words"]) + 200]
        shown = part.split("estimate")[1].split(found["unit"])[0]
        assert says(shown, found["effect"])
        low, high = part.split("95 % interval")[1].split(found["unit"])[0].split(" to ")
        assert says(low, found["low"]) and says(high, found["high"])
        assert f"n{found['n']}values" in part.replace("\n", "")
        assert says(part.split("d = ")[1].split("standard")[0], found["size"])
        assert part.split("\n")[0].endswith(found["shown"]) or found["shown"] == "opposite"
        assert not found["paper"] or f"The paper: {found['paper']}" in part


def test_findings_without_an_interval_say_so(tmp_path):
    values = {"lost": [math.inf, 1.0, 2.0], "alike": [2.0, 2.0, 2.0], "alone": [2.0], "none": []}
    found = [plain(asdict(finding(claim, of, unit="nats"))) for claim, of in values.items()]
    text = Page(page_of(tmp_path, few(DOCUMENT) | {"findings": found})).text.split("Findings")[-1]
    shown = [part[: part.index("effect size")].strip() for part in text.split("95 % interval")[1:]]
    wanted = ("none\nn3", "none: all values alike\nn3", "none: one value\nn1", "none\nn0")
    for part, words in zip(shown, wanted, strict=True):
        assert "".join(part.split()).startswith("".join(words.split()))
    assert "Not decided: 1 of 3 seeds diverged or have no value: lost." in text and found[0]["effect"] is None


def test_what_else_the_page_says(whole):
    document, text = DOCUMENT, Page(whole).text
    for key in ("question", "verdict", "why", "departs", "command", "started", "effect", "source"):
        assert document[key] in text, key
    for words in (
        "5 min 12 s",
        "1 of 3",
        "1 diverged",
        "0, 1, 2, 3, 4",
        "20, 32, 56",
        "150, 225",
        "2.11.0",
        "two slow cores",
    ):
        assert words in text, words
    assert text.index(document["question"]) < text.index(document["verdict"]) < text.index("Findings")
    for chart in document["charts"]:
        assert chart["caption"] in text
        assert all(line["name"] in text for line in chart["lines"])


def test_the_page_stands_alone_and_its_ids_are_its_own(whole):
    page = Page(whole)
    assert not {"script", "link", "iframe", "img", "object", "embed", "base"} & set(page.tags)
    assert "http" not in whole and "url(" not in whole.replace("url(#", "")
    assert page.tags.count("svg") == len(DOCUMENT["charts"])
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    assert {value for key, value in page.attributes if key.endswith("href")} <= {f"#{value}" for value in ids}


def hostile():
    """The document with hostile words in place of every text that may come from outside."""

    def other(value, key=""):
        if isinstance(value, dict):
            return {HOSTILE[0] if key in ("overrides", "versions") else name: other(item, name)
                    for name, item in value.items()}  # fmt: skip
        if isinstance(value, list | tuple):
            return [other(item, key) for item in value]
        kept = not isinstance(value, str) or key in ("shown", "status", "kind", "study", "group")
        return value if kept else HOSTILE[len(value) % 6]

    return other(few(study.document(1), "depth", "change"))


def test_hostile_names_stay_text(tmp_path):
    text = page_of(tmp_path, hostile())
    page = Page(text)
    assert not {"script", "img", "b"} & set(page.tags)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert "<script>alert(1)</script>" in page.text


def test_one_seed_decides_nothing_and_says_so(tmp_path):
    document = few(study.document(1))
    text = Page(page_of(tmp_path, document)).text
    assert text.count("none: one value") == 3
    assert "0 of 3" in text
    assert "+" in text and "nan" not in text.replace("(nan)", "")


def test_without_runs_or_unfinished_there_is_a_page(tmp_path):
    text = Page(page_of(tmp_path, few(study.without_runs(), "slice"))).text
    assert "Every run" not in text and "Settings" not in text and "None" not in text
    text = Page(page_of(tmp_path, few(study.document(status="running", finished=None)))).text
    assert "not finished" in text


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_in_a_browser_nothing_is_fetched_nothing_is_cut_and_no_error_is_logged(tmp_path, whole):
    bad = '<body><img src="http://example.org/x"><div style="width:2000px">wide</div><script>lost()</script>'
    pages = {"whole": whole, "hostile": page_of(tmp_path, hostile()), "bad": bad}
    seen = browsed(pages, (1280, 400), tmp_path, shutil.which("chromium"))
    for name in ("whole", "hostile"):
        for width in (1280, 400):
            found = seen[f"{name} at {width}"]
            assert found["over"] <= 0 and found["outside"] == [] and found["loaded"] == [], found
            assert found["smallest"] >= 12
            assert min(found["figures"]) > (340 if width == 400 else 450)
    assert seen["bad at 400"]["over"] > 1000 and seen["bad at 400"]["outside"] and seen["bad at 400"]["loaded"]
    # Each of the two bad frames logs a missing name and a picture that cannot be had; no other page logs anything.
    assert len(seen["console"]) <= 4 and all("lost" in line or "example" in line for line in seen["console"])
    assert any("lost is not defined" in line for line in seen["console"])


@pytest.mark.parametrize("depth", [20, 32, 44, 56, 110, 1202])
def test_the_papers_parameters_are_ours_rounded(depth):
    exact = ZOO[f"resnet{depth}"].parameters / 1e6
    shown = papers.cifar_parameters(depth)
    assert abs(shown - exact) <= (0.05 if shown > 1 else 0.005)


def test_the_papers_figures_go_by_the_packages_names():
    assert str(papers.cifar(56)) == "6.97 % ([R] table 6)"
    assert "61 ± 0.16" in str(papers.cifar(110)) and papers.cifar(26) is None
    assert papers.cifar(110, "plain").error is None and "60 %" in str(papers.cifar(110, "plain"))
    assert papers.ordering("original", 110).error == papers.shortcut("A").error
    assert [papers.ordering(word, 164).error for word in ORDERINGS] == [5.93, 6.50, 6.14, 5.91, 5.46]
    assert papers.ordering("bn-after-addition", 1001) is None
    for word in papers._SHORTCUTS:
        parse_shortcut(word, Shortcut())
    assert papers.shortcut("exclusive-gating") == papers.shortcut("exclusive-gating:-6")
    assert str(papers.shortcut("dropout")) == "fails ([I] table 1; a test error above 20 %)"
    assert papers.shortcut("scaling:0.9,0.1") is None
    assert {papers.imagenet(name) is None for name in ("plain18", "resnet152", "resnet34,shortcut=B")} == {False}
    assert asdict(papers.imagenet("plain34"))["error"] == 28.54

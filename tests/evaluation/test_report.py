"""The report: its figures are run.json's, it stands alone, and hostile names stay text."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest
from webpage import HOSTILE, Page

from resnets.evaluation import Run, write_report
from resnets.evaluation.report import interval
from resnets.evaluation.report.sections import training
from resnets.pages.page import escape

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], Path]
Make = Callable[..., Path]


def write_metrics(run: Run, steps: int = 40, *, validated: bool = True) -> None:
    with (run.path / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for step in range(1, steps + 1):
            record: dict[str, Any] = {
                "kind": "step",
                "step": step,
                "epoch": (step - 1) // 10,
                "loss": 2 * math.exp(-step / 20),
                "accuracy": 100 * (1 - math.exp(-step / 20)),
                "learning_rate": 0.1 * (1 - step / steps),
                "images_per_second": 900 + step,
            }
            file.write(json.dumps(record) + "\n")
            if step % 10 == 0:
                record |= {"kind": "epoch"}
                if validated:
                    record |= {"validation": {"loss": 1.0 / step, "top1": 50.0 + step}}
                file.write(json.dumps(record) + "\n")


def report(run: Run) -> Page:
    path = write_report(run)
    assert path == run.path / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def own_pictures(page: Page) -> bool:
    """Every picture's bytes stand in the page itself."""
    return all(str(value).startswith("data:image/") for key, value in page.attributes if key == "src")


def test_the_figures_are_those_of_run_json(run: Run) -> None:
    write_metrics(run)
    text = report(run).text
    figures = run.info["results"]["test"]
    assert f"test top-1{figures['top1']:.2f} %of {figures['n']} images" in text
    assert f"{figures['loss']:.4f}" in text
    assert f"{run.info['parameters']:,}" in text
    assert f"{run.spec.depth} weight layers" in text
    for name, accuracy in figures["per_class"].items():
        assert re.search(rf"{name}{accuracy:.2f}", text)
    assert "chosen by validation top-1" in text
    assert "test split was not used to choose anything" in text
    assert run.info["command"] in text
    assert "seed7" in text.replace("\n", "")
    assert run.info["weights"]["sha256"] in text


def test_every_chart_has_its_title_and_units(run: Run) -> None:
    write_metrics(run)
    page = report(run)
    for words in ("Loss", "cross-entropy (nats)", "Accuracy", "top-1 (%)", "learning rate", "images per second"):
        assert words in page.text
    assert page.text.count("step (weight updates)") == 4
    assert "true class" in page.text
    assert page.tags.count("svg") == 5
    assert page.tags.count("img") == 1  # the network's drawing
    labels = [value for key, value in page.attributes if key == "aria-label"]
    assert {"Loss", "Accuracy", "Learning rate", "Speed", "Confusion matrix"} <= set(labels)


def test_the_page_stands_alone_and_is_the_same_each_time(run: Run) -> None:
    write_metrics(run)
    text = write_report(run).read_text(encoding="utf-8")
    assert write_report(run).read_text(encoding="utf-8") == text
    assert "http" not in text
    assert "<script" not in text
    assert "@import" not in text
    assert "url(" not in text.replace("url(#", "")
    page = Page(text)
    assert not {"link", "iframe", "object", "embed", "base"} & set(page.tags)
    assert own_pictures(page)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))
    references = [value for key, value in page.attributes if key.endswith("href")]
    styles = re.findall(r"url\((#[^)]*)\)", text)
    assert {str(value) for value in references} | set(styles) <= {f"#{value}" for value in ids}


def hostile_run(run: Run, edit: Edit, count: int = 8) -> Run:
    """The run with hostile words in place of every text, and `count` classes."""
    names = [HOSTILE[k % len(HOSTILE)] + (str(k) if k >= len(HOSTILE) else "") for k in range(count)]

    def change(info: dict[str, Any]) -> None:
        info["spec"]["num_classes"] = count
        info["classes"] = names
        confusion = [[7 * (a == b) + (a + 2 * b) % 3 for b in range(count)] for a in range(count)]
        info["results"]["test"] |= {"confusion": confusion, "per_class": dict.fromkeys(names, 50.0), "n": 9 * count}
        info["source"] |= {
            "name": HOSTILE[0],
            "path": HOSTILE[1],
            "skipped": [{"path": HOSTILE[1], "reason": HOSTILE[0]}, {"path": HOSTILE[6], "reason": HOSTILE[3]}],
        }
        info["command"] = HOSTILE[2]
        info["arch"] = HOSTILE[3]
        info["versions"] = {HOSTILE[0]: HOSTILE[1]}
        info["recipe"][HOSTILE[0]] = [HOSTILE[1], None, True]
        info["results"]["chosen"]["by"] = HOSTILE[0]

    return Run.open(edit(run.path, change))


@pytest.mark.parametrize("count", [8, 45])
def test_hostile_names_stay_text(run: Run, edit: Edit, count: int) -> None:
    page = report(hostile_run(run, edit, count))
    assert not {"script", "b"} & set(page.tags)
    assert own_pictures(page)
    assert not [key for key, _ in page.attributes if key.startswith("on")]
    assert not [value for key, value in page.attributes if key in ("href", "src") and value and "example" in value]
    assert "<script>alert(1)</script>" in page.text
    assert "\x1b" not in page.text


def test_escape_takes_what_file_names_may_hold() -> None:
    assert escape("a<b>&\"'") == "a&lt;b&gt;&amp;&quot;&#x27;"
    assert escape("\udcff\x07\x9b") == "\ufffd" * 3
    escape("\udcff").encode("utf-8")


def test_many_classes_give_a_heat_map_and_the_worst_pairs(run: Run, edit: Edit) -> None:
    count = 120
    names = [f"kind {k:03}" for k in range(count)]

    def change(info: dict[str, Any]) -> None:
        info["spec"]["num_classes"] = count
        info["classes"] = names
        confusion = [[10 * (a == b) for b in range(count)] for a in range(count)]
        confusion[3][8] = 5
        confusion[4][9] = 2
        figures = {"confusion": confusion, "per_class": dict.fromkeys(names, 100.0), "n": 10 * count + 7}
        info["results"]["test"] |= figures

    page = report(Run.open(edit(run.path, change)))
    assert "image" in page.tags
    assert [value for key, value in page.attributes if key == "xlink:href" and str(value).startswith("data:image/png")]
    assert "kind 003kind 008533.33" in page.text.replace("\n", "")
    assert "kind 004kind 009216.67" in page.text.replace("\n", "")


def test_without_a_test_split_it_says_what_the_figures_are_worth(run: Run, edit: Edit) -> None:
    def change(info: dict[str, Any]) -> None:
        info["results"]["validation"] = info["results"].pop("test")
        info["source"]["held_out"] = {"fraction": 0.1, "seed": 0}

    text = report(Run.open(edit(run.path, change))).text
    assert "no test split" in text
    assert "validation top-1" in text
    assert "10 % of the source's training images" in text
    assert "not used to choose" not in text


def test_a_run_without_figures_or_curves_still_has_a_report(run: Run, edit: Edit) -> None:
    text = report(Run.open(edit(run.path, lambda info: info.update(results={})))).text
    assert "No figures were recorded" in text


def test_skipped_images_are_counted_and_listed(run: Run, edit: Edit) -> None:
    skipped = [{"path": f"bad{k}.png", "reason": "cut off"} for k in range(300)]
    text = report(Run.open(edit(run.path, lambda info: info["source"].update(skipped=skipped)))).text
    assert "300 unreadable images were skipped" in text
    assert "the first 200 of them" in text
    assert "bad199.png" in text
    assert "bad200.png" not in text


def test_long_class_names_keep_both_ends() -> None:
    from resnets.pages.ink import short, width

    assert short("airplane") == "airplane"
    assert short("species number 12") == "species…er 12"
    assert short("one\nline\x07") == "one line"
    wide = short("日本語の名前は長いです")
    assert wide.startswith("日本語")
    assert sum(map(width, wide)) <= 14


def test_a_mean_image_does_not_fill_the_page(run: Run, edit: Edit) -> None:
    import base64

    pixels = base64.b64encode(bytes(4 * 3 * 8 * 8)).decode()
    changed = Run.open(edit(run.path, lambda info: info["preprocessing"].update(mean_image=pixels)))
    text = report(changed).text
    assert pixels not in text
    assert "1,024 characters" in text


def test_without_a_validation_split_no_curve_is_called_so(run: Run) -> None:
    for validated in (True, False):
        write_metrics(run, validated=validated)
        drawn = training(run)
        assert drawn is not None
        words = Page(drawn.body).text
        assert ("validation" in words.lower()) == validated, words


def test_figures_that_are_not_finite_are_left_out_of_the_curves(run: Run) -> None:
    lines = ['{"kind": "step", "step": 1, "loss": NaN}', '{"kind": "step", "step": 2, "loss": 1.5}']
    (run.path / "metrics.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert "nan" not in report(run).text.lower().replace("pinan", "")


@pytest.mark.parametrize(("right", "n"), [(0, 10), (10, 10), (353, 360), (9125, 10000)])
def test_the_interval_is_scipys(right: int, n: int) -> None:
    expected = binomtest(right, n).proportion_ci(method="wilson")
    assert interval(right, n) == pytest.approx((100 * expected.low, 100 * expected.high), abs=1e-4)


def test_matplotlib_is_loaded_only_for_a_report() -> None:
    code = "import sys, resnets.evaluation; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0

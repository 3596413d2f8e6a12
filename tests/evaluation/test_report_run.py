"""The report of a run with its images: `renew`, `resnets report`, and what every training run ends with."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from webpage import HOSTILE, Page, browsed

from resnets.cli import main
from resnets.errors import InputError
from resnets.evaluation import Run, write_report
from resnets.evaluation.report.renewing import renew
from resnets.training import ending
from resnets.verification import verify_run

Edit = Callable[[Path, Callable[[dict[str, Any]], None]], Path]
Make = Callable[..., Path]


@pytest.fixture
def planted(make_source: Make, make_run: Make) -> Run:
    """A run of an older format whose test split holds a training picture, under another label."""
    source = make_source(splits={"train": 10, "val": 6, "test": 6})
    shutil.copy(source / "train" / "red" / "003.png", source / "test" / "blue" / "999.png")
    return Run.open(make_run(source))


def test_renewing_closes_an_older_run_and_its_figures_are_those_of_evaluate(planted: Run) -> None:
    found = renew(planted)
    run = Run.open(planted.path)
    for split in ("test", "validation"):
        measured = json.loads(json.dumps(run.evaluate(split=split).to_dict()))
        assert run.info["results"][split] == {key: value for key, value in measured.items() if key != "notes"}
    assert run.info["results"]["calibration"]["split"] == "validation"
    checked = verify_run(run.path)
    assert checked.ok and {file.state for file in checked.files} == {"sound"}
    names = {file.path for file in checked.files}
    assert {"report.html", "suspects.csv", "predictions-test.csv", "predictions-validation.csv"} <= names
    assert len((run.path / "suspects.csv").read_text(encoding="utf-8").splitlines()) == 1 + 30 + 18 + 19
    page = Page((run.path / "report.html").read_text(encoding="utf-8"))
    top1 = run.info["results"]["test"]["top1"]
    assert f"test top-1{top1:.2f} %of 19 images" in page.text
    assert "most confident mistakes" in page.text and "where the logit of" in str(page.attributes)
    assert "labels differ: red and blue" in page.text and "exact" in page.text
    assert found.to_dict()["near_duplicates"] == [{"splits": ["train", "test"], "pictures": 1}]
    before = (run.path / "report.html").read_bytes()
    renew(run)
    assert (run.path / "report.html").read_bytes() == before


def test_images_that_moved_are_named_and_others_are_refused(planted: Run, make_source: Make) -> None:
    moved = Path(planted.source["path"]).rename(planted.path.parent / "elsewhere")
    found = renew(planted)
    assert found.seen is None and "not there any more" in found.notes[0]
    assert renew(planted, moved).seen is not None
    with pytest.raises(InputError, match="other images"):
        renew(planted, make_source("other"))


def test_closing_a_run_again_hides_no_damage(planted: Run) -> None:
    renew(planted)
    records = planted.path / "metrics.jsonl"
    records.write_text("{}\n", encoding="utf-8")
    renewed = renew(Run.open(planted.path))
    records.write_text("{} \n", encoding="utf-8")
    with pytest.raises(InputError, match="damaged"):
        renew(Run.open(planted.path))
    assert renewed.report.exists()
    (planted.path / "weights.safetensors").write_bytes(b"broken")
    records.write_text("{}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"weights\.safetensors.*is damaged"):
        renew(Run.open(planted.path))


def test_imported_weights_are_reported_on_images_that_are_named(
    make_source: Make, make_run: Make, edit: Edit, capsys: pytest.CaptureFixture[str]
) -> None:
    source = make_source()
    facts = {"imported": {"file": "x.pth", "proof": "equal"}, "recipe": None, "source": None, "results": {}}
    run = edit(make_run(source), lambda info: info.update(facts))
    assert main(["report", str(run), str(source), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["examined"] == {"train": 30, "test": 12}
    assert document["results"]["test"]["n"] == 12
    assert "most confident mistakes" in (run / "report.html").read_text(encoding="utf-8")
    assert main(["report", str(run)]) == 0
    assert "imported weights have no images" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("chromium"), reason="no chromium here")
def test_hostile_names_and_a_thousand_classes_in_a_browser(
    make_source: Make, make_run: Make, edit: Edit, tmp_path: Path
) -> None:
    colours = {name.replace("/", "∕").replace("\x00", ""): (40 * k, 200 - 20 * k, 90) for k, name in enumerate(HOSTILE)}
    source = make_source(HOSTILE[3], {"train": 4, "test": 3}, colours)
    hostile = renew(Run.open(make_run(source, name="hostile"))).report.read_text(encoding="utf-8")
    page = Page(hostile)
    assert not {"script", "b"} & set(page.tags)
    assert all(str(value).startswith("data:image/") for key, value in page.attributes if key == "src")
    ids = [value for key, value in page.attributes if key == "id"]
    assert len(ids) == len(set(ids))

    names = [f"species {k:04}" for k in range(1000)]

    def change(info: dict[str, Any]) -> None:
        info["spec"]["num_classes"], info["classes"] = 1000, names
        places = np.arange(1000)
        confusion = 40 * np.eye(1000, dtype=int) + (places[:, None] // 10 == places // 10)
        confusion += np.outer(places, places) % 97 == 1
        info["results"]["test"] |= {
            "confusion": confusion.tolist(),
            "per_class": dict.fromkeys(names, 80.0),
            "n": 60_000,
        }

    many = make_run(make_source("plain"), name="many")
    large = write_report(Run.open(edit(many, change))).read_text(encoding="utf-8")
    assert len(large.encode()) < 2 << 20
    seen = browsed({"hostile": hostile, "many": large}, (1280, 400), tmp_path, str(shutil.which("chromium")))
    for name in ("hostile", "many"):
        for width in (1280, 400):
            found = seen[f"{name} at {width}"]
            assert found["over"] <= 0 and found["outside"] == [] and found["loaded"] == [], found
            assert found["smallest"] >= 12
    assert seen["console"] == []


def test_a_run_survives_what_goes_wrong_with_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("no luck")

    monkeypatch.setattr(ending, "look_closer", broken)
    monkeypatch.setattr("resnets.evaluation.report.failures.mistakes", broken)
    monkeypatch.setattr("resnets.evaluation.report._SEEN", (broken,))
    words = ["--arch", "resnet8", "--epochs", "1", "--threads", "1", "--set", "batch_size=256"]
    assert main(["train", "digits", *words, "--out", str(tmp_path / "run")]) == 0
    assert verify_run(tmp_path / "run").ok
    assert Run.open(tmp_path / "run").info["results"]["test"]["n"] == 355
    assert not (tmp_path / "run" / "suspects.csv").exists()
